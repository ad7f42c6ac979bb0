"""Events into the states of one schema: those of people at once, those of places as what is to be added to them."""

from __future__ import annotations

from typing import Any

import numpy as np
import psycopg

from db.memory.counting import Counting
from db.memory.people import read_people, write_people
from db.memory.places import Places, no_places
from db.memory.told import Told, join_told, read_told
from db.memory.zones import told_slots
from hexbite.counters.definitions import By
from hexbite.counters.keyed import count_keyed
from hexbite.counters.people import People
from hexbite.counters.previous import PREVIOUS_US
from hexbite.counters.states import NEVER, Events
from hexbite.counters.transitions import changed_transitions


def remember(connection: psycopg.Connection[Any], counting: Counting, told: Told) -> Places:
    """Add events to the states of their people; returns what they add to places.

    They are in nobody's states yet. Whatever else of theirs the archive holds is in the states, or pending.
    """
    told = told.counted(counting.counters)
    if not len(told.user):
        return no_places(counting)
    people = read_people(connection, counting, np.unique(told.user))
    events = Events(told.kind, told.time_us, told_slots(connection, counting, told))
    after, events = people.remember(counting.counters, told.user, told.restaurant, events)
    write_people(connection, counting, after)
    no_one = np.zeros(len(told.user), dtype=np.int64)
    restaurants = count_keyed(counting.layouts[By.RESTAURANT], no_one, told.restaurant, events)
    if not counting.counters.visits:
        return no_places(counting)._replace(restaurants=restaurants)
    visits = [code for code, kind in enumerate(told.kinds) if kind in counting.counters.visits]
    arrivals = _arrivals(connection, counting, people, told.take(np.isin(told.kind, visits)))
    return Places(restaurants, arrivals)


def _arrivals(connection: psycopg.Connection[Any], counting: Counting, people: People, visits: Told) -> Any:
    """What visits add to, and take from, the ways between restaurants."""
    layout = counting.layouts[By.PREVIOUS]
    known = _around(connection, counting, people, visits)
    every = join_told(known, visits)
    changed = changed_transitions(every.user, every.restaurant, every.time_us, len(known.user))
    arrived = every.take(changed.visit)
    events = Events(arrived.kind, arrived.time_us, told_slots(connection, counting, arrived), changed.weight)
    return count_keyed(layout, changed.came_from, arrived.restaurant, events)


def _around(connection: psycopg.Connection[Any], counting: Counting, people: People, visits: Told) -> Told:
    """The visits that are known already of those whom they come before or after.

    Of who went on since the last visit that is remembered, that one is enough. The archive is asked of those of whom
    a late visit is told.
    """
    whose = np.searchsorted(people.ids, visits.user)
    first_us, last_us = np.full(len(people.ids), np.inf), np.full(len(people.ids), NEVER)
    np.minimum.at(first_us, whose, visits.time_us)
    np.maximum.at(last_us, whose, visits.time_us)
    goes_on = np.flatnonzero((people.previous_us > NEVER) & (first_us > people.previous_us))
    is_late = np.flatnonzero(np.isfinite(first_us) & (first_us <= people.previous_us))
    code = visits.kind[0] if len(visits.kind) else 0
    before = Told(
        visits.kinds,
        people.ids[goes_on],
        people.previous[goes_on],
        np.full(len(goes_on), code),
        people.previous_us[goes_on].astype(np.int64),
    )
    if not len(is_late):
        return before
    archived = read_told(
        connection,
        "visits_around",
        visits.kinds,
        visits=list(counting.counters.visits),
        ids=people.ids[is_late].tolist(),
        first_us=(first_us[is_late].astype(np.int64) - PREVIOUS_US).tolist(),
        last_us=(last_us[is_late].astype(np.int64) + PREVIOUS_US).tolist(),
    )
    return join_told(before, archived)
