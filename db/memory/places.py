"""States of places alone: of each restaurant, and of the ways that lead from it."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import psycopg

from db.memory.counting import Counting
from db.statements import SQL
from hexbite.counters.definitions import By
from hexbite.counters.keyed import Keyed, join_keyed, none_keyed
from hexbite.counters.packing import bytes_to_places, bytes_to_states, places_to_records, states_to_bytes
from hexbite.counters.states import Layout, Stat
from hexbite.geo import Ids

# What is left of a way that was taken back: nothing, but for what fading has rounded.
_NOTHING: Final = 1e-9


class Places(NamedTuple):
    """States of restaurants, by 0 and their ids, and of arrivals, by the restaurant come from and the one gone to."""

    restaurants: Keyed
    arrivals: Keyed


def no_places(counting: Counting) -> Places:
    """Nothing that happened anywhere."""
    return Places(none_keyed(counting.layouts[By.RESTAURANT]), none_keyed(counting.layouts[By.PREVIOUS]))


def join_places(counting: Counting, known: Places, more: Places) -> Places:
    """What happened in both."""
    return Places(
        join_keyed(counting.layouts[By.RESTAURANT], known.restaurants, more.restaurants),
        join_keyed(counting.layouts[By.PREVIOUS], known.arrivals, more.arrivals),
    )


def add_places(connection: psycopg.Connection[Any], counting: Counting, more: Places) -> None:
    """Add to what is stored of the places that more happened at, and of no other."""
    if counting.layouts[By.RESTAURANT].width:
        _add_restaurants(connection, counting, more.restaurants)
    if counting.layouts[By.PREVIOUS].width:
        _add_arrivals(connection, counting, more.arrivals)


def _add_restaurants(connection: psycopg.Connection[Any], counting: Counting, more: Keyed) -> None:
    layout, ids = counting.layouts[By.RESTAURANT], more.second
    rows = _read(connection, "restaurant_states", counting, ids)
    if rows:
        found, states = zip(*rows, strict=True)
        known = np.array(found)
        before = Keyed(np.zeros_like(known), known, bytes_to_states(b"".join(states), len(rows), layout.width))
        more = join_keyed(layout, before, more)
    state_bytes = layout.width * 8
    parameters = {"states": states_to_bytes(more.states), "state_bytes": state_bytes}
    _write(connection, "restaurant_states_write", counting, more.second, **parameters)
    # The same numbers into the rows that requests read.
    _write(connection, "restaurants_refresh", counting, more.second, **parameters)


def _add_arrivals(connection: psycopg.Connection[Any], counting: Counting, more: Keyed) -> None:
    layout, ids = counting.layouts[By.PREVIOUS], np.unique(more.first)
    rows = _read(connection, "arrival_states", counting, ids)
    if rows:
        found, packed = zip(*rows, strict=True)
        second, states = bytes_to_places(b"".join(packed), layout.width)
        sizes = np.fromiter(map(len, packed), dtype=np.int64) // (8 * (1 + layout.width))
        more = join_keyed(layout, Keyed(np.repeat(np.array(found), sizes), second, states), more)
    more = more.take(~_is_nothing(layout, more))
    places = places_to_records(more.second, more.states)
    lengths = np.bincount(np.searchsorted(ids, more.first), minlength=len(ids)) * places.itemsize
    starts = np.cumsum(lengths) - lengths + 1
    _write(connection, "arrival_states_write", counting, ids, places=places.tobytes(), starts=starts, lengths=lengths)


def _is_nothing(layout: Layout, keyed: Keyed) -> np.ndarray[Any, np.dtype[np.bool_]]:
    counts = [place for place, column in enumerate(layout.columns) if column.need.stat is not Stat.LAST]
    return np.asarray((np.abs(keyed.states[:, counts]) < _NOTHING).all(axis=1))


def _read(connection: psycopg.Connection[Any], statement: str, counting: Counting, ids: Ids) -> list[Any]:
    parameters = {"schema_id": counting.schema_id, "ids": ids}
    return connection.cursor(binary=True).execute(SQL[statement], parameters).fetchall()


def _write(
    connection: psycopg.Connection[Any], statement: str, counting: Counting, ids: Ids, **parameters: Any
) -> None:
    connection.execute(SQL[statement], {"schema_id": counting.schema_id, "ids": ids} | parameters)
