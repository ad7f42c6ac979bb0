"""Counters as they are: what a request knows of one person and of the restaurants in reach, as features."""

from __future__ import annotations

from typing import Final

import numpy as np

from hexbite.counters.clocks import Slots
from hexbite.counters.definitions import By, Counters
from hexbite.counters.figures import features
from hexbite.counters.people import People
from hexbite.counters.previous import PREVIOUS_US
from hexbite.counters.states import Indices, Layout, Need, Values, needs_of
from hexbite.features import Matrix
from hexbite.geo import Ids


class Present:
    """Tells restaurants in reach the counters of one moment."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self.layouts: Final = {by: Layout.of(counters, by) for by in By}
        needs = dict.fromkeys(need for counter in counters.counters for need in needs_of(counter))
        self._places = [(need, self.layouts[need.by].place(need)) for need in needs]

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
        states = {
            By.USER: np.broadcast_to(people.states, (size, people.states.shape[1])),
            By.RESTAURANT: restaurants,
            By.PAIR: _find(restaurant_ids, people.restaurants, people.pairs, self.layouts[By.PAIR]),
            By.PREVIOUS: _find(restaurant_ids, *arrivals, self.layouts[By.PREVIOUS]),
        }
        rows = np.arange(size)
        known: dict[Need, Values] = {}
        for need, place in self._places:
            state = states[need.by]
            known[need] = state[:, place] if need.clock is None else state[rows, place + slots[need.clock]]
        return features(self._counters, known, slots, np.full(size, at_us))


def comes_from(previous_us: float, at_us: int) -> bool:
    """Whether somebody who was at a restaurant then still comes from there now."""
    return 0 < at_us - previous_us <= PREVIOUS_US


def _find(wanted: Ids, ids: Indices, states: Values, layout: Layout) -> Values:
    """The state of each of N ids ``(N, C)``; those that are not among ``ids`` ``(M,)``, ascending, are empty."""
    found = layout.empty(len(wanted))
    if len(ids):
        places = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
        is_there = ids[places] == wanted
        found[is_there] = states[places[is_there]]
    return found
