"""Columns of parquet files as arrays, or a DataError that names file, column and count."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from hexbite.errors import DataError
from hexbite.features import Feature, Matrix
from hexbite.folder import column_to_feature, require_columns

Ids = npt.NDArray[np.int64]

# A damaged or cut-off file makes polars fail in any of these ways.
_UNREADABLE: Final = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)


def column_names(path: Path) -> list[str]:
    """The columns of a file, in order."""
    try:
        return pl.scan_parquet(path, glob=False).collect_schema().names()
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error


def count_rows(path: Path) -> int:
    """How many rows a file holds, by its footer; at least one."""
    try:
        count = int(pl.scan_parquet(path, glob=False).select(pl.len()).collect().item())
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error
    if not count:
        raise DataError("holds no rows", path=path)
    return count


def read_columns(path: Path, columns: Sequence[str], *, start: int = 0, rows: int | None = None) -> pl.DataFrame:
    """Some columns, whole or ``rows`` rows from ``start`` on; at least one row."""
    require_columns(path, column_names(path), columns)
    try:
        frame = pl.scan_parquet(path, glob=False).select(columns).slice(start, rows).collect()
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error
    if frame.is_empty():
        raise DataError("holds no rows", path=path)
    return frame


def parquet_files(folder: Path) -> list[Path]:
    """The parquet files of a folder, by name; at least one."""
    paths = sorted(folder.glob("*.parquet"))
    if not paths:
        raise DataError("no parquet file in it", path=folder)
    return paths


def to_ids(series: pl.Series, path: Path) -> Ids:
    """Ids ``(N,)`` int64."""
    if not series.dtype.is_integer():
        raise DataError(f"must hold integers, not {series.dtype}", path=path, column=series.name)
    _refuse(series.is_null().to_numpy(), "missing", path, series.name)
    try:
        return series.cast(pl.Int64).to_numpy()
    except pl.exceptions.InvalidOperationError as error:
        raise DataError("holds an id beyond 64-bit integers", path=path, column=series.name) from error


def to_numbers(series: pl.Series, path: Path) -> npt.NDArray[np.float64]:
    """Finite numbers ``(N,)`` float64."""
    values, is_null = _to_array(series, path)
    _refuse(is_null, "missing", path, series.name)
    numbers = values.astype(np.float64)
    _refuse(~np.isfinite(numbers), "NaN or infinite", path, series.name)
    return numbers


def to_clicks(series: pl.Series, path: Path) -> npt.NDArray[np.float32]:
    """Clicks ``(N,)`` float32, 0 or 1."""
    values, is_null = _to_array(series.cast(pl.Int8) if series.dtype == pl.Boolean else series, path)
    _refuse(is_null, "missing", path, series.name)
    _refuse((values != 0) & (values != 1), "neither 0 nor 1", path, series.name)
    return values.astype(np.float32)


def to_matrix(frame: pl.DataFrame, features: Sequence[Feature], path: Path) -> Matrix:
    """Features ``(N, F)`` float32 in the order of the schema, fills in the place of nulls."""
    matrix = np.empty((len(frame), len(features)), dtype=np.float32)
    for number, feature in enumerate(features):
        column = column_to_feature(*_to_array(frame[feature.name], path), feature)
        _refuse(column.missing, "missing, and its feature declares no fill", path, feature.name)
        _refuse(column.not_finite, "NaN, infinite or beyond float32", path, feature.name)
        matrix[:, number] = column.values
    return matrix


def _to_array(series: pl.Series, path: Path) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    if not series.dtype.is_numeric():
        raise DataError(f"must hold numbers, not {series.dtype}", path=path, column=series.name)
    if series.dtype.is_decimal():
        series = series.cast(pl.Float64)
    return series.fill_null(0).to_numpy(), series.is_null().to_numpy()


def _refuse(rows: npt.NDArray[np.bool_], what: str, path: Path, column: str) -> None:
    count = int(np.count_nonzero(rows))
    if count:
        raise DataError(what, path=path, column=column, count=count)


def _unreadable(path: Path, error: BaseException) -> DataError:
    if not path.exists():
        return DataError("no such file", path=path)
    said = str(error).strip().partition("\n")[0] or type(error).__name__
    return DataError(f"cannot be read as parquet, it may be damaged or cut off: {said}", path=path)
