"""People out of their packed rows, and back into them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import psycopg

from db.memory.counting import Counting
from db.statements import SQL
from hexbite.counters.packing import bytes_to_places, bytes_to_states, places_to_records, states_to_bytes
from hexbite.counters.people import People
from hexbite.counters.states import NEVER
from hexbite.geo import Ids

_ID_BYTES: Final = 8

# The last float within the years that are stored: a float64 has no microseconds there, and would round up beyond.
_LAST_US: Final = np.nextafter(253_402_300_800_000_000.0, 0.0)


def read_people(connection: psycopg.Connection[Any], counting: Counting, ids: Ids) -> People:
    """What is remembered of users, whose ``ids`` ``(U,)`` ascend; strangers where nothing is."""
    people = People.strangers(ids, counting.counters)
    parameters = {"schema_id": counting.schema_id, "ids": ids}
    rows = connection.cursor(binary=True).execute(SQL["people"], parameters).fetchall()
    if not rows:
        return people
    found, states, previous, previous_us, places = zip(*rows, strict=True)
    rows_of = np.searchsorted(ids, np.array(found))
    width = people.states.shape[1]
    people.states[rows_of] = bytes_to_states(b"".join(states), len(rows), width)
    has_previous = np.array([us is not None for us in previous_us])
    people.previous[rows_of[has_previous]] = [id_ for id_ in previous if id_ is not None]
    people.previous_us[rows_of[has_previous]] = [us for us in previous_us if us is not None]
    width = people.pairs.shape[1]
    sizes = np.fromiter(map(len, places), dtype=np.int64) // (_ID_BYTES * (1 + width))
    restaurants, pairs = bytes_to_places(b"".join(places), width)
    return People(
        ids,
        people.states,
        people.previous,
        people.previous_us,
        np.repeat(rows_of, sizes),
        restaurants,
        pairs,
    )


def write_people(connection: psycopg.Connection[Any], counting: Counting, people: People) -> None:
    """Put users back, whole."""
    places = places_to_records(people.restaurants, people.pairs)
    counts = np.bincount(people.owner, minlength=len(people.ids))
    lengths = counts * places.itemsize
    has_previous = people.previous_us > NEVER
    connection.execute(
        SQL["people_write"],
        {
            "schema_id": counting.schema_id,
            "ids": people.ids,
            "states": states_to_bytes(people.states),
            "state_bytes": people.states.shape[1] * 8,
            "previous_ids": np.where(has_previous, people.previous, 0),
            "previous_us": np.where(has_previous, np.minimum(people.previous_us, _LAST_US), 0).astype(np.int64),
            "has_previous": has_previous,
            "places": places.tobytes(),
            "starts": np.cumsum(lengths) - lengths + 1,
            "lengths": lengths,
        },
        binary=True,
    )
