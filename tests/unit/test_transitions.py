"""Ways between places add up to the same in whatever order visits are told."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hexbite.counters.previous import PREVIOUS_US, previous_events
from hexbite.counters.transitions import changed_transitions

DAY_US = 86_400_000_000

visits = st.lists(
    st.tuples(st.integers(0, 2), st.integers(-2, 2), st.integers(0, 120).map(lambda half: half * DAY_US // 2)),
    max_size=14,
)


def ways(told: list[tuple[int, int, int]]) -> dict[tuple[int, int, int, int], float]:
    """The ways of all visits at once: who, from where, to where, when."""
    if not told:
        return {}
    user, place, time_us = np.array(told, dtype=np.int64).T
    before = previous_events(user, place, time_us)
    found: dict[tuple[int, int, int, int], float] = {}
    for number, previous in enumerate(before.tolist()):
        if previous >= 0:
            key = (int(user[number]), int(place[previous]), int(place[number]), int(time_us[number]))
            found[key] = found.get(key, 0.0) + 1.0
    return found


@given(visits, st.lists(st.integers(0, 14), max_size=4))
def test_what_each_part_adds_and_takes_back_is_what_there_is_at_once(
    told: list[tuple[int, int, int]], cuts: list[int]
) -> None:
    total: dict[tuple[int, int, int, int], float] = {}
    edges = sorted({0, len(told), *(min(cut, len(told)) for cut in cuts)})
    for start, end in pairwise(edges):
        known = told[:start]
        user, place, time_us = np.array(told[:end], dtype=np.int64).T
        changed = changed_transitions(user, place, time_us, len(known))
        for came_from, visit, weight in zip(*(column.tolist() for column in changed), strict=True):
            key = (int(user[visit]), came_from, int(place[visit]), int(time_us[visit]))
            total[key] = total.get(key, 0.0) + weight
    assert {key: weight for key, weight in total.items() if weight} == ways(told)


@given(visits, st.integers(0, 14))
def test_visits_farther_away_than_a_way_lasts_change_nothing(told: list[tuple[int, int, int]], cut: int) -> None:
    known, added = told[:cut], told[cut:]
    if not added:
        return
    spans = {
        user: (
            min(t for u, _, t in added if u == user) - PREVIOUS_US,
            max(t for u, _, t in added if u == user) + PREVIOUS_US,
        )
        for user, _, _ in added
    }
    near = [visit for visit in known if visit[0] in spans and spans[visit[0]][0] <= visit[2] <= spans[visit[0]][1]]

    def change(before: list[tuple[int, int, int]]) -> list[tuple[int, ...]]:
        user, place, time_us = np.array([*before, *added], dtype=np.int64).T
        changed = changed_transitions(user, place, time_us, len(before))
        rows = zip(*(column.tolist() for column in changed), strict=True)
        return sorted((int(user[v]), c, int(place[v]), int(time_us[v]), int(w)) for c, v, w in rows)

    assert change(near) == change(known)
