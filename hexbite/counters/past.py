"""Counters as they were: the events of a log, indexed so that any moment of it can be asked about."""

from __future__ import annotations

from collections.abc import Mapping
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

Mask = npt.NDArray[np.bool_]

_US_PER_S: Final = 1e6

# What belongs to places alone, and so may lag.
_LAGGING: Final = (By.RESTAURANT, By.PREVIOUS)

_Key = tuple[By, frozenset[str], str | None]

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
    slots: Mapping[str, Integers]

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
        rank = np.searchsorted(self._times_us, events.time_us)
        needs: dict[_Key, list[Need]] = {}
        for need in dict.fromkeys(need for counter in counters.counters for need in needs_of(counter)):
            needs.setdefault((need.by, need.events, need.clock), []).append(need)
        self._visits: _Index | None = None
        visits: _Key = By.USER, frozenset(counters.visits), None
        if counters.visits:
            needs.setdefault(visits, [])
        self._indices: dict[_Key, _Index] = {}
        for key, of_key in needs.items():
            index, placed = self._index(events, rank, *key)
            for need in of_key:
                index.tell(need, self._firsts(events, need.events)[placed] if need.stat is Stat.DISTINCT else None)
            if key == visits:
                # The first place is nobody's.
                self._visits, self._visited = index, np.append(-1, events.restaurant[placed])
            if of_key:
                self._indices[key] = index

    def rows(self, user: Integers, restaurant: Integers, time_us: Indices, slots: Mapping[str, Integers]) -> Matrix:
        """The counters ``(N, K)`` float32 of N rows ``(N,)``, numbered and timed as the events are.

        What belongs to places alone is as of the last whole lag.
        """
        # Rows of a list come together, and are one person's at one moment: what belongs to that is looked up once.
        is_first = np.ones(len(user), dtype=np.bool_)
        is_first[1:] = (user[1:] != user[:-1]) | (time_us[1:] != time_us[:-1])
        firsts, ask = np.flatnonzero(is_first), np.cumsum(is_first) - 1
        asking, asked_us = user[firsts].astype(np.int64), time_us[firsts]
        lag_us = round(self._counters.lag_s * _US_PER_S)
        moment = np.searchsorted(self._times_us, asked_us)
        lagged = np.searchsorted(self._times_us, asked_us // lag_us * lag_us) if lag_us else moment
        came_from = self._came_from(asking, asked_us, moment)
        known: dict[Need, Values] = {}
        for (by, _, clock), index in self._indices.items():
            if by is By.USER and clock is None:
                known |= {need: values[ask] for need, values in index.read(asking, moment).items()}
                continue
            group = self._group(by, user, restaurant, came_from[ask])
            if clock is not None:
                group = _in_slot(group, clock, slots[clock])
            known |= index.read(group, (lagged if by in _LAGGING else moment)[ask])
        return features(self._counters, known, slots, time_us)

    def _group(self, by: By, user: Integers, restaurant: Integers, came_from: Indices | None) -> Indices:
        match by:
            case By.USER:
                return user.astype(np.int64)
            case By.RESTAURANT:
                return restaurant.astype(np.int64)
            case By.PAIR:
                return user.astype(np.int64) * len(self._ids) + restaurant
            case By.PREVIOUS:
                assert came_from is not None
                return np.where(came_from < 0, -1, came_from * len(self._ids) + restaurant)

    def _came_from(self, user: Indices, time_us: Indices, moment: Indices) -> Indices:
        """The number of the restaurant that each of N people ``(N,)`` comes from at a moment; -1 for none."""
        if self._visits is None:
            return np.full(len(user), -1)
        last, last_us = self._visits.last(user, moment)
        return np.where(time_us - last_us <= PREVIOUS_US, self._visited[last], -1).astype(np.int64)

    def _index(
        self, events: PastEvents, rank: Indices, by: By, kinds: frozenset[str], clock: str | None
    ) -> tuple[_Index, Indices]:
        """The index by something, and which events it has, in the order of its places."""
        rows = self._counting(events, kinds)
        user, restaurant, came_from = events.user[rows], events.restaurant[rows], None
        if by is By.PREVIOUS:
            before = previous_events(user.astype(np.int64), self._ids[restaurant], events.time_us[rows])
            came_from = np.where(before < 0, -1, restaurant[before])
        group = self._group(by, user, restaurant, came_from)
        if clock is not None:
            group = _in_slot(group, clock, events.slots[clock][rows])
        order = np.argsort(group, kind="stable")
        order = order[np.searchsorted(group, 0, sorter=order) :]
        placed = rows[order]
        return _Index(group[order], rank[placed], self._times_us), placed

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
    """Events ``(M,)`` in order of what they are counted by, and within that of moment: what came before is a place."""

    def __init__(self, group: Indices, rank: Indices, times_us: Indices) -> None:
        self._needs: list[Need] = []
        # First something that no row asks for, so that there is always something.
        group, rank = np.append(_NOBODY, group), np.append(0, rank)
        is_start = np.ones(len(group), dtype=np.bool_)
        is_start[1:] = group[1:] != group[:-1]
        self._starts = np.flatnonzero(is_start)
        self._groups = group[self._starts]
        self._times_us = times_us
        # One sorted number for both, to look a group and a moment up at once.
        self._moments = len(times_us) + 1
        self._sorted = (np.cumsum(is_start) - 1) * self._moments + rank
        self._decayed: dict[Need, Values] = {}
        self._new: Indices | None = None

    def read(self, group: Indices, moment: Indices) -> dict[Need, Values]:
        """By each need the numbers of N rows ``(N,)``: of the events of a row's group before its moment."""
        start, place = self._find(group, moment)
        has_any = place > start
        last = np.where(has_any, place - 1, 0)
        return {need: self._stat(need, start, place, last, has_any) for need in self._needs}

    def _stat(self, need: Need, start: Indices, place: Indices, last: Indices, has_any: Mask) -> Values:
        match need.stat:
            case Stat.COUNT:
                return (place - start).astype(np.float64)
            case Stat.DISTINCT:
                assert self._new is not None
                return (self._new[place] - self._new[start]).astype(np.float64)
            case Stat.LAST:
                return np.where(has_any, self._time_us(last), NEVER)
            case Stat.FIRST:
                return np.where(has_any, self._time_us(start), -NEVER)
            case Stat.DECAYED:
                return np.where(has_any, self._decayed[need][last], 0.0)

    def last(self, group: Indices, moment: Indices) -> tuple[Indices, Values]:
        """The place of the last event of each of N groups ``(N,)`` before a moment, and its time; `NEVER` for none."""
        start, place = self._find(group, moment)
        last = np.where(place > start, place - 1, 0)
        return last, np.where(place > start, self._time_us(last), NEVER)

    def _time_us(self, place: Indices) -> Indices:
        return np.asarray(self._times_us[self._sorted[place] % self._moments])

    def tell(self, need: Need, is_first: Mask | None) -> None:
        """Tell also this; ``is_first`` ``(M,)`` says which events are the first of their user and restaurant."""
        self._needs.append(need)
        if need.stat is Stat.DECAYED:
            self._decayed[need] = self._decay(need.half_life_days)
        elif is_first is not None:
            self._new = np.concatenate(([0, 0], np.cumsum(is_first, dtype=np.int32)))

    def _decay(self, half_life_days: float | None) -> Values:
        """The decayed counts as of each event, of those of its group up to it."""
        times_us = self._time_us(np.arange(len(self._sorted))).astype(np.float64)
        behind = np.arange(len(times_us)) - np.repeat(self._starts, np.diff(self._starts, append=len(times_us)))
        total = np.ones(len(times_us))
        # After each step a total is that of twice as many events up to its own: those that many before are added.
        step, rows = 1, np.flatnonzero(behind >= 1)
        while len(rows):
            total[rows] += total[rows - step] * fade(times_us[rows] - times_us[rows - step], half_life_days)
            step *= 2
            rows = rows[behind[rows] >= step]
        return total

    def _find(self, group: Indices, moment: Indices) -> tuple[Indices, Indices]:
        """Where the events of each row's group begin, and where those before its moment end; both 0 for none."""
        # In order of groups each is found near the one before: many times as fast as all over the place.
        order = np.argsort(group)
        group, moment = group[order], moment[order]
        found = np.minimum(np.searchsorted(self._groups, group), len(self._groups) - 1)
        is_there = self._groups[found] == group
        start, place = np.empty((2, len(order)), dtype=np.int64)
        start[order] = np.where(is_there, self._starts[found], 0)
        place[order] = np.where(is_there, np.searchsorted(self._sorted, found * self._moments + moment), 0)
        return start, place
