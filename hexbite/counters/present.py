"""Counters as they are: what a request knows of one person and of the restaurants in reach, as features."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from hexbite.counters.clocks import Slots
from hexbite.counters.definitions import By, Counters
from hexbite.counters.figures import Figures
from hexbite.counters.people import People
from hexbite.counters.previous import PREVIOUS_US
from hexbite.counters.states import Layout, Values
from hexbite.features import Matrix
from hexbite.geo import Ids


class Present:
    """Tells restaurants in reach the counters of one moment."""

    def __init__(self, counters: Counters) -> None:
        self.layouts: Final = {by: Layout.of(counters, by) for by in By}
        self._figures = Figures(counters.counters)
        # One state of everything that is counted by, and where in it each number stands that is needed.
        self._parts = {}
        start = 0
        for by, layout in self.layouts.items():
            self._parts[by] = slice(start, start + layout.width)
            start += layout.width
        self._empty = np.concatenate([layout.empty()[0] for layout in self.layouts.values()])[:, np.newaxis]
        needs = self._figures.needs
        places = [self._parts[need.by].start + self.layouts[need.by].place(need) for need in needs]
        self._places = np.array(places, dtype=np.intp)
        numbers = {clock: [n for n, need in enumerate(needs) if need.clock == clock] for clock in counters.clocks}
        self._by_clock = {
            clock: (np.array(of_clock), self._places[of_clock, np.newaxis]) for clock, of_clock in numbers.items()
        }

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
        states = np.empty((len(self._empty), len(restaurant_ids)))
        states[:] = self._empty
        states[self._parts[By.USER]] = people.states.T
        states[self._parts[By.RESTAURANT]] = restaurants.T
        for by, ids, known in ((By.PAIR, people.restaurants, people.pairs), (By.PREVIOUS, *arrivals)):
            rows, places = _find(restaurant_ids, ids)
            if len(rows):
                states[self._parts[by], rows] = known[places].T
        numbers = states[self._places]
        everywhere = np.arange(len(restaurant_ids))
        for clock, (of_clock, first) in self._by_clock.items():
            numbers[of_clock] = states[first + slots[clock], everywhere]
        return self._figures.of(numbers, slots, float(at_us))


def comes_from(previous_us: float, at_us: int) -> bool:
    """Whether somebody who was at a restaurant then still comes from there now."""
    return 0 < at_us - previous_us <= PREVIOUS_US


def _find(wanted: Ids, ids: Ids) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Which of the ids that are wanted ``(N,)`` are among ids ``(M,)`` that ascend, and where each of those stands."""
    if not len(ids):
        return np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.intp)
    places = ids.searchsorted(wanted)
    rows = np.flatnonzero(ids.take(places, mode="clip") == wanted)
    return rows, places[rows]
