"""Positions whose latitude and longitude are exchanged, and people far from all that they were shown."""

from pathlib import Path
from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from data.log.reading.exchanged import exchanged
from tests.unit.test_log_small import EVENTS, RESTAURANTS, USERS, imported, rows_of, table

CITIES = {
    "Lisbon": (38.7, -9.1),
    "Azores": (37.7, -25.7),
    "Madeira": (32.6, -16.9),
    "New York": (40.7, -74.0),
    "Bangkok": (13.7, 100.5),
    "Cairo": (30.0, 31.2),
    "Alexandria": (31.2, 29.9),
    "Lagos": (6.5, 3.4),
    "Sydney": (-33.9, 151.2),
}


@given(st.lists(st.tuples(st.sampled_from(sorted(CITIES)), st.integers(1, 300)), min_size=1, max_size=9))
def test_no_city_is_harmed_by_another(cities: list[tuple[str, int]]) -> None:
    lats = pl.Series([CITIES[name][0] for name, count in cities for _ in range(count)])
    lngs = pl.Series([CITIES[name][1] for name, count in cities for _ in range(count)])
    assert not exchanged(lats, lngs).any()


@given(st.sets(st.integers(0, 99), max_size=19))
def test_a_few_exchanged_positions_of_a_hundred_are_found_in_range_or_out_of_it(rows: set[int]) -> None:
    for lat, lng in (CITIES["Lisbon"], CITIES["Bangkok"]):
        lats = [lng if n in rows else lat for n in range(100)]
        lngs = [lat if n in rows else lng for n in range(100)]
        assert set(exchanged(pl.Series(lats), pl.Series(lngs)).arg_true()) == rows


def test_rows_without_a_position_are_not_exchanged() -> None:
    lats, lngs = [41.4] * 9 + [None, float("nan")], [2.1] * 9 + [41.4, 41.4]
    assert not exchanged(pl.Series(lats), pl.Series(lngs)).any()


def rated(**position: float) -> list[dict[str, Any]]:
    """40 people who rated 6 places each; the first two stood at ``position``."""
    return [
        {"user": f"U{n}", "place": 1_000 + step, "liked": int(step < 2)}
        | (position if n < 2 else {"at_lat": 22.1, "at_lng": 45.0})
        for n in range(40)
        for step in range(6)
    ]


def places(*turned: int) -> list[dict[str, Any]]:
    """12 places; those that are ``turned`` have latitude and longitude exchanged."""
    return [
        {"place": 1_000 + n, "lat": 45.0 if n in turned else 22.1, "lng": 22.1 if n in turned else 45.0, "price": n % 3}
        for n in range(12)
    ]


PLACED = EVENTS + 'latitude = "at_lat"\nlongitude = "at_lng"\n'


def test_an_exchanged_restaurant_has_no_row(tmp_path: Path) -> None:
    source = imported(table(tmp_path, restaurants=places(11)), USERS + RESTAURANTS + EVENTS)
    assert source["tables"]["restaurants"] == {"latitude and longitude exchanged": 1}
    assert source["dirty"]["restaurants: latitude and longitude exchanged"] == 1
    assert source["restaurants"] == 11


def test_an_exchanged_position_of_a_person_counts_as_none(tmp_path: Path) -> None:
    ratings = rated(at_lat=45.0, at_lng=22.1)
    source = imported(table(tmp_path, restaurants=places(), ratings=ratings), USERS + RESTAURANTS + PLACED)
    assert source["dirty"]["events with latitude and longitude exchanged"] == 12
    rows = pl.concat([rows_of(tmp_path, split) for split in ("train", "test")])
    assert rows["distance_m"].null_count() == 12


def test_a_list_of_a_person_far_from_all_that_was_shown_is_from_an_unknown_place(tmp_path: Path) -> None:
    ratings = rated(at_lat=52.5, at_lng=13.4)
    source = imported(table(tmp_path, restaurants=places(), ratings=ratings), USERS + RESTAURANTS + PLACED)
    assert source["notes"]["lists of a person more than 200 km from all that was shown"] == 2
    rows = pl.concat([rows_of(tmp_path, split) for split in ("train", "test")])
    assert rows["distance_m"].null_count() == 12
    assert rows["distance_m"].max() < 1_000
