"""Connections of the commands, and what their driver raises turned into our own errors, in this one place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import psycopg

from db.statements import SQL
from hexbite.errors import StoreError, StoreUnavailable

_CONNECT_S: Final = 10

# A line that says enough, and nothing of the address: the server's own words go below it.
_MENDED: Final[dict[type[psycopg.Error], str]] = {
    psycopg.errors.UndefinedTable: "the feature store has no tables yet; run: python -m db upgrade",
    psycopg.errors.UndefinedFunction: "the feature store has old tables; run: python -m db upgrade",
    psycopg.errors.LockNotAvailable: "another session holds a lock that is needed here; try again when it is done",
    psycopg.errors.DeadlockDetected: "another session wrote the same rows at the same time; try again",
    psycopg.errors.InsufficientPrivilege: "the store's user may not do that",
    psycopg.errors.DiskFull: "the store's disk is full",
}


@contextmanager
def driver_errors() -> Iterator[None]:
    """Raise StoreUnavailable where the server cannot be reached or goes away, else StoreError, for a driver's error."""
    try:
        yield
    except psycopg.Error as error:
        raise _translate(error) from error


def connect(dsn: str, *, autocommit: bool = False) -> psycopg.Connection[Any]:
    """A connection to the store. Call it inside `driver_errors`."""
    return psycopg.connect(dsn, autocommit=autocommit, connect_timeout=_CONNECT_S, fallback_application_name="hexbite")


def _translate(error: psycopg.Error) -> StoreError:
    said = error.diag.message_primary or " ".join(str(error).split())
    hint = error.diag.message_hint
    for kind, what_to_do in _MENDED.items():
        if isinstance(error, kind):
            return StoreError(f"{what_to_do} ({said}{f'. {hint}' if hint else ''})")
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return StoreUnavailable(f"the feature store cannot be reached: {said}")
    return StoreError(f"the feature store refused: {said}{f' ({hint})' if hint else ''}")


def vacuum(dsn: str) -> bool:
    """What a load or a revision leaves to be done: index-only scans need a vacuumed table, and plans its statistics.

    False where the user may only analyse, and the rest is left to autovacuum.
    """
    with driver_errors(), connect(dsn, autocommit=True) as connection:
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
