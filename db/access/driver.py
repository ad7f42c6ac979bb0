"""Connections of the commands, and what their driver raises turned into our own errors, in this one place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import numpy as np
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from db.access.address import resolved
from db.access.arrays import BigintArray
from db.access.session import (
    FILTER,
    LOADER,
    NETWORK,
    SCHEMA,
    SINCE,
    command_settings,
    hidden,
    may_not_connect,
    quoted,
    to_options,
)
from db.statements import SQL
from hexbite.errors import StoreError, StoreMisconfigured, StoreUnavailable

_CONNECT_S: Final = 10

# Libpq has variables of the environment for these (PGDATESTYLE, PGTZ), which win over what is asked for as an option.
_OUTRANKED: Final = ("datestyle", "timezone")

# A line that says enough, and nothing of the address: the server's own words go below it.
_MENDED: Final[dict[type[psycopg.Error], str]] = {
    psycopg.errors.UndefinedTable: "the feature store has no tables yet; run: python -m db upgrade",
    psycopg.errors.UndefinedFunction: "the feature store has old tables; run: python -m db upgrade",
    psycopg.errors.UndefinedColumn: "the feature store has old tables; run: python -m db upgrade",
    psycopg.errors.LockNotAvailable: "another session holds a lock that is needed here; try again when it is done",
    psycopg.errors.DeadlockDetected: "another session wrote the same rows at the same time; try again",
    psycopg.errors.InsufficientPrivilege: "the store's user may not do that",
    psycopg.errors.DiskFull: "the store's disk is full",
}

# The classes of SQLSTATE that tell of the connection or the server, and not of a statement.
_AWAY: Final = ("08", "57P", "53300")


@contextmanager
def opened(dsn: str, schema: str, *, autocommit: bool = False) -> Iterator[psycopg.Connection[Any]]:
    """A connection of a command that reads or writes rows, for ``with``. Raises as `driver_errors` does."""
    with driver_errors(), connect(dsn, schema, autocommit=autocommit) as connection:
        try:
            yield connection
        except psycopg.errors.InsufficientPrivilege as error:
            if error.diag.source_function == FILTER:
                raise StoreMisconfigured(hidden(connection.info.user)) from error
            connection.rollback()
            row = connection.execute(SQL["missing_grant"]).fetchone()
            assert row is not None
            raise StoreMisconfigured(
                f"the store's user may not do that ({error.diag.message_primary}); run, as the owner: {row[0]}"
            ) from error


@contextmanager
def driver_errors() -> Iterator[None]:
    """Raise StoreUnavailable where the server cannot be reached or goes away, else StoreError, for a driver's error."""
    try:
        yield
    except psycopg.Error as error:
        raise _translate(error) from error


def connect(dsn: str, schema: str, *, autocommit: bool = False) -> psycopg.Connection[Any]:
    """A connection to the store with the tables in ``schema``. Call it inside `driver_errors`.

    Raises StoreMisconfigured where the user may not see what is in the schema.
    """
    given = resolved(dsn)
    wanted = NETWORK | {"connect_timeout": str(_CONNECT_S), "fallback_application_name": "hexbite"}
    settings = command_settings(schema)
    encoding = settings.pop("client_encoding")
    address = make_conninfo(
        dsn,
        client_encoding=encoding,
        options=to_options(settings, before=given.get("options", "")),
        **{name: value for name, value in wanted.items() if name not in given},
    )
    try:
        connection = psycopg.connect(address, autocommit=True)
    except psycopg.OperationalError as error:
        # No code comes with what is refused at the start; the name of a role or of a right is the same in every
        # language. Names of the address are in the text too, in quotes.
        if f'"{LOADER}"' in str(error) and f"role={LOADER}" in given.get("options", ""):
            raise StoreMisconfigured(
                f"the store's user may not write to it; run, as its owner: GRANT {LOADER} TO {quoted(given['user'])}"
            ) from error
        if "CONNECT" not in re.sub(r'"[^"]*"', "", str(error).rpartition("FATAL:")[2]):
            raise
        user = given.get("user", "")
        raise StoreMisconfigured(may_not_connect(given.get("dbname", user), user)) from error
    for name in _OUTRANKED:
        connection.execute(sql.SQL("SET {} = {}").format(sql.Identifier(name), settings[name]))
    for version, statement in SINCE.items():
        if connection.info.server_version >= version:
            connection.execute(statement)
    # What may not be seen is as if it were not there, and an upgrade that is told so would say nothing of use.
    if connection.execute(SQL["may_not_enter"], {"schema": schema}).fetchone() is not None:
        user = quoted(connection.info.user)
        connection.close()
        raise StoreMisconfigured(
            f"user {user} may not use schema {quoted(schema)}; run, as the store's owner: "
            f"GRANT hexbite_loader TO {user}, or, for who migrates: ALTER SCHEMA {quoted(schema)} OWNER TO {user}"
        )
    connection.adapters.register_dumper(np.ndarray, BigintArray)
    connection.autocommit = autocommit
    return connection


def as_loader(dsn: str) -> str:
    """The same address, of sessions that step down to who may load, whoever connects."""
    before = resolved(dsn).get("options", "")
    return make_conninfo(dsn, options=to_options({"role": LOADER}, before=before))


def _translate(error: psycopg.Error) -> StoreError:
    said = error.diag.message_primary or " ".join(str(error).split())
    hint = error.diag.message_hint
    for kind, what_to_do in _MENDED.items():
        if isinstance(error, kind):
            return StoreError(f"{what_to_do} ({said}{f'. {hint}' if hint else ''})")
    is_away = error.sqlstate is None or error.sqlstate.startswith(_AWAY)
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and is_away:
        return StoreUnavailable(f"the feature store cannot be reached: {said}")
    return StoreError(f"the feature store refused: {said}{f' ({hint})' if hint else ''}")


def vacuum(dsn: str, schema: str = SCHEMA) -> bool:
    """What a load or a revision leaves to be done: index-only scans need a vacuumed table, and plans its statistics.

    False where the user may only analyse, and the rest is left to autovacuum.
    """
    with opened(dsn, schema, autocommit=True) as connection:
        row = connection.execute(SQL["may_vacuum"]).fetchone()
        assert row is not None
        # Asked first: what a VACUUM may not do it passes over, and ends well.
        if row[0]:
            connection.execute("VACUUM (ANALYZE, SKIP_LOCKED) users, restaurants")
        else:
            _analyse_unless_locked(connection)
        return bool(row[0])


def _analyse_unless_locked(connection: psycopg.Connection[Any]) -> None:
    # The lock first and by itself: in the function it would be waited for with a snapshot, and who builds an index
    # CONCURRENTLY waits for snapshots with the lock.
    with suppress(psycopg.errors.LockNotAvailable), connection.transaction():
        connection.execute("LOCK TABLE users, restaurants IN SHARE UPDATE EXCLUSIVE MODE NOWAIT")
        connection.execute(SQL["analyse"])
