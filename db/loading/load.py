"""Bring a data folder's feature tables into the store: staged by COPY, then merged in one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from data.folder.clicks import Unknown
from data.folder.tables import MAX_REJECTED, Rejection, Table
from data.folder.verdict import Contents, judge, look
from db.access.copying import HEADER, TRAILER
from db.access.driver import opened, vacuum
from db.access.session import SCHEMA
from db.loading.encode import batch_to_records
from db.memory.refresh import refresh
from db.statements import SQL
from hexbite.console import Advance, progress
from hexbite.counters.definitions import By
from hexbite.counters.packing import states_to_bytes
from hexbite.counters.states import Layout
from hexbite.errors import FolderError, Problem
from hexbite.features import FeatureSchema
from hexbite.folder import RESTAURANTS, USERS
from hexbite.geo import degrees_to_cells

Mode = Literal["replace", "upsert", "fill"]

_KEYS: Final = {"users": "user_key", "restaurants": "restaurant_key"}

#: The order in which `batch_to_records` writes; the key of a table with text ids comes last.
_COLUMNS: Final = {
    "users": ("user_id", "features", "event_ts"),
    "restaurants": ("restaurant_id", "latitude", "longitude", "h3_cell", "features", "event_ts"),
}

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


def load(
    dsn: str,
    folder: Path,
    *,
    mode: Mode = "replace",
    schema: str = SCHEMA,
    unknown: Unknown = "error",
    max_rejected: float = MAX_REJECTED,
) -> dict[str, Loaded]:
    """Load the tables of a data folder, by name (``users``, ``restaurants``), into those in a schema of the database.

    ``replace`` makes the store hold, for the folder's schema, what the folder holds; ``upsert`` takes new and changed
    rows, one table alone if need be, and leaves a stored row with a later event alone; ``fill`` loads where no table
    has a row of the schema, and else changes nothing and returns no table. Other schemas are not touched.
    Readers see all of the old or all of the new. Raises FolderError, with all that is wrong, before anything is stored
    where the folder cannot be used; StoreError or StoreUnavailable where the store refuses.
    """
    contents = _look(folder, mode)
    if mode == "fill" and contents.schema is not None:
        # Before the work of judging and staging; behind the lock it is asked again, and counts.
        with opened(dsn, schema) as connection:
            if _holds_rows(connection, contents.schema):
                return {}
    features, tables = _judged(contents, unknown, max_rejected)
    with opened(dsn, schema) as connection:
        _stage(connection, tables)
        with progress("merging into the store"):
            loaded = _merge(connection, folder, features, tables, mode)
    if not loaded:
        return {}
    if contents.schema is not None and contents.schema.counters:
        with progress("bringing counters up to the events"):
            refresh(dsn, schema=schema)
    with progress("vacuuming") as advance:
        if not vacuum(dsn, schema):
            advance(0, "left to autovacuum: this user may only analyse")
    return loaded


def _look(folder: Path, mode: Mode) -> Contents:
    present = [name for name in (USERS, RESTAURANTS) if (folder / name).exists()]
    is_one = mode == "upsert" and len(present) == 1
    return look(folder, wanted=present if is_one else (USERS, RESTAURANTS))


def _judged(contents: Contents, unknown: Unknown, max_rejected: float) -> tuple[FeatureSchema, dict[str, Table]]:
    verdict = judge(contents, unknown=unknown, max_rejected=max_rejected)
    verdict.refuse()
    assert contents.schema is not None
    tables = {"users": verdict.users, "restaurants": verdict.restaurants}
    return contents.schema, {name: table for name, table in tables.items() if table is not None}


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
        columns = [*_COLUMNS[name], *((_KEYS[name],) if table.has_texts else ())]
        copy = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
            staging, sql.SQL(", ").join(map(sql.Identifier, columns))
        )
        with progress(f"loading {name}", table.rows) as advance, connection.cursor().copy(copy) as stream:
            stream.write(HEADER)
            for records in _records(table, advance):
                stream.write(records)
            stream.write(TRAILER)
        connection.execute(sql.SQL("ANALYZE {}").format(staging))
    connection.commit()


def _records(table: Table, advance: Advance) -> Iterator[bytes]:
    for read, batch in table.batches():
        cells = degrees_to_cells(batch.lats_deg, batch.lngs_deg) if table.positioned else None
        # A zone's number stands behind the features.
        features = np.column_stack([batch.features, batch.zones]) if table.zoned else batch.features
        yield batch_to_records(batch._replace(features=features), cells)
        advance(len(read))


def _merge(
    connection: psycopg.Connection[Any], folder: Path, schema: FeatureSchema, tables: dict[str, Table], mode: Mode
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
        _refuse_other_texts(connection, folder, schema_id, tables)
        return {name: _merge_table(connection, schema_id, name, table, mode) for name, table in tables.items()}


def _register(connection: psycopg.Connection[Any], schema: FeatureSchema) -> int:
    row = connection.execute(
        SQL["register"],
        {
            "fingerprint": schema.fingerprint,
            "user": list(schema.names("user")),
            "restaurant": list(schema.stored_restaurant_names),
            "context": list(schema.names("context")),
            "user_fills": list(schema.fills("user")),
            # A zone has none: a restaurant without one is not stored.
            "restaurant_fills": [*schema.fills("restaurant"), *([None] if schema.tells_local_time else [])],
            "counters": Jsonb(schema.counters.to_json() if schema.counters else {}),
            "empty_state": states_to_bytes(Layout.of(schema.counters, By.RESTAURANT).empty()),
        },
    ).fetchone()
    assert row is not None
    return int(row[0])


def _refuse_other_texts(
    connection: psycopg.Connection[Any], folder: Path, schema_id: int, tables: dict[str, Table]
) -> None:
    """Raise FolderError where a row of the schema is stored under the same hash for another text (ADR 13)."""
    problems = []
    for name, table in tables.items():
        if table.has_texts:
            rows = connection.execute(SQL[f"{name}_other_texts"], {"schema_id": schema_id}).fetchall()
            problems += [
                Problem(table.name, table.id_column, f"{ours!r} and {theirs!r}, which is stored, share one 64-bit hash")
                for ours, theirs in rows
            ]
    if problems:
        raise FolderError(problems, path=folder)


def _merge_table(connection: psycopg.Connection[Any], schema_id: int, name: str, table: Table, mode: Mode) -> Loaded:
    assert table.known is not None
    loaded = Loaded(table.rows, rejections=table.rejections)
    parameters = {"schema_id": schema_id, "keep_newer": mode == "upsert"}
    if mode == "upsert":
        row = connection.execute(SQL[f"{name}_older"], parameters).fetchone()
        assert row is not None
        loaded.older = row[0]
    else:
        rejected = table.known.rejected.tolist()
        loaded.deleted = connection.execute(SQL[f"{name}_delete"], parameters | {"rejected": rejected}).rowcount
    loaded.updated = connection.execute(SQL[f"{name}_update"], parameters).rowcount
    connection.execute(SQL[f"{name}_confirm"], parameters)
    loaded.inserted = connection.execute(SQL[f"{name}_insert"], parameters).rowcount
    return loaded
