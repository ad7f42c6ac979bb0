"""Batches of standardised rows, gathered by a second thread while the first one steps."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from training.reading.clicks import Clicks
from training.reading.rows import FeatureRows
from training.reading.shuffle import Placed, Shuffle

T = TypeVar("T")

# Rows gathered at once, about: 10 MB of 40 columns, and few enough to be there when the first step is due.
_CHUNK_ROWS: Final = 32_768


class Batch(NamedTuple):
    """One step's rows that this rank holds: ``rows`` ``(N, F + 1)``, ``clicks`` ``(N,)`` 0 or 1, float32.

    ``size`` counts the rows of all ranks; ``logits`` ``(N,)`` is room for what the step makes of them.
    """

    rows: Tensor
    clicks: Tensor
    logits: Tensor
    size: int


class Chunk(NamedTuple):
    """Consecutive batches, whose tensors are parts of one memory that the chunk after the next uses again."""

    batches: list[Batch]
    clicks: Tensor
    logits: Tensor


@dataclass(frozen=True)
class Batches:
    """Every training row once an epoch in the shuffle's order, cut into batches of ``batch_size`` over all ranks."""

    shuffle: Shuffle
    rows: FeatureRows
    batch_size: int

    @property
    def steps(self) -> int:
        """Batches in an epoch; all are full but the last."""
        return -(-int(self.shuffle.rows_by_part.sum()) // self.batch_size)

    def epoch(self, number: int, *, first: int = 0, ends: Collection[int] = ()) -> Iterator[Chunk]:
        """The batches of an epoch from the ``first``-th on; a chunk ends where the count of batches is in ``ends``."""
        return _ahead(self._chunks(number, first, frozenset(ends)))

    def _chunks(self, number: int, first: int, ends: frozenset[int]) -> Iterator[Chunk]:
        chunk_batches = max(_CHUNK_ROWS // self.batch_size, 1)
        chunk_rows, total = chunk_batches * self.batch_size, int(self.shuffle.rows_by_part.sum())
        # Chunks start at multiples of their size also where an epoch is taken up in the middle: where a batch lies in
        # memory decides in which order a matrix product adds, and a resumed run must end in the same bits.
        start = first // chunk_batches * chunk_rows
        skip = first % chunk_batches
        rooms = [(room, room.new_empty(chunk_rows)) for room in (self.rows.empty(chunk_rows) for _ in range(2))]
        cursor = _Cursor(_ahead(self.shuffle.epoch(number, start=start)))
        for turn, begin in enumerate(range(start, total, chunk_rows)):
            end = min(begin + chunk_rows, total)
            placed = cursor.take_until(end)
            rows, logits = (room[: len(placed)] for room in rooms[turn % 2])
            self.rows.gather(placed.clicks, rows)
            clicks = torch.from_numpy(placed.clicks.click).to(self.rows.device, self.rows.dtype)
            bounds = range(begin, end, self.batch_size)
            sizes = [min(self.batch_size, end - bound) for bound in bounds]
            ours = np.diff(np.searchsorted(placed.places, [*bounds, end])).tolist()
            split = (torch.split(whole, ours) for whole in (rows, clicks, logits))
            batches = [Batch(*part) for part in zip(*split, sizes, strict=True)]
            begun = begin // self.batch_size
            cuts = [cut for cut in range(skip, len(batches)) if cut == skip or begun + cut in ends]
            for cut, next_cut in pairwise([*cuts, len(batches)]):
                of_chunk = slice(sum(ours[:cut]), sum(ours[:next_cut]))
                yield Chunk(batches[cut:next_cut], clicks[of_chunk], logits[of_chunk])
            skip = 0


class _Cursor:
    """Reads windows one after the other, and hands out the rows before a place."""

    def __init__(self, windows: Iterator[Placed]) -> None:
        self._windows = windows
        self._held: Placed | None = None
        self._nothing: list[Placed] = []

    def take_until(self, end: int) -> Placed:
        """Every row not yet taken that stands before place ``end``."""
        taken: list[Placed] = []
        while True:
            if self._held is None:
                self._held = next(self._windows, None)
            if self._held is None:
                break
            self._nothing = [self._held.take(slice(0))]
            count = int(np.searchsorted(self._held.places, end))
            taken.append(self._held.take(slice(count)))
            if count < len(self._held):
                self._held = self._held.take(slice(count, None))
                break
            self._held = None
            if count and taken[-1].places[-1] == end - 1:
                break
        taken = taken or self._nothing
        places = np.concatenate([part.places for part in taken])
        return Placed(places, Clicks.concatenate([part.clicks for part in taken]))


def _ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, each made by a thread of its own while the one before is in use."""
    with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as maker:
        upcoming = maker.submit(next, items, None)
        while (item := upcoming.result()) is not None:
            upcoming = maker.submit(next, items, None)
            yield item
