"""Click rows, one file at a time: ids become row numbers of the feature tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from hexbite.errors import DataError
from hexbite.features import Matrix
from hexbite.folder import CLICK_KEYS
from training.parquet import parquet_files, read_columns, to_clicks, to_ids, to_matrix
from training.tables import Tables

Unknown = Literal["error", "skip"]


class Clicks(NamedTuple):
    """N rows: ``user`` and ``restaurant`` ``(N,)`` row numbers, ``click`` ``(N,)`` 0 or 1, ``context`` ``(N, C)``."""

    user: npt.NDArray[np.intp]
    restaurant: npt.NDArray[np.intp]
    click: npt.NDArray[np.float32]
    context: Matrix

    def take(self, rows: npt.NDArray[np.intp] | npt.NDArray[np.bool_] | slice) -> Clicks:
        """Some of the rows, by position, mask or slice."""
        return Clicks(self.user[rows], self.restaurant[rows], self.click[rows], self.context[rows])

    def __len__(self) -> int:
        return len(self.click)

    @classmethod
    def concatenate(cls, parts: list[Clicks]) -> Clicks:
        """One after the other."""
        return cls(
            np.concatenate([part.user for part in parts]),
            np.concatenate([part.restaurant for part in parts]),
            np.concatenate([part.click for part in parts]),
            np.concatenate([part.context for part in parts]),
        )


class Pairs(NamedTuple):
    """Row numbers of N (user, restaurant) pairs, and which of them have features on both sides."""

    user: npt.NDArray[np.intp]
    restaurant: npt.NDArray[np.intp]
    known: npt.NDArray[np.bool_]


def find_pairs(frame: pl.DataFrame, tables: Tables, unknown: Unknown, path: Path) -> Pairs:
    """The rows of each pair. With ``unknown="error"`` raises DataError where one has no features."""
    users, has_user = tables.users.find(to_ids(frame["user_id"], path))
    restaurants, has_restaurant = tables.restaurants.find(to_ids(frame["restaurant_id"], path))
    for column, known in (("user_id", has_user), ("restaurant_id", has_restaurant)):
        missing = int(np.count_nonzero(~known))
        if missing and unknown == "error":
            raise DataError(
                "ids without a row in the feature table; add them, or leave such rows out with --unknown skip",
                path=path,
                column=column,
                count=missing,
            )
    return Pairs(users, restaurants, has_user & has_restaurant)


@dataclass(frozen=True)
class ClickFiles:
    """The files of a split in a data folder, ``train`` or ``test``.

    A row whose user or restaurant has no features is an error, or left out and counted with ``unknown="skip"``.
    """

    folder: Path
    split: str
    tables: Tables
    unknown: Unknown = "error"

    @property
    def paths(self) -> list[Path]:
        """By name. Raises DataError where there is none."""
        return parquet_files(self.folder / self.split)

    def read(self, path: Path) -> tuple[Clicks, int]:
        """The rows of a file, and how many were left out. Raises DataError where it cannot be used."""
        context = self.tables.schema.context
        frame = read_columns(path, [*CLICK_KEYS, *(feature.name for feature in context)])
        pairs = find_pairs(frame, self.tables, self.unknown, path)
        clicks = Clicks(pairs.user, pairs.restaurant, to_clicks(frame["click"], path), to_matrix(frame, context, path))
        left_out = len(frame) - int(np.count_nonzero(pairs.known))
        return (clicks.take(pairs.known) if left_out else clicks), left_out
