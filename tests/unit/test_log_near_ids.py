"""Events of restaurants and users that the tables do not have: why, and whether the spelling alone is to blame."""

from pathlib import Path
from typing import Any

from tests.unit.test_log_small import EVENTS, RESTAURANTS, USERS, imported, table

NEAR = "events of a {} without a row whose id matches one but for case, blanks or Unicode form"


def rated(change: dict[str, str]) -> list[dict[str, Any]]:
    return [
        {"user": change.get(f"Ú{n}", f"Ú{n}"), "place": change.get(f"p{place}", f"p{place}"), "liked": int(place < 2)}
        for n in range(40)
        for place in range(6)
    ]


PEOPLE = [{"user": f"Ú{n}", "age": n, "joined": "2012-03-01"} for n in range(40)]
PLACES = [
    {"place": f"p{n}", "lat": 22.1 if n != 5 else 0, "lng": -100.9 if n != 5 else 0, "price": n} for n in range(6)
]


def test_a_restaurant_without_a_position_is_told_apart_from_one_that_is_in_no_table(tmp_path: Path) -> None:
    folder = table(tmp_path, users=PEOPLE, restaurants=PLACES, ratings=rated({"p4": "q4"}))
    source = imported(folder, USERS + RESTAURANTS + EVENTS)
    assert source["rows"]["of a restaurant whose row has no usable position"] == 40
    assert source["rows"]["of a restaurant without a row"] == 40
    assert NEAR.format("restaurant") not in source["notes"]


def test_ids_that_match_but_for_their_spelling_are_told_and_not_folded(tmp_path: Path) -> None:
    change = {"Ú3": "ú3", "Ú4": "U\u03014", "p1": " p1", "p2": "P2 "}
    source = imported(
        table(tmp_path, users=PEOPLE, restaurants=PLACES, ratings=rated(change)), USERS + RESTAURANTS + EVENTS
    )
    assert source["rows"]["of a user without a row"] == 12
    assert source["notes"][NEAR.format("user")] == 12
    assert source["rows"]["of a restaurant without a row"] == 76
    assert source["notes"][NEAR.format("restaurant")] == 76
