"""Counters as features: what a row is told, from the numbers that are known at its moment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from hexbite.counters.clocks import CLOCKS, Integers
from hexbite.counters.definitions import FARTHEST_DAYS, Counter, Counters, Figure
from hexbite.counters.states import US_PER_DAY, Indices, Need, Values, fade, needs_of
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
    """The counters' columns ``(N, K)`` float32 of N rows, each at its own moment ``at_us`` ``(N,)``.

    ``known`` has by each need the number of every row ``(N,)``, of the row's own slot where there is a clock; ``slots``
    by each clock the rows' slots ``(N,)``. Microseconds since 1970.
    """
    columns = np.empty((len(at_us), len(counters.counters)), dtype=np.float32)
    for place, counter in enumerate(counters.counters):
        columns[:, place] = feature(counter, known, slots, at_us)
    return columns


def feature(counter: Counter, known: Mapping[Need, Values], slots: Mapping[str, Integers], at_us: Indices) -> Values:
    """One counter's values; as `features`, and a need that is the same in every row may be ``(1,)``."""
    needs = needs_of(counter)
    figure = known[needs[0]]
    match counter.figure:
        case Figure.SHARE:
            prior = 0.0 if counter.clock is None else np.array(CLOCKS[counter.clock])[slots[counter.clock]]
            return np.asarray((figure + _PRIOR_EVENTS * prior) / (known[needs[1]] + _PRIOR_EVENTS))
        case Figure.DECAYED:
            figure = figure * fade(at_us - known[needs[1]], counter.half_life_days)
        case Figure.SINCE_LAST | Figure.SINCE_FIRST:
            # What never happened happened never: FIRST has it at +inf, LAST at -inf.
            ago_us = np.where(np.isfinite(figure), at_us - figure, np.inf)
            # Of an event yet to come, or by a clock that goes ahead, it is now.
            days = np.clip(ago_us / US_PER_DAY, 0.0, FARTHEST_DAYS)
            figure = days * _HOURS_PER_DAY if counter.log else days
        case Figure.COUNT | Figure.DISTINCT:
            pass
    return np.log1p(figure) if counter.log else figure
