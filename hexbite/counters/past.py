"""Counters as they were: the events of a log, indexed so that any moment of it can be asked about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from hexbite.counters.clocks import CLOCKS, Integers
from hexbite.counters.definitions import By, Counters
from hexbite.counters.figures import features
from hexbite.counters.previous import PREVIOUS_US, previous_events
from hexbite.counters.states import NEVER, Indices, Need, Stat, Values, fade, needs_of
from hexbite.features import Matrix

_US_PER_S: Final = 1e6

# What belongs to places alone, and so may lag.
_LAGGING: Final = (By.RESTAURANT, By.PREVIOUS)

# A group that no event and no row is of.
_NOBODY: Final = -2


@dataclass(frozen=True, slots=True)
class PastEvents:
    """M events of a log, arrays ``(M,)`` of any integers.

    Users and restaurants by number, below U and R; codes of kinds, as `Counters.kinds` has them and below 0 for what
    nothing counts; microseconds since 1970; by each clock the slot, below 0 where it is not known.
    """

    user: Integers
    restaurant: Integers
    kind: Integers
    time_us: Indices
    slots: dict[str, Integers]

    def take(self, rows: Integers) -> PastEvents:
        """Some of them."""
        slots = {clock: slots[rows] for clock, slots in self.slots.items()}
        return PastEvents(self.user[rows], self.restaurant[rows], self.kind[rows], self.time_us[rows], slots)


class Past:
    """Tells rows the counters of their own moment: of events strictly before it, and of no other.

    ``restaurant_ids`` ``(R,)`` are the 64-bit ids of the restaurants. Memory is some 20 bytes an event that counts for
    each thing that is counted by; rows take none, and may come in any order.
    """

    def __init__(self, counters: Counters, events: PastEvents, restaurant_ids: Indices) -> None:
        self._counters, self._ids = counters, restaurant_ids
        in_order = np.lexsort((restaurant_ids[events.restaurant], events.time_us))
        events = events.take(in_order[events.kind[in_order] >= 0])
        # Moments by number: the times of events, each once.
        self._times_us = np.unique(np.append(events.time_us, 0))
        self._rank = rank = np.searchsorted(self._times_us, events.time_us)
        self._indices: dict[tuple[By, frozenset[str], str | None], _Index] = {}
        for need in dict.fromkeys(need for counter in counters.counters for need in needs_of(counter)):
            key = need.by, need.events, need.clock
            if key not in self._indices:
                self._indices[key] = self._index(events, rank, *key)
            if need.stat is Stat.DECAYED:
                self._indices[key].decay(need.half_life_days)
            elif need.stat is Stat.DISTINCT:
                self._indices[key].tell_new(self._firsts(events, need.events))
        visits = frozenset(counters.visits)
        self._visits = self._index(events, rank, By.USER, visits, None) if visits else None
        self._visited = events.restaurant

    def rows(self, user: Integers, restaurant: Integers, time_us: Indices, slots: dict[str, Integers]) -> Matrix:
        """The counters ``(N, K)`` float32 of N rows ``(N,)``, numbered and timed as the events are.

        What belongs to places alone is as of the last whole lag.
        """
        lag_us = round(self._counters.lag_s * _US_PER_S)
        moment = np.searchsorted(self._times_us, time_us)
        lagged = np.searchsorted(self._times_us, time_us // lag_us * lag_us) if lag_us else moment
        came_from = None if self._visits is None else self._came_from(self._visits, user, time_us, moment)
        known: dict[Need, Values] = {}
        for (by, _, clock), index in self._indices.items():
            group = self._group(by, user, restaurant, came_from)
            if clock is not None:
                group = _in_slot(group, clock, slots[clock])
            known |= index.read(group, lagged if by in _LAGGING else moment)
        return features(self._counters, known, slots, time_us)

    def _group(self, by: By, user: Integers, restaurant: Integers, came_from: Integers | None) -> Indices:
        match by:
            case By.USER:
                return user.astype(np.int64)
            case By.RESTAURANT:
                return restaurant.astype(np.int64)
            case By.PAIR:
                return user.astype(np.int64) * len(self._ids) + restaurant
            case By.PREVIOUS:
                assert came_from is not None
                return np.where(came_from < 0, -1, came_from.astype(np.int64) * len(self._ids) + restaurant)

    def _came_from(self, visits: _Index, user: Integers, time_us: Indices, moment: Indices) -> Indices:
        """The number of the restaurant that each row's person comes from ``(N,)``; -1 for none."""
        event = visits.last(user.astype(np.int64), moment)
        came_from = np.full(len(event), -1)
        rows = np.flatnonzero(event >= 0)
        rows = rows[time_us[rows] - self._times_us[self._rank[event[rows]]] <= PREVIOUS_US]
        came_from[rows] = self._visited[event[rows]]
        return came_from

    def _index(self, events: PastEvents, rank: Indices, by: By, kinds: frozenset[str], clock: str | None) -> _Index:
        rows = self._counting(events, kinds)
        user, restaurant, came_from = events.user[rows], events.restaurant[rows], None
        if by is By.PREVIOUS:
            before = previous_events(user.astype(np.int64), self._ids[restaurant], events.time_us[rows])
            came_from = np.where(before < 0, -1, restaurant[before])
        group = self._group(by, user, restaurant, came_from)
        if clock is not None:
            group = _in_slot(group, clock, events.slots[clock][rows])
        is_grouped = group >= 0
        rows = rows[is_grouped]
        return _Index(by, kinds, clock, rows, group[is_grouped], rank[rows], self._times_us)

    def _counting(self, events: PastEvents, kinds: frozenset[str]) -> Indices:
        codes = [code for code, kind in enumerate(self._counters.kinds) if kind in kinds]
        return np.flatnonzero(np.isin(events.kind, codes))

    def _firsts(self, events: PastEvents, kinds: frozenset[str]) -> npt.NDArray[np.bool_]:
        """Which events ``(M,)`` are the first of their user and restaurant."""
        rows = self._counting(events, kinds)
        _, first = np.unique(self._group(By.PAIR, events.user[rows], events.restaurant[rows], None), return_index=True)
        is_first = np.zeros(len(events.kind), dtype=np.bool_)
        is_first[rows[first]] = True
        return is_first


def _in_slot(group: Indices, clock: str, slot: Integers) -> Indices:
    return np.where((group < 0) | (slot < 0), -1, group * len(CLOCKS[clock]) + slot)


class _Index:
    """Events ``(M,)`` by what they are counted by, and within that by moment: what came before is a place in it."""

    def __init__(
        self,
        by: By,
        kinds: frozenset[str],
        clock: str | None,
        events: Indices,
        group: Indices,
        rank: Indices,
        times_us: Indices,
    ) -> None:
        self._key = by, kinds, clock
        order = np.argsort(group, kind="stable")
        # First something that no row asks for, so that there is always something.
        self._events, group = (np.concatenate(([_NOBODY], column[order])) for column in (events, group))
        self._rank = np.concatenate(([0], rank[order])).astype(np.int32)
        is_start = np.ones(len(group), dtype=np.bool_)
        is_start[1:] = group[1:] != group[:-1]
        self._starts = np.flatnonzero(is_start)
        self._groups = group[self._starts]
        self._ends = np.append(self._starts[1:], len(group))
        self._times_us = times_us
        # One sorted number for both, to look a group and a moment up at once.
        self._moments = len(times_us) + 1
        self._sorted = (np.cumsum(is_start) - 1) * self._moments + self._rank
        self._decayed: dict[float, Values] = {}
        self._new: Indices | None = None

    def read(self, group: Indices, moment: Indices) -> dict[Need, Values]:
        """By each need the numbers of N rows ``(N,)``: of the events of a row's group before its moment."""
        start, place = self._find(group, moment)
        count = place - start
        has_any = count > 0
        last = np.where(has_any, place - 1, 0)
        known = {Stat.COUNT: count.astype(np.float64)}
        known[Stat.LAST] = np.where(has_any, self._times_us[self._rank[last]], NEVER)
        known[Stat.FIRST] = np.where(has_any, self._times_us[self._rank[start]], -NEVER)
        if self._new is not None:
            known[Stat.DISTINCT] = (self._new[place] - self._new[start]).astype(np.float64)
        found = {Need(stat, *self._key): values for stat, values in known.items()}
        for half_life_days, decayed in self._decayed.items():
            found[Need(Stat.DECAYED, *self._key, half_life_days)] = np.where(has_any, decayed[last], 0.0)
        return found

    def last(self, group: Indices, moment: Indices) -> Indices:
        """The number of the last event of each of N groups ``(N,)`` before a moment; -1 for none."""
        start, place = self._find(group, moment)
        return np.where(place > start, self._events[np.maximum(place - 1, 0)], -1)

    def decay(self, half_life_days: float | None) -> None:
        """Tell also the decayed count, as of the last event of a group."""
        assert half_life_days is not None
        times_us = self._times_us[self._rank].astype(np.float64)
        behind = np.arange(len(times_us)) - np.repeat(self._starts, self._ends - self._starts)
        total = np.ones(len(times_us))
        # After each step a total is that of twice as many events up to its own: those that many before are added.
        step, rows = 1, np.flatnonzero(behind >= 1)
        while len(rows):
            total[rows] += total[rows - step] * fade(times_us[rows] - times_us[rows - step], half_life_days)
            step *= 2
            rows = rows[behind[rows] >= step]
        self._decayed[half_life_days] = total

    def tell_new(self, is_first: npt.NDArray[np.bool_]) -> None:
        """Tell also how many there were of which each was the first."""
        self._new = np.concatenate(([0, 0], np.cumsum(is_first[self._events[1:]])))

    def _find(self, group: Indices, moment: Indices) -> tuple[Indices, Indices]:
        """Where the events of each row's group begin, and where those before its moment end; both 0 for none."""
        found = np.minimum(np.searchsorted(self._groups, group), len(self._groups) - 1)
        is_there = self._groups[found] == group
        place = np.searchsorted(self._sorted, found * self._moments + moment)
        return np.where(is_there, self._starts[found], 0), np.where(is_there, place, 0)
