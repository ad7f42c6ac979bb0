"""The first pass over the train files: is every row of use, what is in them, and which rows are held out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from data.folder.clicks import Tally
from hexbite.console import progress
from hexbite.errors import DataError, FolderError
from training.reading.clicks import ClickFiles, Clicks
from training.reading.digests import RowDigests, tables_to_digests
from training.reading.tables import Tables


class Standardisation(NamedTuple):
    """Mean and standard deviation of each column of an assembled row ``(F,)`` float64.

    The deviation is infinite where a column never varied in the training rows: it is 0 in every standardised row,
    whatever it holds, so that no score depends on it.
    """

    mean: npt.NDArray[np.float64]
    std: npt.NDArray[np.float64]

    @property
    def never_varied(self) -> npt.NDArray[np.bool_]:
        """Which columns ``(F,)`` no training row tells anything of."""
        return np.isinf(self.std)


@dataclass(frozen=True)
class Split:
    """Train files, less the rows that are held out for validation.

    Those are a share of each file's rows, drawn by seed and place, or all rows of the last ``holdout_files`` files.
    Raises DataError where no file is left to train on.
    """

    files: ClickFiles
    holdout: float
    holdout_files: int
    seed: int

    def __post_init__(self) -> None:
        if self.holdout_files and self.holdout_files >= len(self.files.files):
            raise DataError(
                f"--holdout-files {self.holdout_files} leaves none of its {len(self.files.files)} files to train on",
                path=self.files.folder / self.files.split,
            )

    def read(self, number: int) -> tuple[Clicks, Clicks, int]:
        """Training rows, validation rows, and how many rows without features were left out, of the n-th part."""
        return self._divide(number, *self.files.read(self.files.parts[number]))

    def judge(self, number: int, tally: Tally) -> tuple[Clicks, Clicks, int]:
        """As `read`; what is wrong goes to the tally."""
        return self._divide(number, *self.files.judge(self.files.parts[number], tally))

    def _divide(self, number: int, clicks: Clicks, left_out: int) -> tuple[Clicks, Clicks, int]:
        part = self.files.parts[number]
        if self.holdout_files:
            held_out = np.full(len(clicks), part.file >= len(self.files.files) - self.holdout_files)
        else:
            held_out = np.random.default_rng([self.seed, number]).random(len(clicks)) < self.holdout
        # By mask, which copies: a slice, even an empty one, would keep the whole part in memory.
        validation = clicks.take(held_out)
        return (clicks.take(~held_out) if len(validation) else clicks), validation, left_out


class Survey(NamedTuple):
    """What the first pass found: training rows of each part ``(P,)``, and counts over all of them.

    ``validation`` is kept, since it is scored again and again; twelve bytes a row. ``digests`` tell these rows and
    tables from others, by what they are of.
    """

    standardisation: Standardisation
    validation: Clicks
    rows_by_part: npt.NDArray[np.int64]
    files: int
    clicks: int
    left_out: int
    digests: dict[str, str]

    @property
    def rows(self) -> int:
        """Training rows."""
        return int(self.rows_by_part.sum())


def survey(split: Split) -> Survey:
    """Read every train file once. Raises FolderError, with all that is wrong, before any step is made."""
    tables, parts = split.files.tables, split.files.parts
    context, has_rows = _Columns(len(tables.schema.context)), _HasRows.none(tables)
    digests = RowDigests()
    held_out = []
    rows_by_part = np.zeros(len(parts), dtype=np.int64)
    tally = Tally(split.files.split)
    clicks = left_out = 0
    with progress("looking through the train files", sum(part.rows for part in parts)) as advance:
        for number, part in enumerate(parts):
            training, validation, without_features = split.judge(number, tally)
            context.add(training.context)
            has_rows.mark(training)
            digests.add(training, validation)
            held_out.append(validation)
            rows_by_part[number] = len(training)
            clicks += int(np.count_nonzero(training.click))
            left_out += without_features
            advance(part.rows)
    problems = tally.problems(is_whole=True)
    if problems:
        raise FolderError(problems, path=split.files.folder)
    rows = int(rows_by_part.sum())
    if not 0 < clicks < rows:
        held_out_rows = f"beside {len(Clicks.concatenate(held_out)):,} rows held out"
        what = f"{held_out_rows}, {rows:,} rows with {clicks:,} clicks are left, nothing to learn; lower --holdout"
        raise DataError(what, path=split.files.folder / split.files.split)
    return Survey(
        standardisation=_standardise(tables, context, has_rows),
        validation=Clicks.concatenate(held_out),
        rows_by_part=rows_by_part,
        files=len(split.files.files),
        clicks=clicks,
        left_out=left_out,
        digests=digests.told() | tables_to_digests(tables),
    )


class _HasRows(NamedTuple):
    """Which users ``(U,)`` and restaurants ``(R,)`` have a training row."""

    users: npt.NDArray[np.bool_]
    restaurants: npt.NDArray[np.bool_]

    @classmethod
    def none(cls, tables: Tables) -> Self:
        return cls(*(np.zeros(len(table.ids), dtype=np.bool_) for table in (tables.users, tables.restaurants)))

    def mark(self, clicks: Clicks) -> None:
        self.users[clicks.user] = True
        self.restaurants[clicks.restaurant] = True


def _standardise(tables: Tables, context: _Columns, has_rows: _HasRows) -> Standardisation:
    """Means and deviations of whole tables; whether a column varied, of those users and restaurants that have rows."""
    blocks = [_Columns(len(tables.schema.user)), _Columns(len(tables.schema.restaurant)), context]
    for columns, table, has_row in zip(blocks, (tables.users, tables.restaurants), has_rows, strict=False):
        for start in range(0, len(table.ids), _CHUNK_ROWS):
            part = slice(start, start + _CHUNK_ROWS)
            columns.add(table.features[part], has_row[part])
    mean, std, has_varied = (
        np.concatenate([getattr(columns, name) for columns in blocks]) for name in ("mean", "std", "has_varied")
    )
    return Standardisation(mean, np.where(has_varied, std, np.inf))


# Rows widened to float64 at once.
_CHUNK_ROWS = 65_536


class _Columns:
    """Mean and variance of columns that come in parts, in float64 (Chan, Golub, LeVeque 1979), and how far they reach.

    A float32 mean of a million latitudes is off in the digits that matter.
    """

    def __init__(self, width: int) -> None:
        self.count = 0
        self.mean = np.zeros(width)
        self._squares = np.zeros(width)
        self._least, self._most = np.full(width, np.inf), np.full(width, -np.inf)

    def add(self, part: npt.NDArray[np.float32], is_met: npt.NDArray[np.bool_] | None = None) -> None:
        """Rows ``(N, F)``; of those not met in training ``(N,)`` nothing is learnt of how far a column reaches."""
        if not len(part):
            return
        met = part if is_met is None else part[is_met]
        np.minimum(self._least, met.min(axis=0, initial=np.inf), out=self._least)
        np.maximum(self._most, met.max(axis=0, initial=-np.inf), out=self._most)
        total = self.count + len(part)
        mean = part.mean(axis=0, dtype=np.float64)
        squares = ((part - mean) ** 2).sum(axis=0, dtype=np.float64)
        delta = mean - self.mean
        self._squares += squares + delta**2 * self.count * len(part) / total
        self.mean += delta * len(part) / total
        self.count = total

    @property
    def has_varied(self) -> npt.NDArray[np.bool_]:
        """By more than a float32's last digit, which conversions leave in columns that are meant to be constant."""
        size = np.maximum(np.abs(self._least), np.abs(self._most))
        varied: npt.NDArray[np.bool_] = self._most - self._least > np.finfo(np.float32).eps * size
        return varied

    @property
    def std(self) -> npt.NDArray[np.float64]:
        deviation: npt.NDArray[np.float64] = np.sqrt(self._squares / max(self.count, 1))
        return deviation
