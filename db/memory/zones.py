"""The slots of events by the clock of the restaurant that each happened at."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import psycopg

from db.memory.counting import Counting
from db.memory.told import Told
from db.statements import SQL
from hexbite.clock import Clock
from hexbite.counters.clocks import Slots, slots
from hexbite.zones import number_to_zone

_US_PER_S: Final = 1_000_000


def told_slots(connection: psycopg.Connection[Any], counting: Counting, told: Told) -> dict[str, Slots]:
    """By each clock the slot of M events ``(M,)``; below 0 where the restaurant, or its zone, is not known here."""
    unknown = np.full(len(told.user), -1)
    clocks = counting.counters.clocks
    if not clocks or not counting.is_zoned or not len(told.user):
        return dict.fromkeys(clocks, unknown)
    ids, place = np.unique(told.restaurant, return_inverse=True)
    rows = connection.execute(SQL["zones"], {"schema_id": counting.schema_id, "ids": ids}).fetchall()
    zoned, told_numbers = np.array(rows, dtype=np.int64).reshape(-1, 2).T
    names: list[str] = []
    numbers = np.full(len(ids), -1)
    for number in np.unique(told_numbers).tolist():
        try:
            names.append(number_to_zone(number).key)
        except ValueError:  # of another version of the zones
            continue
        numbers[np.searchsorted(ids, zoned[told_numbers == number])] = len(names) - 1
    zone = numbers[place]
    known = np.flatnonzero(zone >= 0)
    found = {clock: unknown.copy() for clock in clocks}
    if len(known):
        at_s = told.time_us[known] // _US_PER_S
        hour, weekday = Clock(names, int(at_s.min()), int(at_s.max()) + 1).read(zone[known].astype(np.int32), at_s)
        for clock in clocks:
            found[clock][known] = slots(clock, hour, weekday)
    return found
