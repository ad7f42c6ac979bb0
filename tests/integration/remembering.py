"""A store that counts, events for it, and all that it remembers, for the tests of what people did."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
import psycopg

from db.loading.load import _register
from hexbite.counters.definitions import By, Counter, Counters, Figure, default_counters
from hexbite.counters.packing import bytes_to_places
from hexbite.counters.states import Layout, Stat, fade
from hexbite.features import FeatureSchema
from hexbite.geo import degrees_to_cell
from hexbite.ids import event_id_to_uuid
from hexbite.zones import zone_to_number

#: The default set, and what it lacks: two kinds of events, and everything by the previous restaurant and by clocks.
COUNTERS = Counters(
    (
        *default_counters(["visit"]),
        Counter("clicks", ("click", "visit"), By.PAIR, Figure.COUNT),
        Counter("people_30d", ("click",), By.USER, Figure.DECAYED, half_life_days=30.0),
        Counter("place_first", ("visit",), By.RESTAURANT, Figure.SINCE_FIRST),
        Counter("next_7d", ("visit",), By.PREVIOUS, Figure.DECAYED, half_life_days=7.0),
        Counter("next_part", ("visit",), By.PREVIOUS, Figure.COUNT, clock="part of day"),
    ),
    60.0,
)

SCHEMA = FeatureSchema.from_names(["a"], ["b"], ["distance_m"]).with_counters(COUNTERS)
START = datetime(2026, 3, 1, tzinfo=UTC)

STATES = ("user_states", "restaurant_states", "arrival_states")


class Event(NamedTuple):
    """One event; ``hours`` after `START`."""

    id: str
    user: int
    restaurant: int
    hours: float
    kind: str = "visit"

    @property
    def at(self) -> datetime:
        """When."""
        return START + timedelta(hours=self.hours)


def tell(dsn: str, events: Iterable[Event], role: str = "hexbite_teller") -> set[UUID]:
    """Tell them in one call; the ids of those that were new."""
    told = list(events)
    nothing = [None] * len(told)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"SET ROLE {role}".encode())
        rows = connection.execute(
            "SELECT event_id FROM tell_events(%s::uuid[], %s::bigint[], %s::bigint[], %s::text[], %s::timestamptz[],"
            " %s::float8[], %s::float8[], %s::text[], %s::int[], %s::float8[])",
            (
                [event_id_to_uuid(event.id) for event in told],
                [event.user for event in told],
                [event.restaurant for event in told],
                [event.kind for event in told],
                [event.at for event in told],
                *([nothing] * 5),
            ),
        ).fetchall()
    return {id_ for (id_,) in rows}


def register(dsn: str, schema: FeatureSchema = SCHEMA, restaurants: Iterable[int] = ()) -> int:
    """A schema as a load registers it, with restaurants in Bangkok; its id."""
    zone = zone_to_number("Asia/Bangkok")
    with psycopg.connect(dsn) as connection:
        id_ = _register(connection, schema)
        connection.cursor().executemany(
            "INSERT INTO restaurants (schema_id, restaurant_id, latitude, longitude, h3_cell, features)"
            f" VALUES (%s, %s, 13.75, 100.5, {degrees_to_cell(13.75, 100.5)}, %s)",
            [(id_, number, [float(number), float(zone)]) for number in restaurants],
        )
    return id_


def remembered(dsn: str) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every state, its bytes as numbers."""
    with psycopg.connect(dsn) as connection:
        return {
            table: [
                tuple(_numbers(value) if isinstance(value, bytes) else value for value in row)
                for row in connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2".encode())
            ]
            for table in STATES
        } | {
            "restaurants": [
                (id_, _numbers(state))
                for id_, state in connection.execute("SELECT restaurant_id, state FROM restaurants ORDER BY 1")
            ]
        }


def _numbers(value: bytes) -> tuple[float, ...]:
    # Ids among them read as tiny numbers: equal where they are equal.
    return tuple(np.frombuffer(value, dtype="<f8").tolist())


def assert_alike(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Equal but for what adding in another order rounds."""
    for table in one:
        assert len(one[table]) == len(other[table]), table
        for left, right in zip(one[table], other[table], strict=True):
            for ours, theirs in zip(left, right, strict=True):
                if isinstance(ours, tuple):
                    assert len(ours) == len(theirs), (table, left, right)
                    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9, err_msg=f"{table} {left[1]}")
                else:
                    assert ours == theirs, (table, left, right)


def counts(dsn: str) -> dict[str, int]:
    """Rows of all that events are kept in."""
    with psycopg.connect(dsn) as connection:
        found = {}
        for table in ("events", "event_ids", "pending_events", *STATES):
            row = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
            assert row is not None
            found[table] = row[0]
        return found


def ways_later(dsn: str) -> dict[tuple[int, int], tuple[float, ...]]:
    """What is told of each way long after all events: its counts, and what is left of those that fade.

    The last time of one that was taken back stays, and is told of by nobody.
    """
    layout = Layout.of(COUNTERS, By.PREVIOUS)
    later_us = (START.timestamp() + 400 * 86_400) * 1e6
    found: dict[tuple[int, int], tuple[float, ...]] = {}
    with psycopg.connect(dsn) as connection:
        for came_from, packed in connection.execute("SELECT restaurant_id, places FROM arrival_states").fetchall():
            ids, states = bytes_to_places(packed, layout.width)
            last = next(place for place, column in enumerate(layout.columns) if column.need.stat is Stat.LAST)
            for place, column in enumerate(layout.columns):
                if column.need.stat is Stat.DECAYED:
                    states[:, place] *= fade(later_us - states[:, last], column.need.half_life_days)
            states[:, last] = 0.0
            found |= {(came_from, id_): tuple(state) for id_, state in zip(ids.tolist(), states.tolist(), strict=True)}
    return found


def assert_ways_alike(
    one: dict[tuple[int, int], tuple[float, ...]], other: dict[tuple[int, int], tuple[float, ...]]
) -> None:
    """Equal but for what adding in another order rounds."""
    assert one.keys() == other.keys()
    for way, state in one.items():
        np.testing.assert_allclose(state, other[way], rtol=1e-9, atol=1e-9, err_msg=str(way))
