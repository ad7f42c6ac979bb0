"""Parquet files whose columns differ are read as one table."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

import polars as pl
from polars.datatypes import DataTypeClass

from data.partitions import path_to_partition
from data.sources.files import DataFile
from hexbite.errors import DataError

# Beyond it a float64 holds no longer every whole number.
_EXACT: Final = 2**53

# Kinds that meet in one column: a whole number is a number, and a text, without loss.
_ALIKE: Final = ({"whole numbers", "numbers"}, {"whole numbers", "text"})


def read_tables(files: list[DataFile], storage: dict[str, str] | None = None) -> pl.LazyFrame:
    """All rows of Parquet files of one table, in the order of the files.

    A column that only some of them have is null in the others. One that is of different kinds becomes what holds both
    without loss: wider numbers, text out of whole numbers. What lies in a struct has a name with a dot, ``a.b``.
    Columns that folders' names tell are text. Raises DataError, naming the file, where one cannot be read or two
    disagree.
    """
    schemas = [_schema(file, storage) for file in files]
    wanted: dict[str, _Column] = {}
    for file, schema in zip(files, schemas, strict=True):
        for name, dtype in schema.items():
            before = wanted.get(name)
            wanted[name] = _Column(file, dtype) if before is None else _joined(name, before, _Column(file, dtype))
    pairs = zip(files, schemas, strict=True)
    frames = []
    for schema, group in groupby(pairs, key=lambda pair: pair[1]):
        alike = [file for file, _ in group]
        frames.append(_aligned(_scan(alike, storage), wanted, schema, alike[0].path))
    return frames[0] if len(frames) == 1 else pl.concat(frames, how="vertical")


def flat(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Structs, at any depth, become columns named with a dot; one that is empty holds nothing and becomes null."""
    schema = rows.collect_schema()
    while any(isinstance(dtype, pl.Struct) for dtype in schema.dtypes()):
        columns: list[pl.Expr] = []
        for name, dtype in schema.items():
            if not isinstance(dtype, pl.Struct):
                columns.append(pl.col(name))
            elif not dtype.fields:
                columns.append(pl.lit(None).alias(name))
            else:
                columns += [pl.col(name).struct.field(part.name).alias(f"{name}.{part.name}") for part in dtype.fields]
        rows = rows.select(columns)
        schema = rows.collect_schema()
    return rows


class _Column(NamedTuple):
    """A column's kind, and the file that told it."""

    file: DataFile
    dtype: pl.DataType


def _scan(files: list[DataFile], storage: dict[str, str] | None) -> pl.LazyFrame:
    folders = dict.fromkeys(path_to_partition(Path(files[0].path).parts[:-1]), pl.String)
    rows = pl.scan_parquet(
        [str(file.path) for file in files],
        glob=False,
        storage_options=storage,
        hive_partitioning=bool(files[0].partition),
        hive_schema=folders if files[0].partition else None,
    )
    # Folders above the path that was given are named by chance.
    return flat(rows.drop(folders.keys() - files[0].partition.keys(), strict=False) if files[0].partition else rows)


def _schema(file: DataFile, storage: dict[str, str] | None) -> dict[str, pl.DataType]:
    try:
        return dict(_scan([file], storage).collect_schema())
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"cannot be read: {str(error).partition(chr(10))[0]}", path=file.path) from error


def _aligned(
    rows: pl.LazyFrame, wanted: dict[str, _Column], schema: dict[str, pl.DataType], path: Path | str
) -> pl.LazyFrame:
    rounded = [name for name, dtype in schema.items() if dtype.is_integer() and wanted[name].dtype == pl.Float64()]
    if rounded:
        extremes = rows.select(pl.col(name).abs().max() for name in rounded).collect()
        for name in rounded:
            if (extremes[name].item() or 0) > _EXACT:
                raise DataError(
                    f"holds whole numbers beyond 2^53, and {wanted[name].file.path} holds fractions, among which they "
                    "would be rounded: write it as text or as whole numbers in all files",
                    path=path,
                    column=name,
                )
    return rows.select(
        pl.col(name).cast(column.dtype) if name in schema else pl.lit(None, column.dtype).alias(name)
        for name, column in wanted.items()
    )


def _joined(name: str, before: _Column, now: _Column) -> _Column:
    if before.dtype == now.dtype:
        return before
    dtype = _wider(before.dtype, now.dtype)
    if dtype is None:
        raise DataError(
            f"holds {_in_words(now.dtype)}, and {before.file.path} holds {_in_words(before.dtype)}: write it alike in "
            "all files, or name files that agree",
            path=now.file.path,
            column=name,
        )
    return before if dtype == before.dtype else _Column(now.file, dtype)


def _wider(one: pl.DataType, other: pl.DataType) -> pl.DataType | None:
    """What holds the values of both, None where nothing does without changing what they mean."""
    families = {_family(one), _family(other)}
    if isinstance(one, pl.List) and isinstance(other, pl.List):
        inner = one.inner if one.inner == other.inner else _wider(_made(one.inner), _made(other.inner))
        return None if inner is None else pl.List(inner)
    if isinstance(one, pl.Datetime) and isinstance(other, pl.Datetime) and one.time_zone and other.time_zone:
        return pl.Datetime("us", "UTC")
    if len(families) > 1 and "nothing" not in families and not any(families <= alike for alike in _ALIKE):
        return None
    try:
        empty = [pl.LazyFrame(schema={"": dtype}) for dtype in (one, other)]
        return pl.concat(empty, how="vertical_relaxed").collect_schema()[""]
    except pl.exceptions.PolarsError:
        return None


def _made(dtype: pl.DataType | DataTypeClass) -> pl.DataType:
    return dtype if isinstance(dtype, pl.DataType) else dtype()


def _family(dtype: pl.DataType) -> str:
    if isinstance(dtype, pl.Null):
        return "nothing"
    if dtype.is_integer():
        return "whole numbers"
    if dtype.is_numeric():
        return "numbers"
    if isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
        return "text"
    if isinstance(dtype, pl.Date | pl.Datetime):
        return "times"
    return str(dtype)


def _in_words(dtype: pl.DataType) -> str:
    return f"{_family(dtype)} ({dtype})"
