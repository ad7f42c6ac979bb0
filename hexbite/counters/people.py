"""What is remembered of people: a state each, a state for each restaurant that they know, and where they come from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hexbite.counters.definitions import By, Counters
from hexbite.counters.states import NEVER, Events, Indices, Layout, Stat, Values
from hexbite.geo import Ids


@dataclass(frozen=True, slots=True)
class People:
    """U users: ``ids`` ``(U,)`` ascending, ``states`` ``(U, C)``, and the restaurant that each was at last,
    ``previous`` ``(U,)``, at ``previous_us`` ``(U,)``, `NEVER` for none.

    Behind them all restaurants that any of them knows: ``owner`` ``(P,)`` the user's number, ascending, ``restaurants``
    ``(P,)`` ids, ascending for one user, ``pairs`` ``(P, D)`` the states.
    """

    ids: Ids
    states: Values
    previous: Ids
    previous_us: Values
    owner: Indices
    restaurants: Ids
    pairs: Values

    @classmethod
    def strangers(cls, ids: Ids, counters: Counters) -> People:
        """Users of whom nothing is known; ``ids`` ``(U,)`` ascend."""
        nobody = np.empty(0, dtype=np.int64)
        return cls(
            ids,
            Layout.of(counters, By.USER).empty(len(ids)),
            np.zeros(len(ids), dtype=np.int64),
            np.full(len(ids), NEVER),
            nobody,
            nobody,
            Layout.of(counters, By.PAIR).empty(0),
        )

    def only(self, number: int) -> People:
        """One of them."""
        one = slice(number, number + 1)
        known = slice(*np.searchsorted(self.owner, (number, number + 1)))
        owner = np.zeros(known.stop - known.start, dtype=np.int64)
        return People(
            self.ids[one],
            self.states[one],
            self.previous[one],
            self.previous_us[one],
            owner,
            self.restaurants[known],
            self.pairs[known],
        )

    def remember(self, counters: Counters, user: Ids, restaurant: Ids, events: Events) -> tuple[People, Events]:
        """The same people after M more events ``(M,)`` of theirs, in any order; and the events, with what is new.

        Every user is one of these.
        """
        of_user, of_pair = Layout.of(counters, By.USER), Layout.of(counters, By.PAIR)
        whose = np.searchsorted(self.ids, user)
        # Pairs by number: those that are known, and those that the events add.
        key = np.stack((np.concatenate((self.owner, whose)), np.concatenate((self.restaurants, restaurant))))
        pairs, number = _unique(key)
        known, told = number[: len(self.owner)], number[len(self.owner) :]
        before = of_pair.empty(pairs.shape[1])
        before[known] = self.pairs
        events = events._replace(
            is_new=_new(of_pair, of_user, Layout.of(counters, By.RESTAURANT), before, told, events)
        )
        after = of_pair.combine(before, of_pair.count(told, pairs.shape[1], events))
        states = of_user.combine(self.states, of_user.count(whose, len(self.ids), events))
        previous, previous_us = self._last_visits(counters, whose, restaurant, events)
        return People(self.ids, states, previous, previous_us, pairs[0], pairs[1], after), events

    def _last_visits(self, counters: Counters, whose: Indices, restaurant: Ids, events: Events) -> tuple[Ids, Values]:
        codes = [code for code, kind in enumerate(counters.kinds) if kind in counters.visits]
        visits = np.isin(events.kind, codes)
        whose = np.concatenate((np.arange(len(self.ids)), whose[visits]))
        place = np.concatenate((self.previous, restaurant[visits]))
        time_us = np.concatenate((self.previous_us, events.time_us[visits].astype(np.float64)))
        order = np.lexsort((place, time_us, whose))
        last = order[np.append(np.flatnonzero(np.diff(whose[order])), len(order) - 1)] if len(order) else order
        return place[last], time_us[last]


def _unique(key: Ids) -> tuple[Ids, Indices]:
    """The different columns of a key ``(2, M)`` in order, and which each is ``(M,)``."""
    order = np.lexsort((key[1], key[0]))
    sorted_ = key[:, order]
    is_first = np.ones(len(order), dtype=np.bool_)
    is_first[1:] = (sorted_[:, 1:] != sorted_[:, :-1]).any(axis=0)
    number = np.empty(len(order), dtype=np.int64)
    number[order] = np.cumsum(is_first) - 1
    return sorted_[:, is_first], number


def _new(
    of_pair: Layout, of_user: Layout, of_restaurant: Layout, before: Values, pair: Indices, events: Events
) -> dict[frozenset[str], npt.NDArray[np.bool_]]:
    """By the events of each distinct figure, which of M events ``(M,)`` are the first of their pair that count."""
    wanted = {
        column.need.events
        for layout in (of_user, of_restaurant)
        for column in layout.columns
        if column.need.stat is Stat.DISTINCT
    }
    found = {}
    for kinds in wanted:
        place = next(
            place
            for place, column in enumerate(of_pair.columns)
            if column.need.stat is Stat.COUNT and column.need.events == kinds and column.need.clock is None
        )
        counts = of_pair.counted(of_pair.columns[place].need, events)
        rows = np.flatnonzero(counts)
        _, first = np.unique(pair[rows], return_index=True)
        rows = rows[first]
        is_new = np.zeros(len(pair), dtype=np.bool_)
        is_new[rows[before[pair[rows], place] == 0]] = True
        found[kinds] = is_new
    return found
