"""Click rows, a slice of a file at a time: ids become places in the feature tables, and what is wrong is counted."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from data.folder.columns import (
    Fault,
    Holding,
    Mask,
    feature_to_floats,
    series_to_clicks,
    series_to_ids,
)
from data.folder.files import File
from data.folder.tables import Known
from hexbite.errors import Problem
from hexbite.features import DISTANCE_M, HOUR, LOG_DISTANCE_M, WEEKDAY, Feature, Matrix, to_log_distance
from hexbite.folder import CLICK_KEYS, TRAIN
from hexbite.ids import IdKind, IdKinds

Unknown = Literal["error", "skip"]

#: Row numbers of a table ``(N,)``: four bytes each, since tens of millions of them are in flight.
Rows = npt.NDArray[np.int32]

# The row group that polars writes: a slice of a file is then one of them, and is decoded alone.
PART_ROWS: Final = 1 << 18

#: Of an id that has no usable row in its table.
WITHOUT_ROW: Final = "ids without a feature row; add them, or leave such rows out with --unknown skip"


# The least and the greatest that a context feature can be in a request.
_REQUESTS_TELL: Final = {
    DISTANCE_M: (0, math.inf),
    LOG_DISTANCE_M: (float(to_log_distance(np.zeros(()))), math.inf),
    HOUR: (0, 23),
    WEEKDAY: (0, 6),
}


class Part(NamedTuple):
    """Consecutive rows of a file; ``file`` is its place among the files that hold rows."""

    file: int
    path: Path
    start: int
    rows: int


class ClickRows(NamedTuple):
    """N rows: ``user``, ``restaurant`` ``(N,)`` places in their tables, ``click`` ``(N,)``, ``context`` ``(N, C)``."""

    user: Rows
    restaurant: Rows
    click: npt.NDArray[np.float32]
    context: Matrix


class Places(NamedTuple):
    """Places of N ids in their table, and which of them have one."""

    rows: Rows
    known: Mask


@dataclass(frozen=True)
class ClickReader:
    """The files of a split that hold rows.

    A row whose user or restaurant has no row is a fault, or left out and counted with ``unknown="skip"``; one whose
    row was rejected is left out in any case. None in the place of a table that is absent: its ids are not looked up.
    """

    files: Sequence[File]
    ids: IdKinds
    context: Sequence[Feature]
    users: Known | None
    restaurants: Known | None
    unknown: Unknown

    @cached_property
    def parts(self) -> list[Part]:
        """Slices of at most `PART_ROWS` rows, file by file."""
        return [
            Part(number, file.path, start, min(PART_ROWS, file.rows - start))
            for number, file in enumerate(self.files)
            for start in range(0, file.rows, PART_ROWS)
        ]

    def read(self, part: Part) -> tuple[ClickRows, Mask, list[Fault]]:
        """The rows of a slice, which of them are to be used, and what is wrong with any. Raises Unreadable."""
        frame = self.files[part.file].read(list(click_columns(self.ids, self.context)), part.start, part.rows)
        users, faults = find_places(frame["user_id"], self.ids.user, self.users, self.unknown)
        restaurants, found = find_places(frame["restaurant_id"], self.ids.restaurant, self.restaurants, self.unknown)
        clicks, of_clicks = series_to_clicks(frame["click"])
        context, of_context = to_matrix(frame, self.context)
        rows = ClickRows(users.rows, restaurants.rows, clicks, context)
        return rows, users.known & restaurants.known, [*faults, *found, *of_clicks, *of_context]


def click_columns(ids: IdKinds, context: Sequence[Feature]) -> dict[str, Holding]:
    """What a train or test file has to hold, and of what kind."""
    user_id, restaurant_id, click = CLICK_KEYS
    wanted: dict[str, Holding] = {user_id: ids.user, restaurant_id: ids.restaurant, click: "numbers"}
    return wanted | {feature.name: "numbers" for feature in context}


def find_places(series: pl.Series, kind: IdKind, table: Known | None, unknown: Unknown) -> tuple[Places, list[Fault]]:
    """Where the rows of N ids stand in a table, and what is wrong with ids."""
    ids, faults = series_to_ids(series, kind)
    if unknown == "skip":
        faults = [fault for fault in faults if fault.what != "null"]
    if table is None:
        return Places(np.zeros(len(ids), dtype=np.int32), np.ones(len(ids), dtype=np.bool_)), faults
    rows, known = table.find(ids)
    if series.null_count():
        known = known & series.is_not_null().to_numpy()
    if unknown == "error" and not known.all():
        without = ~known & ~np.isin(ids, table.rejected)
        for fault in faults:
            without &= ~fault.rows
        if without.any():
            faults.append(Fault(series.name, WITHOUT_ROW, without))
    return Places(rows, known), faults


def to_matrix(frame: pl.DataFrame, features: Sequence[Feature]) -> tuple[Matrix, list[Fault]]:
    """Features ``(N, F)`` float32 in the order of the schema, fills in the place of nulls, and what is wrong."""
    matrix = np.empty((len(frame), len(features)), dtype=np.float32)
    faults = []
    for number, feature in enumerate(features):
        matrix[:, number], found = feature_to_floats(frame[feature.name], feature)
        faults += found
        least, most = _REQUESTS_TELL.get(feature.name, (-math.inf, math.inf))
        # Of what no request could tell the service would mean something else: weekdays from 1 to 7.
        outside = (matrix[:, number] < least) | (matrix[:, number] > most)
        if outside.any():
            faults.append(Fault(feature.name, f"outside {least}..{most:g}, which is all that a request tells", outside))
    return matrix, faults


class Tally:
    """What was wrong with the rows of a split, by file; and its clicks, without which there is nothing to learn."""

    def __init__(self, split: str) -> None:
        self.rows = self.clicks = self.left_out = 0
        #: Of each context feature the least, the greatest and the sum of the rows that are used ``(3, C)``.
        self.context: npt.NDArray[np.float64] | None = None
        self._split = split
        self._faults: dict[str, Counter[tuple[str, str]]] = {}
        self._unreadable: dict[str, str] = {}

    def add(self, file: File, rows: ClickRows, used: Mask, faults: Sequence[Fault]) -> None:
        """Count the rows of a slice."""
        clicks = rows.click
        self._measure(rows.context if used.all() else rows.context[used])
        self.rows += len(clicks)
        self.clicks += int(np.count_nonzero(clicks[used] == 1))
        self.left_out += len(clicks) - int(np.count_nonzero(used))
        counts = self._faults.setdefault(file.name, Counter())
        for fault in faults:
            counts[fault.column, fault.what] += int(np.count_nonzero(fault.rows))

    def _measure(self, context: Matrix) -> None:
        if not len(context):
            return
        found = np.stack((context.min(axis=0), context.max(axis=0), context.sum(axis=0, dtype=np.float64)))
        before = self.context if self.context is not None else found * 0 + np.array([[np.inf], [-np.inf], [0.0]])
        self.context = np.stack(
            (np.minimum(before[0], found[0]), np.maximum(before[1], found[1]), before[2] + found[2])
        )

    def add_unreadable(self, file: File, why: str) -> None:
        """Note a file that turned out to be damaged."""
        self._unreadable[file.name] = why

    def problems(self, *, is_whole: bool) -> list[Problem]:
        """File by file; where there is none and every file was counted, of the split as a whole."""
        found = []
        for name in dict.fromkeys((*self._faults, *self._unreadable)):
            found += [Problem(name, *fault, count) for fault, count in self._faults.get(name, Counter()).items()]
            if name in self._unreadable:
                found.append(Problem(name, "", self._unreadable[name]))
        return self._nothing_to_learn() if is_whole and not found else found

    def _nothing_to_learn(self) -> list[Problem]:
        used = self.rows - self.left_out
        if not used:
            return [Problem(self._split, "", "no row to use: every user or restaurant is without a feature row")]
        if self._split == TRAIN and self.clicks in (0, used):
            said = f"all {used:,} rows say click {int(self.clicks > 0)}; nothing to learn"
            return [Problem(self._split, "", said)]
        return []
