"""Standardised rows for the step, gathered by a second thread while the first one steps."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from training.survey import Split, Standardisation

T = TypeVar("T")

# Rows gathered at once, about: 10 MB of 40 columns, and few enough to be there when the first step is due.
_CHUNK_ROWS: Final = 65_536


class Batch(NamedTuple):
    """Standardised rows ``(N, F)`` float32 and their clicks ``(N,)`` float32."""

    rows: Tensor
    clicks: Tensor


class Batches:
    """Every training row once an epoch, files and the rows of each file in a seeded order of that epoch's own."""

    def __init__(self, split: Split, standardisation: Standardisation, batch_size: int) -> None:
        self._split = split
        self._standardisation = standardisation
        self._batch_size = batch_size
        tables = split.files.tables
        users_end = len(tables.schema.user)
        self._context = slice(users_end + len(tables.schema.restaurant), None)
        self._users = self._standardised(tables.users.features, slice(0, users_end))
        self._restaurants = self._standardised(tables.restaurants.features, slice(users_end, self._context.start))

    def epoch(self, seed: int, number: int) -> Iterator[Batch]:
        """Batches of the size asked for; the last of a file may be smaller."""
        for chunk in _ahead(self._chunks(np.random.default_rng([seed, number]))):
            for start in range(0, len(chunk.clicks), self._batch_size):
                part = slice(start, start + self._batch_size)
                yield Batch(chunk.rows[part], chunk.clicks[part])

    def _chunks(self, draws: np.random.Generator) -> Iterator[Batch]:
        size = max(_CHUNK_ROWS // self._batch_size, 1) * self._batch_size
        for clicks in self._split.training_rows(draws.permutation(len(self._split.files.paths))):
            order = draws.permutation(len(clicks))
            for start in range(0, len(order), size):
                part = clicks.take(order[start : start + size])
                blocks = (
                    self._users.index_select(0, torch.from_numpy(part.user)),
                    self._restaurants.index_select(0, torch.from_numpy(part.restaurant)),
                    self._standardised(part.context, self._context),
                )
                yield Batch(torch.cat(blocks, dim=1), torch.from_numpy(part.click))

    def _standardised(self, block: np.ndarray, columns: slice) -> Tensor:
        # Subtracted in float64: raw features may sit far from zero compared with how much they vary.
        mean, std = self._standardisation.mean[columns], self._standardisation.std[columns]
        standardised = np.empty_like(block)
        for start in range(0, len(block), _CHUNK_ROWS):
            part = slice(start, start + _CHUNK_ROWS)
            standardised[part] = (block[part] - mean) / std
        return torch.from_numpy(standardised)


def _ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, each made by a thread of its own while the one before is in use."""
    with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as maker:
        upcoming = maker.submit(next, items, None)
        while (item := upcoming.result()) is not None:
            upcoming = maker.submit(next, items, None)
            yield item
