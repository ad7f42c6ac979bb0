"""Counters as features: what a row is told, from the numbers that are known at its moment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from math import log
from typing import Final

import numpy as np

from hexbite.counters.clocks import CLOCKS, Integers
from hexbite.counters.definitions import FARTHEST_DAYS, Counter, Counters, Figure
from hexbite.counters.states import NEVER, US_PER_DAY, Indices, Need, Values, needs_of
from hexbite.features import Matrix

# A share leans on an even spread as if that many events had shown it: one event says little about somebody's hours.
_PRIOR_EVENTS: Final = 2.0

_HOURS_PER_DAY: Final = 24.0


def features(
    counters: Counters,
    known: Mapping[Need, Values],
    slots: Mapping[str, Integers],
    at_us: Indices,
) -> Matrix:
    """The counters' columns ``(N, K)`` float32 of N rows, as `Figures.of`, from the numbers ``(N,)`` by their need."""
    figures = Figures(counters.counters)
    return figures.of(np.array([known[need] for need in figures.needs]), slots, at_us)


class Figures:
    """The arithmetic of K counters, those of one figure together: for few rows the calls take longer than the sums.

    ``needs`` are what they are computed from, each once.
    """

    def __init__(self, counters: Iterable[Counter]) -> None:
        counters = tuple(counters)
        self.needs: Final = tuple(dict.fromkeys(need for counter in counters for need in needs_of(counter)))
        # Those with a log behind the others, to take it at once, and those of one figure beside each other.
        order = sorted(range(len(counters)), key=lambda place: (counters[place].log, counters[place].figure))
        self._columns = np.argsort(order)
        in_order = [counters[place] for place in order]
        self._logs = sum(not counter.log for counter in in_order)
        needs = [[self.needs.index(need) for need in needs_of(counter)] for counter in in_order]
        self._first = np.array([first for first, *_ in needs], dtype=np.intp)
        self._shares, self._decayed, self._since = [], [], []
        # Of shares by the slot of a clock: where they stand, and what each leans on, by slot.
        self._leaning = []
        for (figure, is_log), group in groupby(enumerate(in_order), lambda one: (one[1].figure, one[1].log)):
            places = [place for place, _ in group]
            at = slice(places[0], places[-1] + 1)
            if figure is Figure.SHARE:
                self._shares.append((at, np.array([needs[place][1] for place in places])))
                for clock, shares in CLOCKS.items():
                    if leaning := [place for place in places if in_order[place].clock == clock]:
                        self._leaning.append((clock, np.array(leaning), _PRIOR_EVENTS * np.array(shares)))
            elif figure is Figure.DECAYED:
                rates = [[_rate(in_order[place].half_life_days)] for place in places]
                self._decayed.append((at, np.array([needs[place][1] for place in places]), np.array(rates)))
            elif figure in (Figure.SINCE_LAST, Figure.SINCE_FIRST):
                self._since.append((at, figure, _HOURS_PER_DAY if is_log else 1.0))

    def of(self, known: Values, slots: Mapping[str, Integers], at_us: Indices | float) -> Matrix:
        """The columns ``(N, K)`` float32 of N rows, each at its own moment ``at_us`` ``(N,)``, or all at one.

        ``known`` ``(M, N)`` has for each of the ``needs`` the number of every row, of the row's own slot where there is
        a clock; ``slots`` by each clock the rows' slots ``(N,)``. Microseconds since 1970.
        """
        figures = known[self._first]
        for clock, places, prior in self._leaning:
            figures[places] += prior[slots[clock]]
        for at, whole in self._shares:
            figures[at] /= known[whole] + _PRIOR_EVENTS
        for at, last, rates in self._decayed:
            # Of what is yet to come, or told by a clock that goes ahead, all is left.
            age_us = np.maximum(at_us - known[last], 0.0)
            age_us *= rates
            figures[at] *= np.exp(age_us, out=age_us)
        for at, figure, unit in self._since:
            since_us = figures[at]
            if figure is Figure.SINCE_FIRST:
                since_us[np.isposinf(since_us)] = NEVER
            np.subtract(at_us, since_us, out=since_us)
            since_us *= 1 / US_PER_DAY
            np.maximum(since_us, 0.0, out=since_us)
            np.minimum(since_us, FARTHEST_DAYS, out=since_us)
            if unit != 1.0:
                since_us *= unit
        counted = figures[self._logs :]
        counted += 1.0
        told = figures.astype(np.float32)
        np.log(told[self._logs :], out=told[self._logs :])  # of float32, which takes half as long
        return told[self._columns].T


def _rate(half_life_days: float | None) -> float:
    """What one is multiplied by in a microsecond, as an exponent of e."""
    assert half_life_days is not None
    return log(2) / (-half_life_days * US_PER_DAY)
