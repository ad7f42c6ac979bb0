"""Feature tables read from parquet, some rows at a time: every row is either of use or rejected with a reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from hexbite.errors import DataError
from hexbite.features import Feature, Matrix
from hexbite.folder import column_to_feature, require_columns
from hexbite.geo import Degrees, Ids

EVENT_TS: Final = "event_ts"

#: In place of an event time that the data does not tell.
NO_EVENT: Final = np.iinfo(np.int64).min

_BATCH_ROWS: Final = 131_072

# A damaged or cut-off file makes polars fail in any of these ways.
_UNREADABLE: Final = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)


class Rejection(NamedTuple):
    """A row that cannot be stored: its place in the file from 0, its id where it has one, and why."""

    row: int
    id: int | None
    reason: str


class Batch(NamedTuple):
    """Usable rows: ``ids`` ``(N,)``, ``features`` ``(N, W)``, ``event_us`` ``(N,)`` microseconds since 1970, UTC."""

    ids: Ids
    features: Matrix
    event_us: npt.NDArray[np.int64]
    lats_deg: Degrees
    lngs_deg: Degrees


@dataclass
class Table:
    """One feature table of a data folder.

    ``positioned`` tables have latitude and longitude. Raises DataError where the file cannot be read, is empty, or a
    column is missing or of a type that cannot be meant.
    """

    path: Path
    id_column: str
    features: Sequence[Feature]
    positioned: bool
    rejections: list[Rejection] = field(default_factory=list)
    rows: int = field(init=False)

    def __post_init__(self) -> None:
        dtypes = parquet_dtypes(self.path)
        positions = ("latitude", "longitude") if self.positioned else ()
        names = tuple(feature.name for feature in self.features)
        require_columns(self.path, list(dtypes), (self.id_column, *positions, *names))
        if not dtypes[self.id_column].is_integer():
            raise DataError(f"must hold integers, not {dtypes[self.id_column]}", path=self.path, column=self.id_column)
        for name in (*positions, *names):
            if not dtypes[name].is_numeric():
                raise DataError(f"must hold numbers, not {dtypes[name]}", path=self.path, column=name)
        # A column of nulls alone, which has no type, tells as little as none.
        event_dtype = dtypes.get(EVENT_TS, pl.Null())
        if event_dtype not in (pl.Date, pl.Datetime, pl.Null):
            raise DataError(f"must be a timestamp, not {event_dtype}", path=self.path, column=EVENT_TS)
        self._has_events = event_dtype != pl.Null
        self._columns = [self.id_column, *positions, *names, *((EVENT_TS,) if self._has_events else ())]
        self.rows = self._collect(pl.scan_parquet(self.path, glob=False).select(pl.len())).item()
        if not self.rows:
            raise DataError("holds no rows", path=self.path)

    def batches(self) -> Iterator[Batch]:
        """The usable rows in file order; what is not usable goes to ``rejections``."""
        repeated = self._repeated()
        for start, frame in self._frames():
            batch, reasons = self._read(frame)
            is_repeated = repeated[start : start + len(frame)]
            reasons[is_repeated] = f"{self.id_column} occurs more than once; another row of it was kept"
            no_id = frame[self.id_column].is_null().to_numpy()
            self.rejections += [
                Rejection(start + row, None if no_id[row] else int(batch.ids[row]), str(reasons[row]))
                for row in np.flatnonzero(reasons != "").tolist()
            ]
            good = reasons == ""
            # Users have no positions.
            yield Batch._make(column[good] if len(column) else column for column in batch)

    def _frames(self) -> Iterator[tuple[int, pl.DataFrame]]:
        for start in range(0, self.rows, _BATCH_ROWS):
            rows = pl.scan_parquet(self.path, glob=False).select(self._columns).slice(start, _BATCH_ROWS)
            yield start, self._collect(rows)

    def _read(self, frame: pl.DataFrame) -> tuple[Batch, npt.NDArray[np.object_]]:
        """All rows, and of each ``(N,)`` why it cannot be used, an empty string where it can."""
        reasons = np.full(len(frame), "", dtype=object)

        def reject(rows: npt.NDArray[np.bool_], reason: str) -> None:
            reasons[rows & (reasons == "")] = reason

        ids = _to_int64(frame[self.id_column], self.path)
        reject(frame[self.id_column].is_null().to_numpy(), f"{self.id_column} is missing")
        lats, lngs = (
            self._degrees(frame[name], limit, reject) if self.positioned else np.empty(0)
            for name, limit in (("latitude", 90.0), ("longitude", 180.0))
        )
        features = np.empty((len(frame), len(self.features)), dtype=np.float32)
        for number, feature in enumerate(self.features):
            series = frame[feature.name]
            column = column_to_feature(_to_numbers(series), series.is_null().to_numpy(), feature)
            reject(column.missing, f"{feature.name} is missing, and its feature declares no fill")
            reject(column.not_finite, f"{feature.name} is NaN, infinite or beyond float32")
            features[:, number] = column.values
        events = np.full(len(frame), NO_EVENT, dtype=np.int64)
        if self._has_events:
            events = _to_event_us(frame[EVENT_TS])
            reject((events != NO_EVENT) & ~_is_storable(events), f"{EVENT_TS} is before year 1 or after year 9999")
        return Batch(ids, features, events, lats, lngs), reasons

    def _degrees(self, series: pl.Series, limit: float, reject: Any) -> Degrees:
        values = _to_numbers(series).astype(np.float64)
        missing = series.is_null().to_numpy()
        reject(missing, f"{series.name} is missing")
        reject(~missing & ~(np.abs(values) <= limit), f"{series.name} is out of range ({-limit:g}..{limit:g})")
        return values

    def _repeated(self) -> npt.NDArray[np.bool_]:
        """Which usable rows yield to another of the same id: the newest stays, and of equally old ones the first.

        Only where an id occurs twice is the file read once more to tell which rows are usable.
        """
        wanted = [self.id_column, *((EVENT_TS,) if self._has_events else ())]
        keys = self._collect(pl.scan_parquet(self.path, glob=False).select(wanted)).with_row_index("row")
        repeated = np.zeros(self.rows, dtype=np.bool_)
        if keys[self.id_column].drop_nulls().is_unique().all():
            return repeated
        usable = np.concatenate([self._read(frame)[1] == "" for _, frame in self._frames()])
        keys = keys.filter(usable)
        if self._has_events:
            keys = keys.sort(EVENT_TS, "row", descending=[True, False], nulls_last=True)
        kept = keys.unique(self.id_column, keep="first", maintain_order=True)["row"]
        repeated[keys["row"].to_numpy()] = True
        repeated[kept.to_numpy()] = False
        return repeated

    def _collect(self, query: pl.LazyFrame) -> pl.DataFrame:
        try:
            return query.collect()
        except _UNREADABLE as error:
            raise unreadable(self.path, error) from error


def parquet_dtypes(path: Path) -> dict[str, pl.DataType]:
    """A file's columns in order. Raises DataError where it is missing, damaged or cut off."""
    if not path.is_file():
        raise DataError("no such file", path=path)
    try:
        return dict(pl.scan_parquet(path, glob=False).collect_schema())
    except _UNREADABLE as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: BaseException) -> DataError:
    """The error of a file that polars cannot read."""
    said = str(error).strip().partition("\n")[0] or type(error).__name__
    return DataError(f"cannot be read as parquet, it may be damaged or cut off: {said}", path=path)


def _to_int64(series: pl.Series, path: Path) -> Ids:
    try:
        return series.cast(pl.Int64).fill_null(0).to_numpy()
    except pl.exceptions.InvalidOperationError as error:
        raise DataError("holds an id beyond 64-bit integers", path=path, column=series.name) from error


def _to_numbers(series: pl.Series) -> npt.NDArray[Any]:
    if series.dtype.is_decimal():
        series = series.cast(pl.Float64)
    return series.fill_null(0).to_numpy()


# 0001-01-01 and 9999-12-31: what Python's datetimes can tell, and well within Postgres's timestamps.
_FIRST_US: Final = -62_135_596_800_000_000
_LAST_US: Final = 253_402_300_799_999_999


def _to_event_us(times: pl.Series) -> npt.NDArray[np.int64]:
    """Microseconds since 1970 ``(N,)``; what lies beyond Postgres's range stays beyond it, and never overflows."""
    ticks = times.to_physical().cast(pl.Int64).fill_null(0).to_numpy()
    unit = "d" if times.dtype == pl.Date else getattr(times.dtype, "time_unit", "us")
    if unit == "ns":
        events = ticks // 1_000
    else:
        us_per_tick = {"us": 1, "ms": 1_000, "d": 86_400_000_000}[unit]
        events = np.clip(ticks, _FIRST_US // us_per_tick - 1, _LAST_US // us_per_tick + 1) * us_per_tick
    return np.where(times.is_null().to_numpy(), NO_EVENT, events)


def _is_storable(event_us: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    return (event_us >= _FIRST_US) & (event_us <= _LAST_US)
