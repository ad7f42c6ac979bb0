"""How a migrator comes by its locks while others read and write: it never makes anybody wait for long."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Self

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import namedtuple_row
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from db import migrate
from hexbite.errors import StoreError

_LOOK_EVERY_S: Final = 0.03
_SPEAK_AFTER_S: Final = 2.0

_BLOCKERS: Final = """
SELECT pid, usename, application_name, backend_type, state, xact_start
  FROM unnest(pg_blocking_pids(%s)) AS blocking (pid)
  LEFT JOIN pg_stat_activity USING (pid)
 ORDER BY xact_start NULLS LAST, pid
"""


def one_at_a_time() -> str:
    """A statement, to be sent outside a transaction, that takes the migrators' lock for its session.

    It asks again and again, and ends its transaction in between: who waits inside one, as pg_advisory_lock does, holds
    a snapshot that CREATE INDEX CONCURRENTLY waits for, while itself it waits for whoever builds that index.
    """
    key, asked = migrate.MIGRATOR_LOCK, round(migrate.MIGRATOR_WAIT_S / migrate.ASK_EVERY_S)
    return f"""DO $$
BEGIN
    FOR asked IN 0..{asked} LOOP
        IF pg_try_advisory_lock({key}) THEN
            RETURN;
        END IF;
        IF asked = 1 THEN
            RAISE WARNING 'waiting for another migrator';
        END IF;
        COMMIT;
        PERFORM pg_sleep({migrate.ASK_EVERY_S});
        COMMIT;
    END LOOP;
    RAISE EXCEPTION 'another migrator is at work: %', (
        SELECT string_agg(concat_ws(' ', 'pid', pid, application_name, 'user', usename, 'since', backend_start), ', ')
          FROM pg_locks JOIN pg_stat_activity USING (pid)
         WHERE locktype = 'advisory' AND granted
           AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
           AND (classid, objid, objsubid) = ({key >> 32}::oid, {key & 0xFFFFFFFF}::oid, 1))
        USING ERRCODE = 'lock_not_available';
END
$$"""  # noqa: S608 - numbers of our own


def insist(connection: Connection, attempt: Callable[[], None], *, patience_s: float | None = None) -> None:
    """Make an attempt, again and again while another session holds one of its locks.

    Each holds up whoever queues behind it for no longer than ``lock_timeout``; between two of them everybody passes.
    An attempt that fails must leave nothing behind. Raises StoreError, which names who would not let go, when
    ``patience_s`` (by default migrate.PATIENCE_S) is over.
    """
    patience_s = migrate.PATIENCE_S if patience_s is None else patience_s
    started = time.monotonic()
    with _Lookout(connection) as lookout:
        while True:
            try:
                attempt()
            except DBAPIError as error:
                if not isinstance(error.orig, psycopg.errors.LockNotAvailable | psycopg.errors.DeadlockDetected):
                    raise
                waited_s = time.monotonic() - started
                if waited_s >= patience_s:
                    raise StoreError(_describe(lookout.seen, waited_s)) from error
            else:
                return
            time.sleep(migrate.ASK_EVERY_S)


def _describe(blockers: Sequence[Any], waited_s: float) -> str:
    if not blockers:
        return f"other sessions held locks that this revision needs for {waited_s:.0f} s; run the command again"
    return (
        f"for {waited_s:.0f} s this revision has waited for a lock of {_describe_sessions(blockers)}; end that "
        "transaction, or the session by SELECT pg_terminate_backend(PID), and run the command again: it goes on where "
        "it stopped"
    )


def _describe_sessions(blockers: Sequence[Any]) -> str:
    return ", ".join(_describe_session(blocker) for blocker in blockers)


def _describe_session(blocker: Any) -> str:
    if blocker.pid == 0:
        return "a prepared transaction (see pg_prepared_xacts)"
    # Of sessions of others, only their names show to everybody.
    facts = [
        blocker.application_name or blocker.backend_type,
        f"user {blocker.usename}" if blocker.usename else None,
        blocker.state,
        f"in a transaction since {blocker.xact_start:%Y-%m-%d %H:%M:%S %Z}" if blocker.xact_start else None,
    ]
    return f"pid {blocker.pid} ({', '.join(fact for fact in facts if fact)})"


class _Lookout:
    """Whom a session waits for, asked from another session meanwhile: afterwards nobody could tell."""

    def __init__(self, connection: Connection) -> None:
        self._waiting: psycopg.ConnectionInfo = connection.connection.driver_connection.info  # type: ignore[union-attr]  # psycopg's own
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.seen: Sequence[Any] = ()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _look(self) -> None:
        # What takes no longer than this waits for nobody, and needs no second session.
        if self._is_over.wait(_LOOK_EVERY_S):
            return
        try:
            # Plainly, to the same place by the same settings: one that looks at the store's own tables first would wait
            # for the session that it is to watch, which waits for it to end.
            address = make_conninfo(self._waiting.dsn, password=self._waiting.password or None)
            with psycopg.connect(address, autocommit=True) as connection:
                speak_at = time.monotonic() + _SPEAK_AFTER_S
                while not self._is_over.wait(_LOOK_EVERY_S):
                    rows = connection.cursor(row_factory=namedtuple_row).execute(
                        _BLOCKERS, (self._waiting.backend_pid,)
                    )
                    self.seen = rows.fetchall() or self.seen
                    if self.seen and time.monotonic() > speak_at:
                        speak_at = float("inf")
                        print(f"waiting for {_describe_sessions(self.seen)}", file=sys.stderr)
        except psycopg.Error:
            # No connection is free, say: then the error will name nobody.
            return
