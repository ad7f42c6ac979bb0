"""Features that lie in tables of their own, a row or many for each person or place."""

import json
import tomllib
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from data.draft.draft import draft_map
from tests.unit.test_log_small import EVENTS, RESTAURANTS, USERS, imported, refused, table

SEATS = [{"place": 1_000 + n, "seats": 10 * n} for n in range(12)]
KITCHENS = [
    {"place": 1_000, "served": "Thai"},
    {"place": 1_000, "served": " Bar "},
    {"place": 1_000, "served": "Thai"},
    {"place": 1_001, "served": "Bar"},
    {"place": 1_002, "served": ""},
    {"place": 5_000, "served": "Pizza"},
]


def with_feature(folder: Path, feature: str, rows: list[dict[str, Any]]) -> str:
    table(folder)
    pl.DataFrame(rows).write_csv(folder / "side.csv", separator=";")
    return USERS + RESTAURANTS + feature + "\n" + EVENTS


def places(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(folder / "out" / "restaurant_features.parquet").sort("restaurant_id")


def test_many_rows_of_a_place_are_its_categories(tmp_path: Path) -> None:
    feature = 'cuisine = { kind = "categories", path = "side.csv", id = "place", column = "served", fill = "missing" }'
    source = imported(tmp_path, with_feature(tmp_path, feature, KITCHENS))
    columns = places(tmp_path).select("cuisine_bar", "cuisine_thai", "cuisine_missing")
    assert columns.rows()[:4] == [(1, 1, 0), (1, 0, 0), (0, 0, 1), (0, 0, 1)]
    assert source["categories"]["restaurants.cuisine"] == {"Bar": 2, "Thai": 1}
    assert source["notes"]["rows of side.csv, for restaurants.cuisine, of an id that is not in [restaurants]"] == 1
    assert not source["dirty"]


def test_one_row_of_a_place_is_a_number_and_a_place_without_one_is_null(tmp_path: Path) -> None:
    feature = 'seats = { kind = "number", path = "side.csv", delimiter = ";", id = "place", fill = "mean" }'
    imported(tmp_path, with_feature(tmp_path, feature, SEATS[:10]))
    assert places(tmp_path)["seats"].to_list() == [*(10.0 * n for n in range(10)), None, None]
    schema = json.loads((tmp_path / "out" / "schema.json").read_text())
    assert [one["fill"] for one in schema["restaurant"] if one["name"] == "seats"] == [45.0]


@pytest.mark.parametrize("kind", ["number", "category", "boolean", "time"])
def test_many_rows_of_a_place_are_no_number_and_no_single_category(tmp_path: Path, kind: str) -> None:
    feature = f'seats = {{ kind = "{kind}", path = "side.csv", id = "place" }}'
    said = rf"side.csv, column place: \[restaurants\] features.seats: .*of 2 restaurants \(1000, 1003\), and a {kind}"
    refused(tmp_path, with_feature(tmp_path, feature, [*SEATS, SEATS[3], SEATS[0]]), said)


def test_rows_without_an_id_are_dirt_and_rows_may_come_in_any_format(tmp_path: Path) -> None:
    feature = 'cuisine = { kind = "categories", path = "side.parquet", id = "place", nulls = ["?"] }'
    text = with_feature(tmp_path, feature, SEATS)
    rows = {"place": [1_000, None, 1_001, 1_002], "cuisine": ["a;b", "a", "?", "c"]}
    pl.DataFrame(rows).write_parquet(tmp_path / "side.parquet")
    source = imported(tmp_path, text)
    assert source["dirty"] == {"rows of side.parquet, for restaurants.cuisine, with a null or faulty id": 1}
    assert source["categories"]["restaurants.cuisine"] == {"a;b": 1, "c": 1}
    split = text.replace('id = "place", n', 'id = "place", separator = ";", n')
    assert imported(tmp_path, split)["categories"]["restaurants.cuisine"] == {"a": 1, "b": 1, "c": 1}
    lists = pl.DataFrame({"place": [1_000, 1_000], "cuisine": [["a", "b"], ["b", None, "d"]]})
    lists.write_parquet(tmp_path / "side.parquet")
    assert imported(tmp_path, text)["categories"]["restaurants.cuisine"] == {"a": 1, "b": 1, "d": 1}


def test_users_have_side_tables_too_with_ids_as_text(tmp_path: Path) -> None:
    table(tmp_path)
    rows = [{"who": f"U{n % 30}", "pays": pays} for n, pays in enumerate(["cash", "card"] * 30)]
    pl.DataFrame(rows).write_csv(tmp_path / "pay.csv")
    users = USERS + 'pays = { kind = "categories", path = "pay.csv", id = "who" }\n'
    imported(tmp_path, users + RESTAURANTS + EVENTS)
    read = pl.read_parquet(tmp_path / "out" / "user_features.parquet")
    assert read["pays_cash"].sum() == read["pays_card"].sum() == 15


@pytest.mark.parametrize(
    ("feature", "said"),
    [
        ('{ kind = "number", id = "place" }', r"\[restaurants.features.*seats.*id is said of a side table"),
        ('{ kind = "number", delimiter = ";" }', "delimiter is said of a side table: give its path, or query"),
        ('{ kind = "number", path = "side.csv" }', "id is wanted beside path or query"),
        ('{ kind = "number", path = "side.csv", query = "SELECT 1", id = "place" }', "give path or query"),
        ('{ kind = "number", path = "side.csv", id = "plce" }', r"seats: no such column; did you mean place"),
        ('{ kind = "number", path = "side.csv", id = "place", column = "chairs" }', "features.seats: no such column"),
        ('{ kind = "number", path = "none.csv", id = "place" }', "none.csv"),
        (
            '{ kind = "number", path = "side.csv", id = "place", pth = "x" }',
            "pth: is no key of a map; did you mean path",
        ),
    ],
)
def test_what_is_wrong_with_a_side_table_is_said_in_words(tmp_path: Path, feature: str, said: str) -> None:
    refused(tmp_path, with_feature(tmp_path, f"seats = {feature}", SEATS), said)


def test_a_draft_gives_files_of_known_ids_to_whom_they_are_about(tmp_path: Path) -> None:
    table(tmp_path)
    kitchens = [{"place": 1_000 + n % 12, "kitchen": ["Thai", "Bar", "Pizza"][n % 5 % 3]} for n in range(30)]
    weather = [{"station": n, "celsius": n / 2} for n in range(12)]
    for name, rows in (("kitchens", kitchens), ("seats", SEATS[:9]), ("weather", weather)):
        pl.DataFrame(rows).write_csv(tmp_path / f"{name}.csv")
    paths = [
        str(tmp_path / f"{name}.csv") for name in ("kitchens", "ratings", "seats", "users", "weather", "restaurants")
    ]
    text = draft_map(paths, folder=tmp_path)
    features = tomllib.loads(text)["restaurants"]["features"]
    assert features["kitchen"] == {"kind": "categories", "path": "kitchens.csv", "id": "place"}
    assert features["seats"] == {"kind": "number", "path": "seats.csv", "id": "place", "fill": "mean"}
    assert "weather.csv: not used" in text
    imported(tmp_path, text)
