"""Bring a data folder's feature tables into the store: staged by COPY, then merged in one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import psycopg
from psycopg import sql

from db.access.driver import opened, vacuum
from db.access.session import SCHEMA
from db.loading.encode import HEADER, TRAILER, batch_to_records
from db.loading.tables import Rejection, Table, parquet_dtypes
from db.statements import SQL
from hexbite.console import Advance, progress
from hexbite.errors import DataError
from hexbite.features import FeatureSchema
from hexbite.folder import RESTAURANTS, TRAIN, USERS, read_schema, resolve_schema
from hexbite.geo import degrees_to_cells

Mode = Literal["replace", "upsert", "fill"]

# Behind the merge's lock writers wait, never readers; a writer that holds on for longer than this stops the load.
_LOCK_TIMEOUT: Final = "30s"


@dataclass
class Loaded:
    """What a load did to one table: rows by what became of them; ``older`` lost to a stored row with a later event."""

    rows: int
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    older: int = 0
    rejections: list[Rejection] = field(default_factory=list)

    @property
    def unchanged(self) -> int:
        """Rows that were stored as they are; where the folder tells no event time, they now have the load's."""
        return self.rows - self.inserted - self.updated - self.older - len(self.rejections)


def load(dsn: str, folder: Path, *, mode: Mode = "replace", schema: str = SCHEMA) -> dict[str, Loaded]:
    """Load the tables of a data folder, by name (``users``, ``restaurants``), into those in a schema of the database.

    ``replace`` makes the store hold, for the folder's schema, what the folder holds; ``upsert`` takes new and changed
    rows, one table alone if need be, and leaves a stored row with a later event alone; ``fill`` loads where no table
    has a row of the schema, and else changes nothing and returns no table. Other schemas are not touched.
    Readers see all of the old or all of the new. Raises DataError before anything is stored where a file cannot be
    used, StoreError or StoreUnavailable where the store refuses.
    """
    features, tables = _open(folder, mode)
    with opened(dsn, schema) as connection:
        if mode == "fill":
            # Before the work of staging, in a transaction of its own; behind the lock it is asked again, and counts.
            with connection.transaction():
                if _holds_rows(connection, features):
                    return {}
        _stage(connection, tables)
        with progress("merging into the store"):
            loaded = _merge(connection, features, tables, mode)
    if not loaded:
        return {}
    with progress("vacuuming") as advance:
        if not vacuum(dsn, schema):
            advance(0, "left to autovacuum: this user may only analyse")
    return loaded


def _open(folder: Path, mode: Mode) -> tuple[FeatureSchema, dict[str, Table]]:
    if not folder.is_dir():
        raise DataError("is no folder", path=folder)
    paths = {"users": folder / USERS, "restaurants": folder / RESTAURANTS}
    present = [name for name, path in paths.items() if path.exists()]
    if mode == "upsert" and len(present) == 1:
        schema = read_schema(folder)
        if schema is None:
            raise DataError("one table alone does not tell its schema; put the schema.json beside it", path=folder)
        paths = {name: paths[name] for name in present}
    else:
        clicks = min((folder / TRAIN).glob("*.parquet"), default=None)
        schema = resolve_schema(
            folder,
            user_columns=list(parquet_dtypes(paths["users"])),
            restaurant_columns=list(parquet_dtypes(paths["restaurants"])),
            click_columns=None if clicks is None else list(parquet_dtypes(clicks)),
        )
    kinds = {"users": ("user_id", schema.user, False), "restaurants": ("restaurant_id", schema.restaurant, True)}
    return schema, {name: Table(path, *kinds[name]) for name, path in paths.items()}


def _holds_rows(connection: psycopg.Connection[Any], schema: FeatureSchema) -> bool:
    """Whether any table has a row of the schema: one that was emptied beside the other is not filled again."""
    row = connection.execute(SQL["holds_rows"], {"fingerprint": schema.fingerprint}).fetchone()
    assert row is not None
    return bool(row[0])


def _stage(connection: psycopg.Connection[Any], tables: dict[str, Table]) -> None:
    # In a transaction of its own: what takes long holds back no vacuum and blocks nobody.
    connection.execute(SQL["stage"])
    for name, table in tables.items():
        staging = sql.Identifier(f"staged_{name}")
        copy = sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(staging)
        with progress(f"loading {name}", table.rows) as advance, connection.cursor().copy(copy) as stream:
            stream.write(HEADER)
            for records in _records(table, advance):
                stream.write(records)
            stream.write(TRAILER)
        connection.execute(sql.SQL("ANALYZE {}").format(staging))
    connection.commit()


def _records(table: Table, advance: Advance) -> Iterator[bytes]:
    for batch in table.batches():
        cells = degrees_to_cells(batch.lats_deg, batch.lngs_deg) if table.positioned else None
        yield batch_to_records(batch, cells)
        advance(len(batch.ids))


def _merge(
    connection: psycopg.Connection[Any], schema: FeatureSchema, tables: dict[str, Table], mode: Mode
) -> dict[str, Loaded]:
    with connection.transaction():
        connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(_LOCK_TIMEOUT))
        connection.execute("SET LOCAL hexbite.cells_are_computed = 'on'")
        # Always both, in this order, so that two loads never wait for each other.
        connection.execute("LOCK TABLE users, restaurants IN SHARE ROW EXCLUSIVE MODE")
        if mode == "fill" and _holds_rows(connection, schema):
            return {}
        # A load that was killed, or one just before, may have left rows that no statistics tell of: with a nested loop
        # for what looks like an empty schema, the merge would never end.
        connection.execute(SQL["analyse"])
        schema_id = _register(connection, schema)
        return {name: _merge_table(connection, schema_id, name, table, mode) for name, table in tables.items()}


def _register(connection: psycopg.Connection[Any], schema: FeatureSchema) -> int:
    row = connection.execute(
        SQL["register"],
        {group: list(schema.names(group)) for group in ("user", "restaurant", "context")}
        | {f"{group}_fills": list(schema.fills(group)) for group in ("user", "restaurant")}
        | {"fingerprint": schema.fingerprint},
    ).fetchone()
    assert row is not None
    return int(row[0])


def _merge_table(connection: psycopg.Connection[Any], schema_id: int, name: str, table: Table, mode: Mode) -> Loaded:
    loaded = Loaded(table.rows, rejections=table.rejections)
    parameters = {"schema_id": schema_id, "keep_newer": mode == "upsert"}
    if mode == "upsert":
        row = connection.execute(SQL[f"{name}_older"], parameters).fetchone()
        assert row is not None
        loaded.older = row[0]
    else:
        rejected = [rejection.id for rejection in table.rejections if rejection.id is not None]
        loaded.deleted = connection.execute(SQL[f"{name}_delete"], parameters | {"rejected": rejected}).rowcount
    loaded.updated = connection.execute(SQL[f"{name}_update"], parameters).rowcount
    connection.execute(SQL[f"{name}_confirm"], parameters)
    loaded.inserted = connection.execute(SQL[f"{name}_insert"], parameters).rowcount
    return loaded
