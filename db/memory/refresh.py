"""Pending events into the states, by one refresher at a time, while others tell and read."""

from __future__ import annotations

import time
from itertools import chain
from typing import Any, Final, NamedTuple

import numpy as np
import psycopg

from db.access.driver import opened
from db.access.session import SCHEMA
from db.memory.counting import Counting, counting_schemas
from db.memory.places import add_places, join_places, no_places
from db.memory.remember import remember
from db.memory.slices import Slice, people_to_slices
from db.memory.told import Told, read_told
from db.memory.turn import turn
from db.statements import SQL

# Somebody wrote the same rows of restaurants meanwhile.
_ATTEMPTS: Final = 5


class Refreshed(NamedTuple):
    """What a refresh did: ``events`` that were pending, of how many ``users``, at how many ``restaurants``.

    ``made`` are the fingerprints of schemas whose states it made from the events that are kept.
    """

    events: int
    users: int
    restaurants: int
    made: tuple[str, ...]
    seconds: float


def refresh(dsn: str, schema: str = SCHEMA, *, wait: bool = True) -> Refreshed | None:
    """Bring the states of every schema with counters up to the events that are told.

    Where another one is at it, or a load, waits for it, or without ``wait`` returns None at once. Each slice of people
    is a transaction of its own: a refresh that is interrupted has done a part. Raises StoreError or StoreUnavailable.
    """
    with opened(dsn, schema, autocommit=True) as connection:
        try:
            return refresh_over(connection, wait=wait)
        except psycopg.errors.LockNotAvailable:
            if wait:
                raise
            return None


def refresh_over(connection: psycopg.Connection[Any], *, wait: bool = True) -> Refreshed:
    """`refresh`, on a connection that commits by itself."""
    started = time.monotonic()
    with turn(connection, wait=wait):
        new = [counting for counting in counting_schemas(connection) if not counting.is_made]
        for counting in new:
            _make(connection, counting)
    events = users = 0
    restaurants = np.empty(0, dtype=np.int64)
    for part in _slices(connection, "pending_people"):
        told = _patiently(connection, part, wait=wait)
        events, users = events + len(told.user), users + len(np.unique(told.user))
        restaurants = np.union1d(restaurants, told.restaurant)
    with turn(connection, wait=wait):
        made = [counting.schema_id for counting in counting_schemas(connection) if counting.is_made]
        connection.execute(SQL["remembered"], {"ids": made})
    names = tuple(counting.fingerprint for counting in new)
    return Refreshed(events, users, len(restaurants), names, time.monotonic() - started)


def _slices(connection: psycopg.Connection[Any], statement: str) -> list[Slice]:
    rows = np.array(connection.execute(SQL[statement]).fetchall(), dtype=np.int64).reshape(-1, 3)
    return list(people_to_slices(*rows.T))


def _make(connection: psycopg.Connection[Any], counting: Counting) -> None:
    """The states of one schema from the events that are kept, but for those that are pending."""
    connection.execute(SQL["forget_states"], {"schema_id": counting.schema_id})
    places = no_places(counting)
    for part in _slices(connection, "archived_people"):
        told = read_told(connection, "archived", counting.counters.kinds, **part._asdict())
        places = join_places(counting, places, remember(connection, counting, told))
    add_places(connection, counting, places)
    connection.execute(SQL["restaurants_renew"], {"schema_id": counting.schema_id})
    connection.execute(SQL["remembered"], {"ids": [counting.schema_id]})


def _patiently(connection: psycopg.Connection[Any], part: Slice, *, wait: bool) -> Told:
    for _ in range(_ATTEMPTS - 1):
        try:
            return _take(connection, part, wait=wait)
        except psycopg.errors.SerializationFailure:
            continue
    return _take(connection, part, wait=wait)


def _take(connection: psycopg.Connection[Any], part: Slice, *, wait: bool) -> Told:
    """The pending events of some people, in one transaction."""
    with turn(connection, wait=wait):
        schemas = counting_schemas(connection)
        kinds = tuple(sorted(set(chain.from_iterable(counting.counters.kinds for counting in schemas))))
        told = read_told(connection, "pending", kinds, **part._asdict())
        for counting in schemas:
            if counting.is_made:
                add_places(connection, counting, remember(connection, counting, told))
        connection.execute(SQL["pending_delete"], part._asdict())
    return told
