"""What the columns of a table hold: some of their values, and statistics over all rows."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Final, NamedTuple

import polars as pl

from data.draft.words import is_value
from data.sources import Source, scan
from hexbite.errors import DataError

#: Texts that stand for no value, as in a map that names no others.
NULLS: Final = ("", "NULL", "null", "\\N", "None", "NaN", "nan", "N/A")

# Texts that people write where they have no value.
_ODD_NULLS: Final = frozenset(["?", "-", "--", "n/a", "na", "unknown", "#n/a"])

# Rows whose values are looked at one by one.
_LOOK_ROWS: Final = 20_000

# Of tables with more rows, distinct values are estimated: counting them exactly would hold them all.
_EXACT_ROWS: Final = 2_000_000

# Values of a column are counted each where there are no more than these.
_FEW: Final = 100

# Ways to read a file that cannot be read as it is told by itself.
_ATTEMPTS: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"quote": ""},
    {"encoding": "cp1252"},
    {"encoding": "cp1252", "quote": ""},
    {"encoding": "shift_jis"},
    {"ragged": "pad"},
    {"encoding": "cp1252", "ragged": "pad"},
)


class Column(NamedTuple):
    """A column of ``rows`` rows, ``nulls`` of them without a value.

    ``distinct`` values, about; ``numbers`` of them finite numbers, from ``least`` to ``greatest`` (None where none is),
    ``wholes`` of these whole. ``values`` are some of the first rows' texts, each once; ``counts`` the rows of each
    value, where these are few.
    """

    name: str
    dtype: pl.DataType
    rows: int
    nulls: int
    distinct: int
    numbers: int
    wholes: int
    least: float | None
    greatest: float | None
    values: list[str]
    counts: dict[str, int]

    @property
    def filled(self) -> int:
        """Rows with a value."""
        return self.rows - self.nulls

    @property
    def is_number(self) -> bool:
        """Whether every value is a number."""
        return 0 < self.filled == self.numbers

    @property
    def is_unique(self) -> bool:
        """Whether there is a value in (nearly) every row and (nearly) none twice."""
        return self.rows > 0 and self.nulls <= 0.02 * self.rows and self.distinct >= 0.97 * self.rows

    @property
    def is_key(self) -> bool:
        """Whether a row is found by the value: in nearly every row, and few come again."""
        return self.rows > 0 and self.nulls <= 0.02 * self.rows and self.distinct >= 0.9 * self.rows


class Table(NamedTuple):
    """A source with the keys of a map that it takes to read it, and its columns by name."""

    path: str
    keys: dict[str, Any]
    frame: pl.LazyFrame
    rows: int
    columns: dict[str, Column]


def survey(path: str, *, base: Path, scratch: Path) -> Table:
    """Look at all that a path means. Raises DataError where it cannot be read in any usual way."""
    keys, frame = _open(path, base, scratch)
    try:
        table = _look(path, keys, frame, NULLS)
        odd = sorted({value for column in table.columns.values() for value in _odd_nulls(column)})
        if not odd:
            return table
        nulls = (*NULLS, *odd)
        return _look(path, keys | {"nulls": list(nulls)}, frame, nulls)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"cannot be read: {str(error).partition(chr(10))[0]}", path=path) from error


def text(name: str, dtype: pl.DataType, nulls: tuple[str, ...] = NULLS) -> pl.Expr:
    """A column as text without the spaces around it, null where it says that there is no value."""
    if dtype == pl.String:
        stripped = pl.col(name).str.strip_chars()
        return pl.when(~stripped.is_in(nulls)).then(stripped)
    values = pl.col(name).fill_nan(None) if dtype.is_float() else pl.col(name)
    if dtype.is_float():
        # 3.0 is what pandas makes of a 3 beside a null.
        whole = values.cast(pl.Int64, strict=False)
        return pl.when(whole.cast(dtype) == values).then(whole.cast(pl.String)).otherwise(values.cast(pl.String))
    return values.cast(pl.String, strict=False)


def _open(path: str, base: Path, scratch: Path) -> tuple[dict[str, Any], pl.LazyFrame]:
    first: DataError | None = None
    for keys in _ATTEMPTS:
        try:
            frame = scan(Source(path=path, **keys), base=base, scratch=scratch, ragged=Counter())
        except DataError as error:
            first = first or error
            continue
        schema = frame.collect_schema()
        if all(dtype == pl.String for dtype in schema.dtypes()) and any(is_value(name) for name in schema):
            keys = keys | {"header": False}
            frame = scan(Source(path=path, **keys), base=base, scratch=scratch, ragged=Counter())
        return keys, frame
    raise first or DataError("cannot be read", path=path)


def _odd_nulls(column: Column) -> list[str]:
    """Texts beside numbers, or among a few values, that stand for no value."""
    if column.dtype != pl.String or not (column.counts or column.numbers >= 0.5 * column.filled):
        return []
    return [value for value in column.counts or column.values if value.lower() in _ODD_NULLS]


def _look(path: str, keys: dict[str, Any], frame: pl.LazyFrame, nulls: tuple[str, ...]) -> Table:
    schema = dict(frame.collect_schema())
    plain = {
        name: dtype for name, dtype in schema.items() if not dtype.is_nested() and dtype not in (pl.Binary, pl.Object)
    }
    head = frame.head(_LOOK_ROWS).collect()
    rows = int(frame.select(pl.len()).collect(engine="streaming").item())
    distinct = pl.Expr.n_unique if rows <= _EXACT_ROWS else pl.Expr.approx_n_unique
    asked: dict[str, pl.Expr] = {}
    for place, (name, dtype) in enumerate(schema.items()):
        if name not in plain:
            asked[f"{place} nulls"] = pl.col(name).null_count()
            continue
        value = text(name, dtype, nulls)
        number = value.cast(pl.Float64, strict=False)
        number = pl.when(number.is_finite()).then(number)
        asked |= {
            f"{place} nulls": value.null_count(),
            f"{place} distinct": distinct(value.drop_nulls()),
            f"{place} numbers": number.count(),
            f"{place} wholes": (number == number.round()).sum(),
            f"{place} least": number.min(),
            f"{place} greatest": number.max(),
        }
    told = frame.select(**asked).collect(engine="streaming").row(0, named=True) if asked else {}
    columns = {}
    for place, (name, dtype) in enumerate(schema.items()):
        facts = {key: told.get(f"{place} {key}", 0) for key in ("nulls", "distinct", "numbers", "wholes")}
        columns[name] = Column(
            name,
            dtype,
            rows,
            **facts,
            least=told.get(f"{place} least"),
            greatest=told.get(f"{place} greatest"),
            values=_values(head, name, dtype, nulls),
            counts=_counts(frame, name, dtype, nulls) if 0 < facts["distinct"] <= _FEW else {},
        )
    return Table(path, keys, frame, rows, columns)


def _values(head: pl.DataFrame, name: str, dtype: pl.DataType, nulls: tuple[str, ...]) -> list[str]:
    if isinstance(dtype, pl.List | pl.Array):
        inner = dtype.inner
        if isinstance(inner, pl.DataType) and inner.is_nested():
            return []
        lists = head[name].cast(pl.List(pl.String), strict=False).drop_nulls()
        return lists.explode().drop_nulls().unique(maintain_order=True).to_list()
    if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
        return []
    return head.select(text(name, dtype, nulls)).to_series().drop_nulls().unique(maintain_order=True).to_list()


def _counts(frame: pl.LazyFrame, name: str, dtype: pl.DataType, nulls: tuple[str, ...]) -> dict[str, int]:
    counted = frame.select(v=text(name, dtype, nulls)).drop_nulls().group_by("v").len().collect(engine="streaming")
    return dict(counted.sort(["len", "v"], descending=[True, False]).iter_rows())
