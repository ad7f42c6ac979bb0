"""One definition: what rows of the past are told, what a store that remembers tells, and plain Python."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hexbite.counters.clocks import CLOCKS, PART_OF_DAY, WEEKEND
from hexbite.counters.definitions import By, Counter, Counters, Figure, default_counters
from hexbite.counters.past import Past, PastEvents
from hexbite.counters.people import People
from hexbite.counters.present import Present, comes_from
from hexbite.counters.previous import previous_events
from hexbite.counters.states import Events
from hexbite.errors import SchemaError

_HOUR_US = 3_600_000_000
_START_US = 1_700_000_000_000_000
_KINDS = ("click", "order")

# Ids of restaurants are in no order: what comes first of two at one moment is decided by them.
_IDS = np.array([70, -3, 5, 40])


class Told(NamedTuple):
    user: int
    restaurant: int
    kind: int
    hours: int
    part: int
    weekend: int


_events = st.lists(
    st.builds(
        Told,
        st.integers(0, 2),
        st.integers(0, 3),
        st.integers(-1, 1),
        st.one_of(st.integers(0, 60), st.integers(0, 2_000)),
        st.integers(-1, 4),
        st.integers(0, 1),
    ),
    max_size=40,
)


def _every() -> Counters:
    every = list(default_counters(["order"]))
    every += [counter for counter in default_counters(["click", "order"]) if counter.by is not By.PREVIOUS]
    every = [
        Counter(f"{counter.name}_{place}", *(getattr(counter, name) for name in Counter.__slots__[1:]))
        for place, counter in enumerate(every)
    ]
    for by in By:
        for figure in Figure:
            for clock in (None, PART_OF_DAY, WEEKEND):
                for of in (*By, None):
                    try:
                        every.append(
                            Counter(
                                f"every_{len(every)}",
                                ("order",) if by is By.PREVIOUS or figure is Figure.SHARE else ("click",),
                                by,
                                figure,
                                clock,
                                0.5 if figure is Figure.DECAYED else None,
                                of,
                            )
                        )
                    except SchemaError:  # what does not go together
                        continue
    return Counters(tuple(every))


EVERY = _every()


def _past_events(told: Sequence[Told]) -> PastEvents:
    columns = np.array(told, dtype=np.int64).reshape(-1, 6).T
    user, restaurant, kind, hours, part, weekend = columns
    return PastEvents(user, restaurant, kind, _START_US + hours * _HOUR_US, {PART_OF_DAY: part, WEEKEND: weekend})


def _plain(counter: Counter, told: Sequence[Told], ask: Told) -> float:
    """As the words of the definition have it, one event at a time."""
    at = ask.hours

    def previous(user: int, hours: int) -> int | None:
        before = [
            (event.hours, _IDS[event.restaurant], event.restaurant)
            for event in told
            if event.user == user and event.kind == 1 and hours - 30 * 24 <= event.hours < hours
        ]
        return max(before)[2] if before else None

    def counted(by: By, clock: str | None) -> list[Told]:
        found = []
        for event in told:
            if event.kind < 0 or _KINDS[event.kind] not in counter.events or event.hours >= at:
                continue
            if (clock == PART_OF_DAY and event.part != ask.part) or (clock == WEEKEND and event.weekend != ask.weekend):
                continue
            if (by is By.USER and event.user != ask.user) or (
                by is By.RESTAURANT and event.restaurant != ask.restaurant
            ):
                continue
            if by is By.PAIR and (event.user, event.restaurant) != (ask.user, ask.restaurant):
                continue
            if by is By.PREVIOUS:
                came_from = previous(event.user, event.hours)
                if came_from is None or (came_from, event.restaurant) != (previous(ask.user, at), ask.restaurant):
                    continue
            found.append(event)
        return found

    events = counted(counter.by, counter.clock)
    days = [(at - event.hours) / 24 for event in events]
    match counter.figure:
        case Figure.COUNT:
            value = float(len(events))
        case Figure.DECAYED:
            assert counter.half_life_days is not None
            value = sum(2 ** (-day / counter.half_life_days) for day in days)
        case Figure.DISTINCT:
            value = float(len({event.restaurant if counter.by is By.USER else event.user for event in events}))
        case Figure.SHARE:
            assert counter.of is not None
            slot = {PART_OF_DAY: ask.part, WEEKEND: ask.weekend, None: 0}[counter.clock]
            prior = 0.0 if counter.clock is None else CLOCKS[counter.clock][slot]
            return (len(events) + 2 * prior) / (len(counted(counter.of, None)) + 2)
        case Figure.SINCE_LAST | Figure.SINCE_FIRST:
            choose = min if counter.figure is Figure.SINCE_LAST else max
            value = min(choose(days, default=1_000.0), 1_000.0)
            value = value * 24 if counter.log else value
    return math.log1p(value) if counter.log else value


def _remembered(told: Sequence[Told], ask: Told, order: Sequence[int], cuts: Sequence[int]) -> np.ndarray:
    """What a store tells that hears of the events before an ask in some order, some at a time."""
    present = Present(EVERY)
    heard = [event for event in told if event.hours < ask.hours and event.kind >= 0]
    heard = [heard[place] for place in order if place < len(heard)]
    people = People.strangers(np.arange(3), EVERY)
    of_restaurant, of_previous = present.layouts[By.RESTAURANT], present.layouts[By.PREVIOUS]
    restaurants = of_restaurant.empty(len(_IDS))
    arrivals = of_previous.empty(len(_IDS) ** 2)
    known: list[Told] = []
    edges = sorted({0, *(min(cut, len(heard)) for cut in cuts), len(heard)})
    for start, end in itertools.pairwise(edges):
        part = heard[start:end]
        past = _past_events(part)
        events = Events(past.kind, past.time_us, past.slots)
        people, events = people.remember(EVERY, past.user, _IDS[past.restaurant], events)
        restaurants = of_restaurant.combine(restaurants, of_restaurant.count(past.restaurant, len(_IDS), events))
        for weight, chain in ((-1.0, known), (1.0, known + part)):
            visits = _past_events([event for event in chain if event.kind == 1])
            before = previous_events(visits.user, _IDS[visits.restaurant], visits.time_us)
            has_one = before >= 0
            weights = np.full(int(has_one.sum()), weight)
            moved = Events(visits.kind, visits.time_us, visits.slots).take(has_one)._replace(weight=weights)
            edge = visits.restaurant[before[has_one]] * len(_IDS) + visits.restaurant[has_one]
            arrivals = of_previous.combine(arrivals, of_previous.count(edge, len(arrivals), moved))
        known += part
    at_us = _START_US + ask.hours * _HOUR_US
    one = people.only(ask.user)
    from_ = np.empty(0, dtype=np.int64), of_previous.empty(0)
    if comes_from(one.previous_us[0], at_us):
        place = int(np.flatnonzero(one.previous[0] == _IDS)[0])
        in_order = np.argsort(_IDS)
        from_ = _IDS[in_order], arrivals[place * len(_IDS) : (place + 1) * len(_IDS)][in_order]
    slots = {PART_OF_DAY: np.full(len(_IDS), ask.part), WEEKEND: np.full(len(_IDS), ask.weekend)}
    return present.rows(one, _IDS, restaurants, from_, slots, at_us)[ask.restaurant]


@settings(max_examples=60, deadline=None)
@given(told=_events, asks=_events, data=st.data())
def test_past_and_present_tell_what_the_words_say(told: list[Told], asks: list[Told], data: st.DataObject) -> None:
    asks = [ask._replace(part=max(ask.part, 0)) for ask in asks[:4]]
    rows = _past_events(asks)
    found = Past(EVERY, _past_events(told), _IDS).rows(rows.user, rows.restaurant, rows.time_us, rows.slots)
    for ask, row in zip(asks, found, strict=True):
        expected = [_plain(counter, told, ask) for counter in EVERY.counters]
        assert row == pytest.approx(expected, rel=1e-6, abs=1e-6), ask
        order = data.draw(st.permutations(range(len(told))))
        cuts = data.draw(st.lists(st.integers(0, len(told)), max_size=3))
        remembered = _remembered(told, ask, order, cuts)
        assert remembered == pytest.approx(expected, rel=1e-6, abs=1e-6), (ask, order, cuts)


@settings(max_examples=50, deadline=None)
@given(told=_events, later=_events, ask=_events)
def test_nothing_of_its_own_moment_or_later_changes_a_row(told: list[Told], later: list[Told], ask: list[Told]) -> None:
    rows = _past_events([one._replace(part=max(one.part, 0)) for one in ask])
    for one, row in zip(ask, range(len(ask)), strict=True):
        before = [event for event in told if event.hours < one.hours]
        other = before + [event for event in later if event.hours >= one.hours]
        found, changed = (
            Past(EVERY, _past_events(events), _IDS).rows(
                rows.user[[row]],
                rows.restaurant[[row]],
                rows.time_us[[row]],
                {k: v[[row]] for k, v in rows.slots.items()},
            )
            for events in (told, other)
        )
        assert (found == changed).all()


def test_what_belongs_to_places_alone_is_as_of_the_last_whole_lag() -> None:
    counters = Counters(default_counters(["order"]), lag_s=86_400)
    told = [Told(0, 1, 0, hours, 0, 0) for hours in (1, 30, 47)]
    # From 22:13 on: the second and the third are of the day of the ask, and wait for its end.
    events = _past_events(told)
    rows = _past_events([Told(0, 1, 1, 48, 0, 0)])
    row = dict(zip(counters.names, Past(counters, events, _IDS).rows(*rows_of(rows))[0].tolist(), strict=True))
    assert row["place_visits"] == pytest.approx(math.log1p(1))
    assert row["own_visits"] == pytest.approx(math.log1p(3))


def rows_of(rows: PastEvents) -> tuple[np.ndarray, np.ndarray, np.ndarray, Mapping[str, np.ndarray]]:
    return rows.user, rows.restaurant, rows.time_us, rows.slots
