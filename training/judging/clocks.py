"""When each visit was, and by which clock each restaurant goes: what local time is told from (ADR 15)."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from hexbite.errors import DataError
from hexbite.features import TIME_ZONE, Matrix
from hexbite.folder import REQUESTS, RESTAURANTS
from hexbite.zones import LocalTimes, local_times, zone_to_number
from training.reading.parquet import column_names, read_columns, to_ids
from training.reading.tables import Rows, Tables

#: The columns of a request file that may tell its moment, the first that is there.
MOMENTS: Final = ("at", "visited_at")

_US_PER_S: Final = 1_000_000


class Clocks(NamedTuple):
    """The number of each restaurant's zone ``(R,)`` float32, and each visit's moment ``(N,)`` in seconds since 1970."""

    zones: Matrix
    at_s: npt.NDArray[np.float64]

    def local_times(self, visit: int, restaurants: Rows) -> LocalTimes:
        """Hour and weekday of a visit by the clocks of M restaurants, by row ``(M,)``."""
        return local_times(self.zones[restaurants], float(self.at_s[visit]))


def read_clocks(folder: Path, tables: Tables) -> Clocks:
    """What the two files of a data folder tell of time. Raises DataError where they do not."""
    return Clocks(_read_zones(folder / RESTAURANTS, tables), _read_moments(folder / REQUESTS))


def _read_zones(path: Path, tables: Tables) -> Matrix:
    if TIME_ZONE not in column_names(path):
        raise DataError(
            "no such column; hour and weekday want each restaurant's IANA zone, such as Asia/Bangkok",
            path=path,
            column=TIME_ZONE,
        )
    frame = read_columns(path, ["restaurant_id", TIME_ZONE])
    names = frame[TIME_ZONE]
    if not names.null_count() == len(names) and names.dtype not in (pl.String, pl.Categorical, pl.Enum):
        raise DataError(f"must hold names of zones, not {names.dtype}", path=path, column=TIME_ZONE)
    if names.null_count():
        raise DataError("missing", path=path, column=TIME_ZONE, count=names.null_count())
    numbers = {}
    for name in names.cast(pl.String).unique().to_list():
        try:
            numbers[name] = zone_to_number(name)
        except ValueError as error:
            raise DataError(str(error), path=path, column=TIME_ZONE, count=int((names == name).sum())) from error
    zones = np.zeros(len(tables.restaurants.ids), dtype=np.float32)
    rows, known = tables.restaurants.find(to_ids(frame["restaurant_id"], path))
    zones[rows[known]] = names.cast(pl.String).replace_strict(numbers, return_dtype=pl.Float32).to_numpy()[known]
    return zones


def _read_moments(path: Path) -> npt.NDArray[np.float64]:
    present = column_names(path)
    column = next((name for name in MOMENTS if name in present), None)
    if column is None:
        raise DataError(
            f"no column {' or '.join(MOMENTS)}; hour and weekday want the moment of each request (UTC timestamp)",
            path=path,
        )
    moments = read_columns(path, [column])[column]
    if not isinstance(moments.dtype, pl.Datetime):
        raise DataError(f"must hold timestamps, not {moments.dtype}", path=path, column=column)
    if moments.null_count():
        raise DataError("missing", path=path, column=column, count=moments.null_count())
    # One year within what a calendar holds: local time may lie on either side.
    astray = int((~moments.dt.year().is_between(2, 9_998)).sum())
    if astray:
        raise DataError("lies before year 2 or after year 9998", path=path, column=column, count=astray)
    return moments.dt.epoch("us").to_numpy() / _US_PER_S
