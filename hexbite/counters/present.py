"""Counters as they are: what a request knows of one person and of the restaurants in reach, as features."""

from __future__ import annotations

from itertools import product
from typing import Final

import numpy as np
import numpy.typing as npt

from hexbite.counters.clocks import CLOCKS, Slots
from hexbite.counters.definitions import By, Counter, Counters
from hexbite.counters.figures import Figures
from hexbite.counters.people import People
from hexbite.counters.previous import PREVIOUS_US
from hexbite.counters.states import Layout, Values, needs_of
from hexbite.features import Matrix
from hexbite.geo import Ids

Places = npt.NDArray[np.intp]


class Present:
    """Tells restaurants in reach the counters of one moment.

    Most of the restaurants in reach a person was never at, and what a restaurant's own state has no part in is the same
    for all of those, but for their clocks: it is computed once for each slot.
    """

    def __init__(self, counters: Counters) -> None:
        self.layouts: Final = {by: Layout.of(counters, by) for by in By}
        places = [place for place, counter in enumerate(counters.counters) if _has_part(By.RESTAURANT, counter)]
        others = [place for place in range(len(counters.counters)) if place not in places]
        self._of_places = _Counted(counters, places, self.layouts)
        self._of_person = _Counted(counters, others, self.layouts)
        self._width = len(counters.counters)
        self._clocks = counters.clocks
        self._sizes = [len(CLOCKS[clock]) for clock in self._clocks]
        # Every slot of each clock with every slot of the others.
        every = np.array(list(product(*map(range, self._sizes))), dtype=np.int64)
        self._strangers = len(every)
        self._slots = {clock: every[:, number] for number, clock in enumerate(self._clocks)}

    def rows(
        self,
        people: People,
        restaurant_ids: Ids,
        restaurants: Values,
        arrivals: tuple[Ids, Values],
        slots: dict[str, Slots],
        at_us: int,
    ) -> Matrix:
        """The counters ``(N, K)`` float32 of N restaurants ``(N,)``, for the one person of ``people``.

        ``restaurants`` ``(N, C)`` are the restaurants' own states; ``arrivals`` the ids ``(A,)``, ascending, and states
        ``(A, C)`` of the restaurants that people went to from the one that this person comes from; ``slots`` the local
        slots ``(N,)`` by each clock; microseconds since 1970.
        """
        size = len(restaurant_ids)
        known = {
            By.PAIR: (*_find(restaurant_ids, people.restaurants), people.pairs),
            By.PREVIOUS: (*_find(restaurant_ids, arrivals[0]), arrivals[1]),
        }
        columns = np.empty((size, self._width), dtype=np.float32)
        if len(self._of_places.columns):
            states = self._of_places.states(size, people, restaurants, known, 0)
            columns[:, self._of_places.columns] = self._of_places.rows(states, slots, at_us)
        if len(self._of_person.columns):
            # A restaurant of each slot that nobody was at, and behind them those that somebody was.
            some, known = _together(known)
            states = self._of_person.states(self._strangers + len(some), people, restaurants, known, self._strangers)
            both = {clock: np.concatenate((every, slots[clock][some])) for clock, every in self._slots.items()}
            which = np.zeros(size, dtype=np.int64)
            for clock, slots_of_clock in zip(self._clocks, self._sizes, strict=True):
                which *= slots_of_clock
                which += slots[clock]
            which[some] = np.arange(self._strangers, self._strangers + len(some))
            columns[:, self._of_person.columns] = self._of_person.rows(states, both, at_us)[which]
        return columns


# Of those restaurants that have a state: their places ``(M,)`` in reach, those of their states, and all states.
_Known = dict[By, tuple[Places, Places, Values]]


class _Counted:
    """Some of the counters, which stand at ``columns`` of all."""

    def __init__(self, counters: Counters, columns: list[int], layouts: dict[By, Layout]) -> None:
        self.columns: Final = np.array(columns, dtype=np.intp)
        chosen = [counters.counters[column] for column in columns]
        self._figures = Figures(chosen)
        # What they are counted by, and where the numbers of each stand in one state of all.
        self._parts = {}
        start = 0
        for by, layout in layouts.items():
            if any(_has_part(by, counter) for counter in chosen):
                self._parts[by] = slice(start, start + layout.width)
                start += layout.width
        self._empty = np.concatenate([np.empty(0), *(layouts[by].empty()[0] for by in self._parts)])[:, np.newaxis]
        needs = self._figures.needs
        self._places = np.array(
            [self._parts[need.by].start + layouts[need.by].place(need) for need in needs], dtype=np.intp
        )
        self._by_clock = [(number, need.clock) for number, need in enumerate(needs) if need.clock is not None]

    def states(self, size: int, people: People, restaurants: Values, known: _Known, start: int) -> Values:
        """The states ``(C, N)`` of N rows, of everything that they are counted by; what is known begins at a row."""
        if list(self._parts) == [By.RESTAURANT]:
            return restaurants.T
        states = np.empty((len(self._empty), size))
        states[:] = self._empty
        for by, part in self._parts.items():
            if by is By.USER:
                states[part] = people.states.T
            elif by is By.RESTAURANT:
                states[part] = restaurants.T
            else:
                rows, found, all_states = known[by]
                if len(rows):
                    states[part, rows + start] = all_states[found].T
        return states

    def rows(self, states: Values, slots: dict[str, Slots], at_us: int) -> Matrix:
        """The counters ``(N, K)`` of N rows with such states ``(C, N)``."""
        numbers = states[self._places]
        for number, clock in self._by_clock:
            numbers[number] = states[self._places[number] + slots[clock], np.arange(states.shape[1])]
        return self._figures.of(numbers, slots, float(at_us))


def comes_from(previous_us: float, at_us: int) -> bool:
    """Whether somebody who was at a restaurant then still comes from there now."""
    return 0 < at_us - previous_us <= PREVIOUS_US


def _has_part(by: By, counter: Counter) -> bool:
    return any(need.by is by for need in needs_of(counter))


def _find(wanted: Ids, ids: Ids) -> tuple[Places, Places]:
    """Which of the ids that are wanted ``(N,)`` are among ids ``(M,)`` that ascend, and where each of those stands."""
    if not len(ids):
        return np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.intp)
    places = ids.searchsorted(wanted)
    rows = np.flatnonzero(ids.take(places, mode="clip") == wanted)
    return rows, places[rows]


def _together(known: _Known) -> tuple[Places, _Known]:
    """The rows ``(M,)`` that something is known of, and what it is, by their places among those."""
    some = np.unique(np.concatenate([rows for rows, _, _ in known.values()]))
    return some, {by: (some.searchsorted(rows), found, states) for by, (rows, found, states) in known.items()}
