"""The first pass over the train files: is every row of use, what is in them, and which rows are held out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hexbite.console import progress
from hexbite.errors import DataError
from training.clicks import ClickFiles, Clicks
from training.tables import Tables


class Standardisation(NamedTuple):
    """Mean and standard deviation of each column of an assembled row ``(F,)`` float64; 1 where a column is constant."""

    mean: npt.NDArray[np.float64]
    std: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Split:
    """Train files, less the rows that are held out for validation: a share of each, drawn by seed and file number."""

    files: ClickFiles
    holdout: float
    seed: int

    def read(self, number: int, path: Path) -> tuple[Clicks, Clicks, int]:
        """Training rows, validation rows, and how many rows without features were left out, of the n-th file."""
        clicks, left_out = self.files.read(path)
        held_out = np.random.default_rng([self.seed, number]).random(len(clicks)) < self.holdout
        return clicks.take(~held_out), clicks.take(held_out), left_out

    def training_rows(self, order: npt.NDArray[np.intp]) -> Iterator[Clicks]:
        """The training rows of one file after the other."""
        paths = self.files.paths
        for number in order.tolist():
            yield self.read(number, paths[number])[0]


class Survey(NamedTuple):
    """What the first pass found. ``validation`` is kept: it is scored after every epoch."""

    standardisation: Standardisation
    validation: Clicks
    files: int
    rows: int
    clicks: int
    left_out: int


def survey(split: Split) -> Survey:
    """Read every train file once. Raises DataError, naming file, column and count, before any step is made."""
    tables, paths = split.files.tables, split.files.paths
    moments = _Moments(len(tables.schema.context))
    held_out = []
    rows = clicks = left_out = 0
    with progress("looking through the train files", len(paths), "files") as advance:
        for number, path in enumerate(paths):
            training, validation, without_features = split.read(number, path)
            moments.add(training.context)
            held_out.append(validation)
            rows += len(training)
            clicks += int(training.click.sum())
            left_out += without_features
            advance()
    if not 0 < clicks < rows:
        what = (
            "no row to learn from" if not rows else f"all {rows:,} rows say click {int(clicks > 0)}; nothing to learn"
        )
        raise DataError(what, path=split.files.folder / split.files.split)
    return Survey(_standardise(tables, moments), Clicks.concatenate(held_out), len(paths), rows, clicks, left_out)


def _standardise(tables: Tables, context: _Moments) -> Standardisation:
    blocks = tables.users.features, tables.restaurants.features
    # Accumulated in float64: a float32 mean of a million latitudes is off in the digits that matter.
    means = [*(block.mean(axis=0, dtype=np.float64) for block in blocks), context.mean]
    stds = [*(block.std(axis=0, dtype=np.float64) for block in blocks), context.std]
    std = np.concatenate(stds)
    # Rounding leaves a constant column with a tiny deviation; dividing by that would blow up whatever it meets later.
    mean = np.concatenate(means)
    is_constant = std <= np.finfo(np.float32).eps * np.abs(mean)
    return Standardisation(mean, np.where(is_constant, 1.0, std))


class _Moments:
    """Mean and variance of columns that come in parts (Chan, Golub, LeVeque 1979)."""

    def __init__(self, width: int) -> None:
        self.count = 0
        self.mean = np.zeros(width)
        self._squares = np.zeros(width)

    def add(self, part: npt.NDArray[np.float32]) -> None:
        if not len(part):
            return
        total = self.count + len(part)
        mean = part.mean(axis=0, dtype=np.float64)
        squares = ((part - mean) ** 2).sum(axis=0, dtype=np.float64)
        delta = mean - self.mean
        self._squares += squares + delta**2 * self.count * len(part) / total
        self.mean += delta * len(part) / total
        self.count = total

    @property
    def std(self) -> npt.NDArray[np.float64]:
        deviation: npt.NDArray[np.float64] = np.sqrt(self._squares / max(self.count, 1))
        return deviation
