"""Events that are kept no longer: retention."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from db.access.driver import opened
from db.access.session import SCHEMA
from db.memory.refresh import refresh_over
from db.memory.turn import turn
from db.statements import SQL
from hexbite.counters.definitions import PREVIOUS_DAYS
from hexbite.errors import StoreError

# Behind the lock on the months whoever tells events waits.
_LOCK_TIMEOUT: Final = "5s"


class Expired(NamedTuple):
    """Events and ids that were let go, and the ``months`` that went as wholes."""

    events: int
    event_ids: int
    months: int


def expire(dsn: str, before: datetime, *, max_event_age_s: float | None, schema: str = SCHEMA) -> Expired:
    """Let events from before a moment go; from then on none from before it can be told.

    What they were counted into stays. ``max_event_age_s`` is how late events may be told: a late one needs those of the
    30 days before it, and so they are kept. Raises StoreError where the moment is nearer than that, StoreUnavailable.
    """
    _require_old(before, max_event_age_s)
    with opened(dsn, schema, autocommit=True) as connection:
        # What is pending is counted first: afterwards nobody could.
        refresh_over(connection)
        with turn(connection):
            connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'".encode())
            # Tellers read the bound: those who have read the old one are waited for.
            connection.execute("LOCK TABLE retention IN ACCESS EXCLUSIVE MODE")
            connection.execute("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
            row = connection.execute(SQL["events_before"], {"bound": before}).fetchone()
            assert row is not None
            connection.execute(SQL["keep_since"], {"bound": before})
            months = len(connection.execute("SELECT drop_months(%s)", (before,)).fetchall())
            connection.execute(SQL["events_delete"], {"bound": before})
            ids = connection.execute(SQL["event_ids_delete"], {"bound": before}).rowcount
    return Expired(row[0], ids, months)


def _require_old(before: datetime, max_event_age_s: float | None) -> None:
    if max_event_age_s is None:
        raise StoreError(
            "events may be told however late they are (HEXBITE_MAX_EVENT_AGE_S=none), and each late one needs those "
            f"of the {PREVIOUS_DAYS:.0f} days before it: set a bound first"
        )
    nearest = datetime.now(UTC) - timedelta(seconds=max_event_age_s, days=PREVIOUS_DAYS)
    if before > nearest:
        raise StoreError(
            f"events may be {max_event_age_s / 86_400:g} days late (HEXBITE_MAX_EVENT_AGE_S), and a late one needs "
            f"those of the {PREVIOUS_DAYS:.0f} days before it: --before must be {nearest:%Y-%m-%d} or earlier"
        )
