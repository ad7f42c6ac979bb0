"""Events to lists, held against a plain reference; every event ends in exactly one count."""

from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.log.map import Map
from data.log.rows.lists import make_lists
from data.log.rows.split import Split
from data.log.rows.world import World
from data.log.rules import Outcome, Tally
from hexbite.clock import Clock
from tests.unit.log_reference import Event, rule

USERS = ("ada", "bo", "cy")
RESTAURANTS = tuple(f"r{number}" for number in range(5))
SAYS = {"shown": 0, "chosen": 1, "both": 2}
SPLIT_S = 60
JOIN_H = 30 / 3_600


def world(*, unchosen: str = "leave out") -> World:
    """Three users and five restaurants on one street, and a split after a minute."""
    asked = Map.model_validate(
        {
            "events": {
                "path": "x",
                "user": "u",
                "restaurant": "r",
                "time": "t",
                "kind": "k",
                "label": ["chosen"],
                "shown": ["shown"],
                "restaurant_latitude": "lat",
                "restaurant_longitude": "lng",
            },
            "lists": {"join_h": JOIN_H, "unchosen": unchosen},
            "standing": {"max_age_h": 20 / 3_600},
            "history": True,
        }
    )
    many = len(RESTAURANTS)
    return World(
        asked,
        split=Split(SPLIT_S * 1_000_000, None, 0.2, 0.0, *(np.empty(0, np.uint64),) * 2),
        first_us=0,
        last_us=10**12,
        lats=np.linspace(50.0, 50.04, many),
        lngs=np.full(many, 10.0),
        zones=np.zeros(many, np.int32),
        home_lats=np.full(len(USERS), np.nan),
        home_lngs=np.full(len(USERS), np.nan),
        clock=Clock(["Europe/Berlin"], 0, 10**6),
        user_has_row=np.ones(len(USERS), np.bool_),
        restaurant_has_row=np.ones(many, np.bool_),
    )


def frame(events: list[Event], named: bool = True) -> pl.DataFrame:
    names = sorted({event.list for event in events if event.list is not None})
    columns = {
        "user": pl.Series([USERS.index(event.user) for event in events], dtype=pl.Int32),
        "restaurant": pl.Series([RESTAURANTS.index(event.restaurant) for event in events], dtype=pl.Int32),
        "time": pl.Series([event.time * 1_000_000 for event in events], dtype=pl.Int64),
        "says": pl.Series([SAYS[event.says] for event in events], dtype=pl.UInt8),
    }
    if named:
        ids = [None if event.list is None else 2 * names.index(event.list) for event in events]
        columns["list"] = pl.Series(ids, dtype=pl.Int64)
    return pl.DataFrame(columns)


def found_lists(rows: pl.DataFrame) -> Counter[tuple[str, int, frozenset[tuple[str, bool]]]]:
    """Who, when, and what with which click, of each list."""
    lists = rows.group_by("list").agg("user", "time", "restaurant", "click")
    return Counter(
        (
            USERS[row["user"][0]],
            row["time"][0] // 1_000_000,
            frozenset(zip((RESTAURANTS[r] for r in row["restaurant"]), map(bool, row["click"]), strict=True)),
        )
        for row in lists.iter_rows(named=True)
    )


EVENTS = st.lists(
    st.builds(
        Event,
        st.sampled_from(USERS),
        st.sampled_from(RESTAURANTS),
        st.integers(0, 120),
        st.sampled_from(["shown", "shown", "shown", "chosen"]),
        st.sampled_from(["a", "b", "c", "d"]),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(events=EVENTS, keep=st.booleans())
def test_lists_with_ids_are_those_of_the_reference(events: list[Event], keep: bool) -> None:
    tally = Tally.start()
    listed = make_lists(frame(events), world(unchosen="keep" if keep else "leave out"), tally)
    expected = rule(events, join_s=30, split_s=SPLIT_S, keep_unchosen=keep)
    assert +tally.rows == expected.counts
    assert tally.rows.total() == len(events)
    told = Counter((user, time, frozenset(rows.items())) for (user, _), (time, rows) in expected.lists.items())
    assert found_lists(listed.rows) == told


@settings(max_examples=150, deadline=None)
@given(
    events=st.lists(
        st.builds(
            Event,
            st.sampled_from(USERS),
            st.sampled_from(RESTAURANTS),
            st.integers(0, 40),
            st.sampled_from(["shown", "shown", "shown", "chosen", "both"]),
            st.none(),
        ),
        max_size=60,
    )
)
def test_lists_without_ids_are_moments_and_choices_belong_to_the_latest_impression(events: list[Event]) -> None:
    tally = Tally.start()
    listed = make_lists(frame(events, named=False), world(), tally)
    expected = rule(events, join_s=30, split_s=SPLIT_S)
    assert +tally.rows == expected.counts
    assert found_lists(listed.rows) == Counter(
        (user, time, frozenset(rows.items())) for (user, _), (time, rows) in expected.lists.items()
    )


@settings(max_examples=50, deadline=None)
@given(events=EVENTS, seed=st.integers(0, 9))
def test_the_order_of_the_log_changes_nothing(events: list[Event], seed: int) -> None:
    rows = frame(events)
    shuffled = rows[np.random.default_rng(seed).permutation(len(rows))]
    one, other = (make_lists(log, world(), Tally.start()) for log in (rows, shuffled))
    assert one.rows.equals(other.rows)
    assert one.requests.equals(other.requests)


def test_rows_of_a_list_lie_together_and_a_list_is_in_one_split() -> None:
    draws = np.random.default_rng(3)
    events = [
        Event(USERS[draws.integers(3)], RESTAURANTS[draws.integers(5)], int(draws.integers(120)), says, str(number))
        for number in range(80)
        for says in ("shown", "shown", "shown", "chosen")
    ]
    rows = make_lists(frame(events), world(unchosen="keep"), Tally.start()).rows
    assert rows["list"].is_sorted()
    assert rows.group_by("list").agg(pl.col("part").n_unique())["part"].max() == 1
    assert ((rows["part"] == Outcome.TEST) == (rows["time"] >= SPLIT_S * 1_000_000)).all()


def test_a_person_stands_where_they_chose_last_and_never_at_the_answer() -> None:
    events = [
        Event("ada", "r0", 0, "shown", "a"),
        Event("ada", "r1", 0, "shown", "a"),
        Event("ada", "r1", 2, "chosen", "a"),
        # Ten seconds later, the choice's clock before that of what it was chosen from.
        Event("ada", "r2", 12, "shown", "b"),
        Event("ada", "r3", 12, "shown", "b"),
        Event("ada", "r3", 11, "chosen", "b"),
        # More than the twenty seconds for which a choice tells the place.
        Event("ada", "r0", 40, "shown", "c"),
        Event("ada", "r4", 40, "shown", "c"),
        Event("ada", "r4", 41, "chosen", "c"),
    ]
    tally = Tally.start()
    rows = make_lists(frame(events), world(), tally).rows
    by_list = rows.partition_by("time", maintain_order=False, as_dict=True)
    first, second, third = (by_list[(at * 1_000_000,)] for at in (0, 12, 40))
    assert first["distance_m"].null_count() == third["distance_m"].null_count() == 2
    # From r1, a hundredth of a degree of latitude a step.
    assert second.sort("restaurant")["distance_m"].to_list() == pytest.approx([1_111.95, 2_223.9], rel=1e-3)
    assert tally.notes["lists from an unknown place"] == 2


def test_coordinates_of_the_event_come_first_then_those_of_its_list() -> None:
    events = [
        Event("ada", "r0", 5, "shown", "a"),
        Event("ada", "r1", 6, "shown", "a"),
        Event("ada", "r2", 7, "shown", "a"),
        Event("ada", "r1", 8, "chosen", "a"),
    ]
    log = frame(events).with_columns(
        latitude=pl.Series([None, 50.0, 50.02, None]), longitude=pl.Series([None, 10.0, 10.0, None])
    )
    listed = make_lists(log, world(), Tally.start())
    metres = listed.rows.sort("restaurant")["distance_m"].to_list()
    assert metres == pytest.approx([0.0, 1_111.95, 0.0], rel=1e-3, abs=1e-6)


def test_a_home_comes_after_what_events_say_and_before_the_previous_choice() -> None:
    events = [
        Event("ada", "r0", 0, "shown", "a"),
        Event("ada", "r1", 0, "shown", "a"),
        Event("ada", "r1", 2, "chosen", "a"),
        Event("ada", "r1", 12, "shown", "b"),
        Event("ada", "r2", 12, "shown", "b"),
        Event("ada", "r2", 13, "chosen", "b"),
        Event("bo", "r1", 12, "shown", "c"),
        Event("bo", "r2", 12, "shown", "c"),
        Event("bo", "r2", 13, "chosen", "c"),
    ]
    log = frame(events).with_columns(
        latitude=pl.Series([50.01, *[None] * 8]), longitude=pl.Series([10.0, *[None] * 8], dtype=pl.Float64)
    )
    tally = Tally.start()
    at_home = world()._replace(home_lats=np.array([50.03, np.nan, np.nan]), home_lngs=np.array([10.0, np.nan, np.nan]))
    rows = make_lists(log, at_home, tally).rows.sort("user", "time", "restaurant")
    metres = rows["distance_m"].to_list()
    assert metres[:4] == pytest.approx([1_111.95, 0.0, 2_223.9, 1_111.95], rel=1e-3, abs=1e-3)
    assert metres[4:] == [None, None]
    assert tally.notes["lists from the person's home"] == tally.notes["lists from an unknown place"] == 1


def test_a_request_stands_where_the_list_was_seen_and_visits_what_was_chosen() -> None:
    events = [
        Event("bo", "r0", 70, "shown", "a"),
        Event("bo", "r1", 70, "shown", "a"),
        Event("bo", "r1", 75, "chosen", "a"),
    ]
    log = frame(events).with_columns(latitude=pl.lit(50.5), longitude=pl.lit(10.5))
    requests = make_lists(log, world(), Tally.start()).requests
    assert requests.row(0, named=True) == {
        "user": 1,
        "restaurant": 1,
        "latitude": 50.5,
        "longitude": 10.5,
        "visited_at": 75_000_000,
        "at": 70_000_000,
    }


def test_every_outcome_is_in_the_words_of_the_rules() -> None:
    from data.log.rules import WORDS

    assert set(WORDS) == set(Outcome) - {Outcome.OPEN}
    document = (Path(__file__).parents[2] / "docs" / "own-data.md").read_text()
    assert not [words for words in WORDS.values() if f"| {words} |" not in document]
