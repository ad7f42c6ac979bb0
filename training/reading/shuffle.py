"""In which order an epoch meets the training rows: shuffled as a whole, streamed, the same however many ranks share it.

The parts of all files are put in a random order and pooled into windows; the rows of a window are put in a random order
(ADR 6). Every draw depends on seed, epoch and window alone, so that any place of the order is found without what came
before it, and every rank knows the whole order while it reads its own parts only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hexbite.errors import DataError
from training.reading.clicks import Clicks
from training.reading.survey import Split


class Placed(NamedTuple):
    """N rows and where in the epoch they stand: ``places`` ``(N,)`` int64, ascending."""

    places: npt.NDArray[np.int64]
    clicks: Clicks

    def take(self, rows: slice) -> Placed:
        """Some of them."""
        return Placed(self.places[rows], self.clicks.take(rows))

    def __len__(self) -> int:
        return len(self.places)


@dataclass(frozen=True)
class Shuffle:
    """The order of every epoch, as the ``rank``-th of ``ranks`` processes sees it: the rows of its own parts.

    ``rows_by_part`` ``(P,)`` counts the training rows of each part; a window holds about ``window_rows`` of them.
    """

    split: Split
    rows_by_part: npt.NDArray[np.int64]
    window_rows: int
    seed: int
    rank: int = 0
    ranks: int = 1

    def epoch(self, number: int, *, start: int = 0) -> Iterator[Placed]:
        """The rows of an epoch from place ``start`` on, a window at a time; a window without a row of ours is empty."""
        order = np.random.default_rng([self.seed, number]).permutation(np.flatnonzero(self.rows_by_part))
        first = 0
        for window, parts in enumerate(self._windows(order)):
            rows = int(self.rows_by_part[parts].sum())
            if first + rows > start:
                placed = self._read(parts, first, np.random.default_rng([self.seed, number, window]))
                yield placed.take(slice(int(np.searchsorted(placed.places, start)), None))
            first += rows

    def _windows(self, order: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
        # A new window wherever the running count of rows before a part passes another multiple of the window.
        before = np.cumsum(self.rows_by_part[order]) - self.rows_by_part[order]
        bounds = np.flatnonzero(np.diff(before // self.window_rows, prepend=-1))
        for begin, end in pairwise([*bounds.tolist(), len(order)]):
            yield order[begin:end]

    def _read(self, parts: npt.NDArray[np.int64], first: int, draws: np.random.Generator) -> Placed:
        ends = np.cumsum(self.rows_by_part[parts])
        order = draws.permutation(np.arange(ends[-1], dtype=np.int32))
        ours = range(self.rank, len(parts), self.ranks)
        clicks = [self._read_part(int(parts[place])) for place in ours]
        if self.ranks == 1:
            return Placed(np.arange(first, first + len(order)), Clicks.concatenate(clicks).take(order))
        here = np.full(len(order), -1, dtype=np.int32)
        known = 0
        for place, of_part in zip(ours, clicks, strict=True):
            here[ends[place] - len(of_part) : ends[place]] = np.arange(known, known + len(of_part))
            known += len(of_part)
        order = here[order]
        places = np.flatnonzero(order >= 0)
        held = Clicks.concatenate(clicks) if clicks else self._read_part(int(parts[0])).take(slice(0))
        return Placed(first + places, held.take(order[places]))

    def _read_part(self, number: int) -> Clicks:
        clicks, _, _ = self.split.read(number)
        if len(clicks) != self.rows_by_part[number]:
            raise DataError("has changed while it was trained on", path=self.split.files.parts[number].path)
        return clicks
