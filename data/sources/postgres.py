"""The rows of a Postgres query become Parquet files, a batch of them at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple

import polars as pl
import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.types import TypeInfo
from psycopg.types.string import TextLoader

from data.sources.source import from_environment
from hexbite.console import progress
from hexbite.errors import DataError

_ROWS_AT_ONCE: Final = 50_000
_CONNECT_S: Final = 15

# What keeps its kind. All else is the text that Postgres writes: of numeric, too, which has more digits than a float.
_KINDS: Final[dict[str, pl.DataType]] = {
    "bool": pl.Boolean(),
    "int2": pl.Int16(),
    "int4": pl.Int32(),
    "int8": pl.Int64(),
    "oid": pl.Int64(),
    "float4": pl.Float32(),
    "float8": pl.Float64(),
}

# Read as text and parsed here: Python knows no infinite time, and none before year 1 or after 9999.
_TIMES: Final[dict[str, tuple[str, pl.Date | pl.Datetime]]] = {
    "date": ("%Y-%m-%d", pl.Date()),
    "timestamp": ("%Y-%m-%d %H:%M:%S%.f", pl.Datetime("us")),
    "timestamptz": ("%Y-%m-%d %H:%M:%S%.f%#z", pl.Datetime("us", "UTC")),
}

# One row for each of a query's types: that of the elements stands beside an array's.
_TYPES: Final = """
    SELECT t.oid, t.typname, e.oid, e.typname
    FROM pg_catalog.pg_type AS t
    LEFT JOIN pg_catalog.pg_type AS e ON e.oid = t.typelem AND t.typcategory = 'A'
    WHERE t.oid = ANY(%s)
"""


class _Column(NamedTuple):
    """``kind`` is Postgres's name of the type, of an array that of its elements."""

    name: str
    kind: str
    is_list: bool

    @property
    def read_as(self) -> pl.DataType:
        inner = _KINDS.get(self.kind, pl.String())
        return pl.List(inner) if self.is_list else inner


def write_query(query: str, database: str, folder: Path) -> list[Path]:
    """Ask ``database`` and write the rows as Parquet files into ``folder``; returns them in order.

    Nothing can be changed by the query: its transaction is read only. Times that are infinite or outside the years 1 to
    9999 are null, and counted in what the progress says. Arrays of one dimension are lists. Raises DataError, which
    never repeats the database's password, where it cannot be reached, refuses the query, or a column cannot be read.
    """
    address = from_environment(database)
    shown = _shown(address, database)
    try:
        with psycopg.connect(address, connect_timeout=_CONNECT_S) as connection:
            connection.read_only = True
            connection.execute("SET DateStyle = 'ISO'; SET TimeZone = 'UTC'")
            return _write_rows(connection, query, folder, shown)
    except psycopg.OperationalError as error:
        raise DataError(f"cannot be asked: {_reason(error)}; check the address, or try again", path=shown) from None
    except psycopg.Error as error:
        raise DataError(f"refuses the query: {_reason(error)}", path=shown) from None


def _write_rows(connection: psycopg.Connection[Any], query: str, folder: Path, shown: str) -> list[Path]:
    written: list[Path] = []
    out_of_range = 0
    with progress("asking Postgres") as advance:
        columns = _describe(connection, query, shown)
        with connection.cursor(name="hexbite") as cursor:
            cursor.execute(query.encode())
            while (rows := cursor.fetchmany(_ROWS_AT_ONCE)) or not written:
                table, lost = _to_table(rows, columns, shown)
                out_of_range += lost
                written.append(folder / f"{len(written):06}.parquet")
                table.write_parquet(written[-1], compression_level=1)
                advance(len(rows), f"{out_of_range:,} times that no timestamp holds: null" if out_of_range else "")
    return written


def _describe(connection: psycopg.Connection[Any], query: str, shown: str) -> list[_Column]:
    """The columns of a query; afterwards the connection reads as text what is not in `_KINDS`."""
    with connection.cursor(name="hexbite_columns") as cursor:
        cursor.execute(query.encode())
        described = [(column.name, column.type_code) for column in cursor.description or ()]
    names = [name for name, _ in described]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"the query names {', '.join(twice)} more than once: name each by AS", path=shown)
    types = {oid: told for oid, *told in connection.execute(_TYPES, [[oid for _, oid in described]])}
    columns = []
    for name, oid in described:
        kind, element_oid, element = types[oid]
        column = _Column(name, element or kind, is_list=element is not None)
        if column.kind == "bytea":
            raise DataError(
                "holds bytes: leave it out of the query, or write encode(it, 'hex')", path=shown, column=name
            )
        if element is not None:
            TypeInfo(element, element_oid, oid).register(connection)
        if column.kind not in _KINDS:
            connection.adapters.register_loader(element_oid or oid, TextLoader)
        columns.append(column)
    return columns


def _to_table(rows: list[tuple[Any, ...]], columns: list[_Column], shown: str) -> tuple[pl.DataFrame, int]:
    """Rows, and how many times among them are null because no timestamp holds them."""
    table = {}
    lost = 0
    for place, column in enumerate(columns):
        try:
            values = pl.Series(column.name, [row[place] for row in rows], column.read_as, strict=True)
        except (pl.exceptions.PolarsError, TypeError, OverflowError) as error:
            raise DataError(
                f"holds what no column can hold ({error}): of arrays only those of one dimension can be read",
                path=shown,
                column=column.name,
            ) from error
        if column.kind in _TIMES and not column.is_list:
            pattern, dtype = _TIMES[column.kind]
            times = values.str.strptime(dtype, pattern, strict=False)
            lost += times.null_count() - values.null_count()
            values = times
        table[column.name] = values
    return pl.DataFrame(table), lost


def _shown(address: str, database: str) -> str:
    """What to call a database: the variable that holds its address, else host and name."""
    if database.startswith("$"):
        return database
    try:
        parts = conninfo_to_dict(address)
    except psycopg.ProgrammingError:
        # libpq repeats what it cannot read, a password among it.
        raise DataError(
            "is no address of Postgres; write postgresql://user@host/name, or name a variable: $WAREHOUSE",
            path="database",
        ) from None
    return f"database {parts.get('dbname', '')} at {parts.get('host', 'this machine')}"


def _reason(error: psycopg.Error) -> str:
    return " ".join((error.diag.message_primary or str(error)).split())
