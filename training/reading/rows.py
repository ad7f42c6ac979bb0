"""Standardised rows, assembled from the two tables and the context of the clicks."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor

from hexbite.features import Matrix
from training.reading.clicks import Clicks
from training.reading.survey import Standardisation
from training.reading.tables import Tables

# Rows widened to float64 at once.
_CHUNK_ROWS: Final = 65_536


class FeatureRows:
    """Both feature tables, standardised, on the device that trains; rows are gathered there by row number.

    Takes the tables over: their features are standardised where they lie, since a second copy of a million users
    would cost more than all else together. A row ends in a constant 1, so that a bias is one more weight.
    """

    def __init__(
        self,
        tables: Tables,
        standardisation: Standardisation,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        users_end = len(tables.schema.user)
        context_start = users_end + len(tables.schema.restaurant)
        self.width = tables.schema.width
        self.standardisation = standardisation
        self.device, self.dtype = device, dtype
        self._blocks = slice(0, users_end), slice(users_end, context_start), slice(context_start, self.width)
        self._users = self._standardise_in_place(tables.users.features, self._blocks[0])
        self._restaurants = self._standardise_in_place(tables.restaurants.features, self._blocks[1])

    def empty(self, rows: int) -> Tensor:
        """Room for ``(rows, F + 1)``, the last column 1."""
        room = torch.empty((rows, self.width + 1), device=self.device, dtype=self.dtype)
        room[:, -1] = 1.0
        return room

    def gather(self, clicks: Clicks, out: Tensor) -> None:
        """Write the standardised rows of N clicks into ``out`` ``(N, F + 1)``; its last column stays."""
        users, restaurants, context = (out[:, block] for block in self._blocks)
        torch.index_select(self._users, 0, torch.from_numpy(clicks.user).to(self.device), out=users)
        torch.index_select(self._restaurants, 0, torch.from_numpy(clicks.restaurant).to(self.device), out=restaurants)
        if context.shape[1]:
            standardised = self._standardise(clicks.context, self._blocks[2])
            context.copy_(torch.from_numpy(standardised), non_blocking=True)

    def _standardise_in_place(self, block: Matrix, columns: slice) -> Tensor:
        for start in range(0, len(block), _CHUNK_ROWS):
            part = slice(start, start + _CHUNK_ROWS)
            block[part] = self._standardise(block[part], columns)
        return torch.from_numpy(block).to(self.device, self.dtype)

    def _standardise(self, block: Matrix, columns: slice) -> Matrix:
        # Subtracted in float64: raw features may sit far from zero compared with how much they vary.
        mean, std = self.standardisation.mean[columns], self.standardisation.std[columns]
        return ((block - mean) / std).astype(np.float32)
