"""What a folder's events say of any person, restaurant and moment: the counters of rows that no file holds."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from data.folder.columns import Mask
from data.folder.events import EventRows, Events
from data.folder.requests import Visits
from hexbite.clock import Clock
from hexbite.counters.clocks import slots
from hexbite.counters.definitions import By, Counter, Counters, Figure
from hexbite.counters.past import Past, PastEvents
from hexbite.features import Matrix
from hexbite.geo import Ids
from hexbite.zones import LocalTimes, number_to_zone
from training.reading.tables import Tables

_US_PER_S: Final = 1_000_000


class Counted:
    """The counters of the folder's schema, and which visits were the person's first, as of each visit's moment."""

    def __init__(self, tables: Tables, events: Events, visits: Visits) -> None:
        self._counters = tables.schema.counters
        told = events.read()
        self._users = np.unique(np.concatenate((told.user_ids, visits.user_ids)))
        self._restaurants = np.unique(np.concatenate((told.restaurant_ids, tables.restaurants.ids)))
        #: The numbers of the tables' restaurants among all that there is an event of.
        self._number = np.searchsorted(self._restaurants, tables.restaurants.ids)
        self._user = np.searchsorted(self._users, visits.user_ids)
        self._at_us = np.rint(visits.at_s * _US_PER_S).astype(np.int64)
        self._told = PastEvents(
            np.searchsorted(self._users, told.user_ids),
            np.searchsorted(self._restaurants, told.restaurant_ids),
            told.kind,
            told.time_us,
            self._slots(tables, told),
        )
        self._past = Past(self._counters, self._told, self._restaurants)

    def rows(self, visit: Ids, restaurant: Ids, local: LocalTimes | None) -> Matrix:
        """The counters ``(N, K)`` of N restaurants, rows of their table ``(N,)``, for the visits ``(N,)``, by number.

        ``local`` is wanted where a counter has a clock.
        """
        found = {} if local is None else {c: slots(c, local.hour, local.weekday) for c in self._counters.clocks}
        return self._past.rows(self._user[visit], self._number[restaurant], self._at_us[visit], found)

    def are_new(self, visits: Visits) -> Mask:
        """Which of the visits ``(N,)`` were at a place where the person was not known to have been."""
        kinds = self._counters.visits or self._counters.kinds
        codes = [self._counters.kinds.index(kind) for kind in kinds]
        own = Counters((Counter("own", kinds, By.PAIR, Figure.COUNT),))
        rows = np.flatnonzero(np.isin(self._told.kind, codes))
        events = self._told.take(rows)
        events = PastEvents(events.user, events.restaurant, np.zeros(len(rows), dtype=np.int16), events.time_us, {})
        own_visits = Past(own, events, self._restaurants).rows(
            self._user, self._number[visits.visited], self._at_us, {}
        )
        return np.asarray(own_visits[:, 0] == 0)

    def _slots(self, tables: Tables, told: EventRows) -> dict[str, npt.NDArray[np.int8]]:
        """By each clock the slots ``(M,)`` of the events, -1 where the restaurant has no row."""
        if tables.zones is None or not self._counters.clocks:
            return {}
        found, zone = np.unique(tables.zones, return_inverse=True)
        at_s = told.time_us // _US_PER_S
        clock = Clock([number_to_zone(int(number)).key for number in found.tolist()], int(at_s.min()), int(at_s.max()))
        rows, has_row = tables.restaurants.known.find(told.restaurant_ids)
        hour, weekday = clock.read(zone[rows].astype(np.int32), at_s)
        return {
            name: np.where(has_row, slots(name, hour, weekday), -1).astype(np.int8) for name in self._counters.clocks
        }
