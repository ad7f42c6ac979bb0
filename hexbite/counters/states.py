"""The state of counters: a row of numbers for each thing that is counted by, kept up event by event in any order."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from hexbite.counters.clocks import CLOCKS, Slots
from hexbite.counters.definitions import By, Counter, Counters, Figure

Values = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

US_PER_DAY: Final = 86_400_000_000.0

#: When something that never happened happened last, and first.
NEVER: Final = -np.inf
_NEVER_FIRST: Final = np.inf


class Stat(Enum):
    """What is kept of events; times are microseconds since 1970, UTC."""

    COUNT = "count"
    DISTINCT = "distinct"
    LAST = "last"
    FIRST = "first"
    DECAYED = "decayed"


class Need(NamedTuple):
    """A number that a counter is computed from; with a ``clock`` there is one for each slot of it."""

    stat: Stat
    by: By
    events: frozenset[str]
    clock: str | None = None
    half_life_days: float | None = None


def needs_of(counter: Counter) -> tuple[Need, ...]:
    """What a counter is computed from: the number that its figure is of first."""
    events = frozenset(counter.events)

    def need(stat: Stat, by: By = counter.by, clock: str | None = counter.clock) -> Need:
        return Need(stat, by, events, clock)

    match counter.figure:
        case Figure.COUNT:
            return (need(Stat.COUNT),)
        case Figure.DISTINCT:
            return need(Stat.DISTINCT), need(Stat.COUNT, By.PAIR)
        case Figure.SHARE:
            assert counter.of is not None
            return need(Stat.COUNT), need(Stat.COUNT, counter.of, None)
        case Figure.SINCE_LAST:
            return (need(Stat.LAST),)
        case Figure.SINCE_FIRST:
            return (need(Stat.FIRST),)
        case Figure.DECAYED:
            decayed = need(Stat.DECAYED)._replace(half_life_days=counter.half_life_days)
            # What it is decayed to: the time of the last event that counts.
            return decayed, need(Stat.LAST)


class Column(NamedTuple):
    """A column of a state: a need, and the slot where it has a clock."""

    need: Need
    slot: int | None


class Events(NamedTuple):
    """M events: ``kind`` ``(M,)`` their codes, below 0 for what nothing counts; ``time_us`` ``(M,)`` int64.

    ``slots`` has by each clock the slot that each happened in ``(M,)``, below 0 where nobody knows. ``weight`` ``(M,)``
    is 1, or -1 of one that is taken back. ``is_new`` ``(M,)``, by the events of a distinct figure, says which are the
    first of their user and restaurant.
    """

    kind: Indices
    time_us: Indices
    slots: dict[str, Slots]
    weight: Values | None = None
    is_new: dict[frozenset[str], npt.NDArray[np.bool_]] | None = None

    def take(self, rows: npt.NDArray[np.integer] | npt.NDArray[np.bool_]) -> Events:
        """Some of them."""
        return Events(
            self.kind[rows],
            self.time_us[rows],
            {clock: slots[rows] for clock, slots in self.slots.items()},
            None if self.weight is None else self.weight[rows],
            None if self.is_new is None else {events: is_new[rows] for events, is_new in self.is_new.items()},
        )


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of the states ``(N, C)`` float64 of what is counted by one thing.

    A state of two sets of events is `combine` of the states of each, in any order.
    """

    columns: tuple[Column, ...]
    kinds: tuple[str, ...]

    @classmethod
    def of(cls, counters: Counters, by: By) -> Self:
        """What a set of counters needs to know by one thing."""
        found: dict[Column, None] = {}
        for counter in counters.counters:
            for need in needs_of(counter):
                if need.by is by:
                    slots = [None] if need.clock is None else range(len(CLOCKS[need.clock]))
                    found |= dict.fromkeys(Column(need, slot) for slot in slots)
        return cls(tuple(found), counters.kinds)

    @property
    def width(self) -> int:
        """C, the numbers of a state."""
        return len(self.columns)

    def empty(self, size: int = 1) -> Values:
        """States ``(N, C)`` of no events at all."""
        none = {Stat.LAST: NEVER, Stat.FIRST: _NEVER_FIRST}
        return np.tile(np.array([none.get(column.need.stat, 0.0) for column in self.columns]), (size, 1))

    def place(self, need: Need) -> int:
        """Where a need stands; with a clock its first slot, the others behind it."""
        return self.columns.index(Column(need, None if need.clock is None else 0))

    def counted(self, need: Need, events: Events) -> npt.NDArray[np.bool_]:
        """Which of M events ``(M,)`` a need counts, in whatever slot."""
        codes = [code for code, kind in enumerate(self.kinds) if kind in need.events]
        return np.isin(events.kind, codes)

    def count(self, groups: Indices, size: int, events: Events) -> Values:
        """The states ``(size, C)`` of events alone, each in one of ``size`` groups ``(M,)``."""
        states = self.empty(size)
        # The times first: what decays, decays to the last.
        for place, column in sorted(enumerate(self.columns), key=lambda item: item[1].need.stat is Stat.DECAYED):
            need = column.need
            is_meant = self.counted(need, events)
            if column.slot is not None:
                assert need.clock is not None
                is_meant &= events.slots[need.clock] == column.slot
            if need.stat is Stat.DISTINCT:
                assert events.is_new is not None
                is_meant &= events.is_new[need.events]
            group, time_us = groups[is_meant], events.time_us[is_meant].astype(np.float64)
            weight = None if events.weight is None else events.weight[is_meant]
            match need.stat:
                case Stat.LAST:
                    np.maximum.at(states[:, place], group, time_us)
                case Stat.FIRST:
                    np.minimum.at(states[:, place], group, time_us)
                case Stat.DECAYED:
                    last_us = states[group, self._last(column)]
                    faded = fade(last_us - time_us, need.half_life_days)
                    states[:, place] = np.bincount(group, faded if weight is None else faded * weight, size)
                case Stat.COUNT | Stat.DISTINCT:
                    states[:, place] = np.bincount(group, weight, size)
        return states

    def combine(self, one: Values, other: Values) -> Values:
        """The states ``(N, C)`` of the events of both."""
        both = one + other
        for place, column in enumerate(self.columns):
            if column.need.stat is Stat.LAST:
                both[:, place] = np.maximum(one[:, place], other[:, place])
            elif column.need.stat is Stat.FIRST:
                both[:, place] = np.minimum(one[:, place], other[:, place])
        for place, column in enumerate(self.columns):
            if column.need.stat is Stat.DECAYED:
                last = self._last(column)
                with np.errstate(invalid="ignore"):  # neither ever happened
                    ages_us = [both[:, last] - part[:, last] for part in (one, other)]
                left = [fade(age_us, column.need.half_life_days) for age_us in ages_us]
                both[:, place] = one[:, place] * left[0] + other[:, place] * left[1]
        return both

    def _last(self, column: Column) -> int:
        """The place of the time that a decayed count is decayed to."""
        return self.columns.index(Column(column.need._replace(stat=Stat.LAST, half_life_days=None), column.slot))


def fade(age_us: Values, half_life_days: float | None) -> Values:
    """What is left of one ``(N,)`` after some time; an age below 0 is none, and of what never happened nothing is."""
    assert half_life_days is not None
    # Two that never happened are as old as each other.
    age_us = np.where(np.isnan(age_us), np.inf, np.maximum(age_us, 0.0))
    return np.asarray(np.exp2(age_us / (-half_life_days * US_PER_DAY)))
