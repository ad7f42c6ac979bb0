"""What a counter may be, and how it travels in a schema."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hexbite.counters.clocks import CLOCKS, PART_OF_DAY, WEEKEND, slots
from hexbite.counters.definitions import By, Counter, Counters, Figure, counter_from_json, default_counters
from hexbite.counters.states import Layout
from hexbite.errors import SchemaError
from hexbite.features import Feature, FeatureSchema

_SHARE = {"name": "a", "events": ["order"], "by": "user+restaurant", "figure": "share", "of": "user"}
_SCHEMA = FeatureSchema.from_names(["age"], ["price"], ["distance_m"])


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("own_visits", 'each is an object with a "name"'),
        ({"events": ["order"]}, 'each is an object with a "name"'),
        (_SHARE | {"half_life": 3}, "counter a: unknown keys half_life"),
        (_SHARE | {"by": "person"}, r'"by" is one of user, restaurant, user\+restaurant, previous'),
        (_SHARE | {"figure": "sum"}, '"figure" is one of count, decayed, distinct, share'),
        (_SHARE | {"of": "everybody"}, '"of" is one of user'),
        (_SHARE | {"events": "order"}, '"events" is a list'),
        (_SHARE | {"events": []}, '"events" names the kinds'),
        (_SHARE | {"events": [""]}, '"events" names the kinds'),
        (_SHARE | {"events": [3]}, '"events" names the kinds'),
        (_SHARE | {"events": ["order", "order"]}, "named twice"),
        (_SHARE | {"clock": "noon"}, "clock 'noon': there are part of day, weekend"),
        (_SHARE | {"clock": 3}, "clock 3: there are"),
        (_SHARE | {"log": 1}, '"log" is true or false'),
        (_SHARE | {"log": True}, "a share has no log"),
        (_SHARE | {"half_life_days": 3}, '"half_life_days" belongs to the figure "decayed"'),
        (_SHARE | {"half_life_days": "3"}, '"half_life_days" is a number'),
        (_SHARE | {"half_life_days": True}, '"half_life_days" is a number'),
        (
            _SHARE | {"figure": "decayed", "of": None},
            '"half_life_days" belongs to the figure "decayed", and that needs',
        ),
        (_SHARE | {"figure": "decayed", "of": None, "half_life_days": 0.04}, "between 1/24 and 10,000, not 0.04"),
        (_SHARE | {"figure": "decayed", "of": None, "half_life_days": 10_001}, "between 1/24 and 10,000"),
        (_SHARE | {"figure": "decayed", "of": None, "half_life_days": float("nan")}, "between 1/24"),
        (_SHARE | {"figure": "count"}, '"of" belongs to the figure "share"'),
        (_SHARE | {"of": None}, '"of" belongs to the figure "share", and that needs it'),
        (_SHARE | {"of": "user+restaurant"}, "a share of the same needs a clock"),
        (_SHARE | {"by": "user", "of": "restaurant"}, 'a share by user is "of" user, not restaurant'),
        (_SHARE | {"figure": "distinct", "of": None}, "distinct are the restaurants of a user"),
        (_SHARE | {"figure": "distinct", "of": None, "by": "user", "clock": "weekend"}, "at any hour"),
        (
            _SHARE | {"figure": "days since last", "of": None, "by": "previous restaurant+restaurant"},
            "takes a transition back",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_by_name(entry: Any, said: str) -> None:
    with pytest.raises(SchemaError, match=said):
        counter_from_json(entry)


@pytest.mark.parametrize("half_life_days", [1 / 24, 10_000])
def test_half_lives_go_from_an_hour_to_10000_days(half_life_days: float) -> None:
    entry = {"name": "a", "events": ["order"], "by": "user", "figure": "decayed", "half_life_days": half_life_days}
    assert counter_from_json(entry).half_life_days == half_life_days


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], '"counters" is an object'),
        ({"counters": []}, '"counters" is an object'),
        ({"features": {}}, '"features" is a list'),
        ({"features": [], "lag_s": "60"}, '"lag_s" is a number'),
        ({"features": [], "lag_s": True}, '"lag_s" is a number'),
        ({"features": [], "lag_s": -1}, "between 0 and a week"),
        ({"features": [], "lag_s": 604_801}, "between 0 and a week"),
        ({"features": [], "lag_s": float("nan")}, "between 0 and a week"),
        ({"features": [_SHARE, _SHARE]}, "a is there more than once"),
        ({"features": [_SHARE | {"name": f"a{number}"} for number in range(129)]}, "129 are too many"),
        (
            {
                "features": [
                    {"name": kind, "events": [kind], "by": "previous restaurant+restaurant", "figure": "count"}
                    for kind in ("click", "order")
                ]
            },
            "all of the same events",
        ),
        ({"features": [_SHARE | {"name": "not one"}]}, "not an identifier"),
        ({"features": [_SHARE | {"name": "user_id"}]}, "taken by a column"),
        ({"features": [_SHARE | {"name": "distance_m"}]}, "names distance_m more than once"),
    ],
)
def test_a_schema_with_counters_that_cannot_be_is_refused(document: Any, said: str) -> None:
    with pytest.raises(SchemaError, match=said):
        FeatureSchema.from_json(_SCHEMA.to_json() | {"counters": document})


def test_counters_come_back_from_a_schema_as_they_were() -> None:
    counters = Counters(default_counters(["order", "click"]), lag_s=60)
    schema = _SCHEMA.with_counters(counters)
    assert FeatureSchema.from_json(json.loads(json.dumps(schema.to_json()))) == schema
    assert schema.names("context") == ("distance_m", *counters.names)
    assert schema.requested == (Feature("distance_m"),)
    assert schema.tells_local_time
    assert counters.kinds == ("click", "order")
    assert counters.visits == ("click", "order")
    assert counters.clocks == (PART_OF_DAY, WEEKEND)
    assert schema.with_counters(Counters()) == _SCHEMA
    assert not _SCHEMA.tells_local_time


def test_the_fingerprint_covers_definitions_and_not_the_lag() -> None:
    counters = Counters(default_counters(["order"]), lag_s=60)
    schema = _SCHEMA.with_counters(counters)
    assert schema.fingerprint == _SCHEMA.with_counters(replace(counters, lag_s=0)).fingerprint
    first, *others = counters.counters
    changed = [
        replace(first, name="other"),
        replace(first, events=("click", "order")),
        replace(first, by=By.USER),
        replace(first, figure=Figure.SINCE_LAST),
        replace(first, clock=WEEKEND),
        replace(first, log=False),
        Counter(first.name, first.events, first.by, Figure.DECAYED, half_life_days=3, log=True),
        Counter(first.name, first.events, first.by, Figure.DECAYED, half_life_days=4, log=True),
        Counter(first.name, first.events, first.by, Figure.SHARE, clock=WEEKEND, of=first.by),
    ]
    found = {_SCHEMA.with_counters(Counters((one, *others))).fingerprint for one in changed}
    assert len(found | {schema.fingerprint, _SCHEMA.fingerprint}) == len(changed) + 2


def test_context_and_counters_agree() -> None:
    counters = Counters(default_counters(["order"]))
    with pytest.raises(SchemaError, match="ends with the counters"):
        replace(_SCHEMA, counters=counters)


def test_parts_of_the_day_and_of_the_week_begin_where_they_say() -> None:
    hours = np.arange(24)
    found = slots(PART_OF_DAY, hours, np.zeros(24))
    assert found.tolist() == [0] * 5 + [1] * 6 + [2] * 4 + [3] * 4 + [4] * 5
    assert np.bincount(found) / 24 == pytest.approx(CLOCKS[PART_OF_DAY])
    assert slots(WEEKEND, np.zeros(7), np.arange(7)).tolist() == [0, 0, 0, 0, 0, 1, 1]
    assert pytest.approx((5 / 7, 2 / 7)) == CLOCKS[WEEKEND]


def test_a_state_has_a_number_once_whoever_needs_it() -> None:
    counters = Counters(default_counters(["order"]))
    # Count, distinct, two decayed, the last time, five parts of the day, two of the week.
    assert Layout.of(counters, By.RESTAURANT).width == 12
    # Count, the last time, five parts of the day.
    assert Layout.of(counters, By.PAIR).width == 7
    assert Layout.of(counters, By.PREVIOUS).width == 1
    assert Layout.of(counters, By.USER).width == 3
