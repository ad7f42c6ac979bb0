"""Counts over the columns of one parquet file, in a single pass and bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final, NamedTuple

import polars as pl

_FLOAT32_MAX: Final = 3.4028234663852886e38

# Since 1970: the calendar of Python's dates. polars reads and compares times beyond it, and cannot hand them out.
_FIRST_DAY: Final = (date.min - date(1970, 1, 1)).days
_LAST_DAY: Final = (date.max - date(1970, 1, 1)).days
_TICKS_A_DAY: Final = {"ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}

# A damaged file makes polars fail in any of these ways.
_UNREADABLE: Final = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)


class Unreadable(Exception):
    """A parquet file is missing, damaged or cut off; says why in one line."""


class Column(NamedTuple):
    """One column: how many rows cannot be used and why, and the least and the greatest of the others.

    ``too_large`` are finite numbers that float32 cannot hold, and times before year 1 or after year 9999. ``low`` and
    ``high`` are None without a value.
    """

    numeric: bool
    dtype: pl.DataType
    nulls: int
    nans: int
    infinities: int
    too_large: int
    low: Any
    high: Any


class File:
    """A parquet file that is read lazily. Raises Unreadable where its footer cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size_bytes = 0
        self._scan = pl.scan_parquet(path, glob=False)
        try:
            self.size_bytes = path.stat().st_size
            self.dtypes = dict(self._scan.collect_schema())
        except _UNREADABLE as error:
            raise Unreadable(_one_line(error)) from error

    @property
    def columns(self) -> list[str]:
        """Its columns, in file order."""
        return list(self.dtypes)

    def count(self, *counts: pl.Expr) -> tuple[int, ...]:
        """One number for each aggregation; null counts as 0."""
        row = self._collect(self._scan.select(expr.alias(str(at)) for at, expr in enumerate(counts))).row(0)
        return tuple(int(number or 0) for number in row)

    def read(self, *columns: str) -> pl.DataFrame:
        """Some columns whole."""
        return self._collect(self._scan.select(columns))

    def count_unknown(self, column: str, known: pl.Series) -> int:
        """How many non-null values of a column are not among the known ones."""
        # An id that the column's type cannot hold cannot be in it.
        others = known.cast(self.dtypes[column], strict=False).drop_nulls().unique().rename(column).to_frame().lazy()
        found = self._scan.select(column).drop_nulls().join(others, on=column, how="anti")
        return int(self._collect(found.select(pl.len())).item())

    def measure(self, columns: Sequence[str]) -> tuple[int, dict[str, Column]]:
        """Rows of the file, and each of the columns that it has."""
        present = [name for name in columns if name in self.dtypes]
        wanted: dict[str, pl.Expr] = {"rows": pl.len()}
        for name in present:
            values, dtype = pl.col(name), self.dtypes[name]
            usable = values.is_finite() if dtype.is_float() else values.is_not_null()
            wanted[f"nulls {name}"] = values.null_count()
            if dtype.is_float():
                wanted[f"nans {name}"] = values.is_nan().sum()
                wanted[f"infinities {name}"] = values.is_infinite().sum()
                wanted[f"too_large {name}"] = (usable & (values.abs().cast(pl.Float64) > _FLOAT32_MAX)).sum()
            if dtype in (pl.Date, pl.Datetime):
                days = values.to_physical().cast(pl.Int64) // _TICKS_A_DAY.get(getattr(dtype, "time_unit", ""), 1)
                usable = days.is_between(_FIRST_DAY, _LAST_DAY)
                wanted[f"too_large {name}"] = (~usable).sum()
            if dtype.is_numeric() or dtype.is_temporal():
                wanted[f"low {name}"] = values.filter(usable).min()
                wanted[f"high {name}"] = values.filter(usable).max()
        row = self._collect(self._scan.select(**wanted)).row(0, named=True)
        measured = {
            name: Column(
                self.dtypes[name].is_numeric(),
                self.dtypes[name],
                nulls=int(row[f"nulls {name}"]),
                nans=int(row.get(f"nans {name}") or 0),
                infinities=int(row.get(f"infinities {name}") or 0),
                too_large=int(row.get(f"too_large {name}") or 0),
                low=row.get(f"low {name}"),
                high=row.get(f"high {name}"),
            )
            for name in present
        }
        return row["rows"], measured

    def _collect(self, query: pl.LazyFrame) -> pl.DataFrame:
        try:
            return query.collect(engine="streaming")
        except _UNREADABLE as error:
            raise Unreadable(_one_line(error)) from error


def _one_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
