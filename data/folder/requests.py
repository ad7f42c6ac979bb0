"""Requests to rank for, and where the people went who made them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from data.folder.clicks import Rows, Unknown, find_places
from data.folder.columns import (
    NO_EVENT,
    Fault,
    Holding,
    Mask,
    count_exchanged,
    counted,
    is_text,
    series_to_degrees,
    series_to_event_us,
    series_to_ids,
    series_to_range,
)
from data.folder.files import File, Unreadable
from data.folder.tables import Known
from hexbite.errors import DataError, Problem
from hexbite.geo import Degrees, Ids
from hexbite.ids import IdKind, IdKinds

#: The column that says where the person went.
VISITED: Final = "visited_restaurant_id"

#: The columns that may tell the moment of a request, the first that is there.
MOMENTS: Final = ("at", "visited_at")

CANDIDATES: Final = "candidate_restaurant_ids"

_MAX_CANDIDATES: Final = 10_000
_BATCH_ROWS: Final = 131_072

# The least and the greatest that a request may ask for.
_SIZES: Final = (1, 1_000)
_DISTANCES_M: Final = (0, 50_000)

# 0002-01-01 and 9999-01-01.
_FIRST_MOMENT_US: Final = -62_104_060_800_000_000
_LAST_MOMENT_US: Final = 253_370_764_800_000_000
_US_PER_S: Final = 1_000_000


class Visits(NamedTuple):
    """N requests with a known outcome: who, where they stood (degrees), how far they would go, where they went, when.

    ``at_s`` are seconds since 1970, UTC; 0 where the schema asks for no moment.
    """

    user_ids: Ids
    lats_deg: Degrees
    lngs_deg: Degrees
    max_dist_m: npt.NDArray[np.float64]
    visited: Rows
    at_s: npt.NDArray[np.float64]


@dataclass
class Requests:
    """The request files of a folder that hold rows; ``timed`` where the schema tells local time.

    Counts are set by `judge`.
    """

    files: Sequence[File]
    ids: IdKinds
    users: Known | None
    restaurants: Known | None
    unknown: Unknown
    timed: bool
    cold_starts: int = 0
    candidates: int = 0
    without_candidates: int = 0
    least: dict[str, float] = field(default_factory=dict)
    greatest: dict[str, float] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Of all files."""
        return sum(file.rows for file in self.files)

    @property
    def columns(self) -> dict[str, Holding]:
        """What a request file has to hold beside its candidates, and of what kind."""
        wanted: dict[str, Holding] = {"user_id": self.ids.user}
        wanted |= {"latitude": "degrees", "longitude": "degrees", "size": "numbers", "max_dist": "numbers"}
        if self.tells_visits:
            wanted[VISITED] = self.ids.restaurant
            if self.timed:
                wanted[self._moment] = "times"
        return wanted

    @property
    def _moment(self) -> str:
        """The column of the moments; the first name where no file has any."""
        return next((name for name in MOMENTS if any(file.dtype(name) is not None for file in self.files)), MOMENTS[0])

    @property
    def tells_visits(self) -> bool:
        """Whether any file says where people went."""
        return any(file.dtype(VISITED) is not None for file in self.files)

    def judge(self) -> list[Problem]:
        """Read every request once, and say what is wrong; its columns must be there and of their kinds."""
        problems: list[Problem] = []
        for file in self.files:
            of_type = _wrong_lists(file.dtype(CANDIDATES), self.ids.restaurant)
            if of_type:
                problems.append(Problem(file.name, CANDIDATES, of_type))
            has_candidates = file.dtype(CANDIDATES) is not None and not of_type
            counts: Counter[tuple[str, str]] = Counter()
            exchanged = 0
            try:
                for frame in self._frames(file, [CANDIDATES] if has_candidates else []):
                    visits, _, faults = self._read(frame)
                    faults += self._measure(frame)
                    if has_candidates:
                        faults += self._count_candidates(frame[CANDIDATES])
                    for fault in faults:
                        counts[fault.column, fault.what] += int(np.count_nonzero(fault.rows))
                    exchanged += count_exchanged(visits.lats_deg, visits.lngs_deg)
                    if self.users is not None:
                        self.cold_starts += int(np.count_nonzero(~self.users.find(visits.user_ids)[1]))
            except Unreadable as error:
                problems.append(Problem(file.name, "", str(error)))
            problems += counted(file.name, counts, exchanged, file.rows)
        return problems

    def read_visits(self) -> Visits:
        """Who went where: the requests whose restaurant has a row. Raises DataError where a file cannot be read."""
        parts = []
        for file in self.files:
            try:
                for frame in self._frames(file, []):
                    visits, known, _ = self._read(frame)
                    parts.append([column[known] for column in visits])
            except Unreadable as error:
                raise DataError(str(error), path=file.path) from error
        return Visits(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def _frames(self, file: File, more: list[str]) -> Iterator[pl.DataFrame]:
        for start in range(0, file.rows, _BATCH_ROWS):
            yield file.read([*self.columns, *more], start, _BATCH_ROWS)

    def _read(self, frame: pl.DataFrame) -> tuple[Visits, Mask, list[Fault]]:
        """All rows, which went to a restaurant that has a row, and what is wrong with some."""
        users, faults = series_to_ids(frame["user_id"], self.ids.user)
        lats, of_lats = series_to_degrees(frame["latitude"], 90)
        lngs, of_lngs = series_to_degrees(frame["longitude"], 180)
        max_dist_m, of_distances = series_to_range(frame["max_dist"], *_DISTANCES_M)
        faults += of_lats + of_lngs + of_distances
        rows, known = np.zeros(len(frame), dtype=np.int32), np.zeros(len(frame), dtype=np.bool_)
        if self.tells_visits:
            (rows, known), found = find_places(frame[VISITED], self.ids.restaurant, self.restaurants, self.unknown)
            faults += found
        at_s = np.zeros(len(frame))
        if self._moment in self.columns:
            at_us, _ = series_to_event_us(frame[self._moment])
            # Local time may lie a day to either side, and has to lie in the calendar too.
            outside = (at_us != NO_EVENT) & ((at_us < _FIRST_MOMENT_US) | (at_us > _LAST_MOMENT_US))
            faults += [
                Fault(self._moment, what, mask)
                for what, mask in (("null", at_us == NO_EVENT), ("before year 2 or after year 9998", outside))
                if mask.any()
            ]
            at_s = at_us / _US_PER_S
        return Visits(users, lats, lngs, max_dist_m, rows, at_s), known, faults

    def _measure(self, frame: pl.DataFrame) -> list[Fault]:
        sizes, faults = series_to_range(frame["size"], *_SIZES)
        if (sizes % 1 != 0).any():
            faults.append(Fault("size", "no whole number", (sizes % 1 != 0) & np.isfinite(sizes)))
        for name in ("size", "max_dist"):
            usable = frame[name].cast(pl.Float64).drop_nulls().drop_nans()
            if len(usable):
                least, greatest = float(usable.min()), float(usable.max())  # type: ignore[arg-type]
                self.least[name] = min(least, self.least.get(name, least))
                self.greatest[name] = max(greatest, self.greatest.get(name, greatest))
        return faults

    def _count_candidates(self, lists: pl.Series) -> list[Fault]:
        if lists.dtype == pl.Null:
            self.without_candidates += len(lists)
            return []
        lists = lists.cast(pl.List(lists.dtype.inner))  # type: ignore[attr-defined]
        lengths = lists.list.len().fill_null(0)
        self.without_candidates += lists.null_count()
        self.candidates += int(lengths.cast(pl.Int64).sum())
        too_many = (lengths > _MAX_CANDIDATES).to_numpy()
        # A list's ids side by side; of an empty list and of a null there is none.
        flat = lists.filter(lengths > 0).explode()
        _, found = series_to_ids(flat.rename(CANDIDATES), self.ids.restaurant)
        faults = [Fault(CANDIDATES, f"in a list: {fault.what}", fault.rows) for fault in found]
        return [*faults, Fault(CANDIDATES, f"more than {_MAX_CANDIDATES:,} candidates", too_many)]


def _wrong_lists(dtype: pl.DataType | None, kind: IdKind) -> str:
    """Why a column of this type cannot hold candidates; empty where it can, or where there is none."""
    if dtype is None or dtype == pl.Null:
        return ""
    inner = getattr(dtype, "inner", None)
    if inner is not None and (inner == pl.Null or (is_text(inner) if kind == "text" else inner.is_integer())):
        return ""
    wanted = "text" if kind == "text" else "integers"
    return f"must hold lists of {wanted}, not {dtype}"
