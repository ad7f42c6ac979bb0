"""Columns of a source as the map names them: there or not, and what they hold."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

import polars as pl

from data.log.map import Column, Table
from data.log.map import Events as EventsMap
from data.log.rules import Tally
from data.sources import scan
from hexbite.errors import DataError

_SHOWN: Final = 3

# What a column says for yes and for no, in lower case.
_TRUE: Final = ("true", "yes", "t", "y", "1", "1.0")
_FALSE: Final = ("false", "no", "f", "n", "0", "0.0")


class Sheet(NamedTuple):
    """A source that is read lazily; ``table`` is its name in the map, ``place`` what its messages call it."""

    table: str
    place: str
    frame: pl.LazyFrame
    dtypes: dict[str, pl.DataType]
    nulls: tuple[str, ...]

    def fault(self, key: str, column: str, problem: str, count: int | None = None) -> DataError:
        """An error that names table, key, file and column."""
        return DataError(f"[{self.table}] {key}: {problem}", path=self.place, column=column, count=count)

    def require(self, key: str, column: str) -> pl.DataType:
        """The type of a column. Raises DataError, naming the near ones, where there is none of that name."""
        if column in self.dtypes:
            return self.dtypes[column]
        lower = {name.lower(): name for name in self.dtypes}
        near = [lower[name] for name in difflib.get_close_matches(column.lower(), lower, n=3)]
        said = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(self.dtypes)}"
        raise self.fault(key, column, f"no such column; {said}")

    def text(self, column: str) -> pl.Expr:
        """A column as text, null where it says that there is no value."""
        dtype = self.dtypes[column]
        if dtype == pl.String:
            return pl.when(~pl.col(column).is_in(self.nulls)).then(pl.col(column))
        if dtype.is_float():
            # 3.0 of a column that pandas widened for its nulls is the text 3.
            whole = pl.col(column).cast(pl.Int64, strict=False)
            is_whole = (whole.cast(dtype) == pl.col(column)).fill_null(value=False)
            return (
                pl.when(is_whole).then(whole.cast(pl.String)).otherwise(pl.col(column).fill_nan(None).cast(pl.String))
            )
        return pl.col(column).cast(pl.String)

    def number(self, column: str) -> pl.Expr:
        """A column as float64, null where it holds no number."""
        dtype = self.dtypes[column]
        values = self.text(column).str.strip_chars() if dtype == pl.String else pl.col(column)
        return values.cast(pl.Float64, strict=False).fill_nan(None)

    def truth(self, column: str) -> pl.Expr:
        """A column as booleans, null where it says neither."""
        text = self.text(column).str.strip_chars().str.to_lowercase()
        return pl.when(text.is_in(_TRUE)).then(statement=True).when(text.is_in(_FALSE)).then(statement=False)


def open_sheet(table: str, source: Table | EventsMap | Column, *, tally: Tally, base: Path, scratch: Path) -> Sheet:
    """A source of the map; rows that are ragged are told. Raises DataError where it cannot be read."""
    place = _place(source)
    ragged: Counter[str] = Counter()
    frame = scan(source, base=base, scratch=scratch, ragged=ragged)
    for what, count in ragged.items():
        tally.note(f"rows of {place} {what}", count, dirty=True)
    try:
        dtypes = dict(frame.collect_schema())
    except pl.exceptions.PolarsError as error:
        raise DataError(f"[{table}] cannot be read: {str(error).strip().splitlines()[0]}", path=place) from error
    return Sheet(table, place, frame, dtypes, source.nulls)


def _place(source: Table | EventsMap | Column) -> str:
    if source.path is None:
        return "query"
    return source.path if isinstance(source.path, str) else ", ".join(source.path)


def samples_to_text(values: Iterable[Any]) -> str:
    """A few values as they stand: ``'a', 'b', 'c'``."""
    return ", ".join(repr(value) for value in list(values)[:_SHOWN])
