"""Click rows, a slice of a file at a time: ids become row numbers of the feature tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from hexbite.errors import DataError
from hexbite.features import Matrix
from hexbite.folder import CLICK_KEYS
from training.reading.parquet import count_rows, parquet_files, read_columns, to_clicks, to_ids, to_matrix
from training.reading.tables import Rows, Tables

Unknown = Literal["error", "skip"]

# The row group that polars writes: a slice of a file is then one of them, and is decoded alone.
PART_ROWS: Final = 1 << 18


class Clicks(NamedTuple):
    """N rows: ``user`` and ``restaurant`` ``(N,)`` row numbers, ``click`` ``(N,)`` 0 or 1, ``context`` ``(N, C)``.

    Twelve bytes a row beside the context, so that a window of a million is small.
    """

    user: Rows
    restaurant: Rows
    click: npt.NDArray[np.float32]
    context: Matrix

    def take(self, rows: npt.NDArray[np.integer] | npt.NDArray[np.bool_] | slice) -> Clicks:
        """Some of the rows, by position, mask or slice."""
        return Clicks(self.user[rows], self.restaurant[rows], self.click[rows], self.context[rows])

    def __len__(self) -> int:
        return len(self.click)

    @classmethod
    def concatenate(cls, parts: Sequence[Clicks]) -> Clicks:
        """One after the other; one at the least."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            np.concatenate([part.user for part in parts]),
            np.concatenate([part.restaurant for part in parts]),
            np.concatenate([part.click for part in parts]),
            np.concatenate([part.context for part in parts]),
        )


class Pairs(NamedTuple):
    """Row numbers of N (user, restaurant) pairs, and which of them have features on both sides."""

    user: Rows
    restaurant: Rows
    known: npt.NDArray[np.bool_]


def find_pairs(frame: pl.DataFrame, tables: Tables, unknown: Unknown, path: Path) -> Pairs:
    """The rows of each pair. With ``unknown="error"`` raises DataError where one has no features."""
    users, has_user = tables.users.find(to_ids(frame["user_id"], path))
    restaurants, has_restaurant = tables.restaurants.find(to_ids(frame["restaurant_id"], path))
    for column, known in (("user_id", has_user), ("restaurant_id", has_restaurant)):
        missing = len(known) - int(np.count_nonzero(known))
        if missing and unknown == "error":
            raise DataError(
                "ids without a row in the feature table; add them, or leave such rows out with --unknown skip",
                path=path,
                column=column,
                count=missing,
            )
    return Pairs(users, restaurants, has_user & has_restaurant)


class Part(NamedTuple):
    """Consecutive rows of a file; ``file`` is its place among the files by name."""

    file: int
    path: Path
    start: int
    rows: int


@dataclass(frozen=True)
class ClickFiles:
    """The files of a split in a data folder, ``train`` or ``test``.

    A row whose user or restaurant has no features is an error, or left out and counted with ``unknown="skip"``.
    """

    folder: Path
    split: str
    tables: Tables
    unknown: Unknown = "error"

    @cached_property
    def paths(self) -> list[Path]:
        """By name. Raises DataError where there is none."""
        return parquet_files(self.folder / self.split)

    @cached_property
    def parts(self) -> list[Part]:
        """Slices of at most `PART_ROWS` rows, file by file. Raises DataError where a file is empty or unreadable."""
        return [
            Part(file, path, start, min(PART_ROWS, rows - start))
            for file, path in enumerate(self.paths)
            for rows in (count_rows(path),)
            for start in range(0, rows, PART_ROWS)
        ]

    def read(self, part: Part) -> tuple[Clicks, int]:
        """The rows of a slice, and how many were left out. Raises DataError where it cannot be used."""
        path, context = part.path, self.tables.schema.context
        columns = [*CLICK_KEYS, *(feature.name for feature in context)]
        frame = read_columns(path, columns, start=part.start, rows=part.rows)
        pairs = find_pairs(frame, self.tables, self.unknown, path)
        clicks = Clicks(pairs.user, pairs.restaurant, to_clicks(frame["click"], path), to_matrix(frame, context, path))
        left_out = len(frame) - int(np.count_nonzero(pairs.known))
        return (clicks.take(pairs.known) if left_out else clicks), left_out
