"""The columns of an earlier output, made again of other rows."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from data.describe import describe
from data.log.mapfile import read_map
from data.log.write import write_log
from hexbite.errors import DataError
from hexbite.features import FeatureSchema
from tests.unit.test_log_small import EVENTS, RESTAURANTS, USERS, table

FEATURES = """kitchen = { kind = "category", fill = "missing" }
tags = { kind = "categories", separator = ";" }
seats = { kind = "number", fill = "missing" }
empty = { kind = "category" }
"""


def shop(folder: Path, kitchens: list[str | None], tags: list[str | None], seats: list[Any]) -> Path:
    folder.mkdir()
    places = pl.read_csv(table(folder) / "restaurants.csv").with_columns(
        kitchen=pl.Series(kitchens), tags=pl.Series(tags), seats=pl.Series(seats, dtype=pl.Int64), empty=pl.lit("")
    )
    return table(folder, restaurants=places.to_dicts())


def first(folder: Path) -> Path:
    return shop(folder, ["Thai", "Bar", "Bar", None] * 3, ["a;b", "c", None] * 4, [10, None] * 6)


def second(folder: Path) -> Path:
    return shop(folder, ["Pho", "Bar", "Bar", "Bar"] * 3, ["d", "b", "b"] * 4, [99] * 12)


def log(folder: Path, text: str, like: Path | None = None) -> dict[str, Any]:
    (folder / "map.toml").write_text(text)
    source = write_log(read_map(folder / "map.toml"), folder / "out", path=folder / "map.toml", like=like)
    assert not describe(folder / "out").problems
    return source


def schema_of(folder: Path) -> FeatureSchema:
    return FeatureSchema.from_json(json.loads((folder / "out" / "schema.json").read_text()))


def places(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(folder / "out" / "restaurant_features.parquet").sort("restaurant_id")


@pytest.mark.parametrize("history", ["", "history = true\n"])
def test_other_rows_have_the_columns_and_the_schema_of_the_earlier_output(tmp_path: Path, history: str) -> None:
    text = history + USERS + RESTAURANTS + FEATURES + EVENTS
    one, other = first(tmp_path / "one"), second(tmp_path / "other")
    log(one, text)
    source = log(other, text, like=one / "out")
    assert schema_of(other) == schema_of(one)
    assert schema_of(other).fingerprint == schema_of(one).fingerprint
    assert places(other).columns == places(one).columns
    names = ("kitchen_bar", "kitchen_thai", "kitchen_missing", "tags_b", "seats", "seats_missing")
    assert places(other).select(names).rows()[:2] == [(0, 0, 0, 0, 99, 0), (1, 0, 0, 1, 99, 0)]
    told = "\n".join(source["told"])
    assert "restaurants.kitchen has 1 values without a column in the earlier output ('Pho'): they have no" in told
    assert "restaurants.kitchen has no row with 1 values of the earlier output ('Thai')" in told
    assert "restaurants.tags has 1 values without a column in the earlier output ('d')" in told
    # What was made so can be the earlier output of another.
    log(one, text, like=other / "out")
    assert schema_of(one) == schema_of(other)


def test_the_same_rows_again_are_the_same_folder(tmp_path: Path) -> None:
    text = USERS + RESTAURANTS + FEATURES + EVENTS
    one, other = first(tmp_path / "one"), first(tmp_path / "other")
    log(one, text)
    log(other, text, like=one / "out")
    for name in ("schema.json", "user_features.parquet", "restaurant_features.parquet", "requests.parquet"):
        assert (one / "out" / name).read_bytes() == (other / "out" / name).read_bytes()


def test_the_order_of_the_map_and_of_frequencies_changes_no_column(tmp_path: Path) -> None:
    one, other = first(tmp_path / "one"), second(tmp_path / "other")
    log(one, USERS + RESTAURANTS + FEATURES + EVENTS)
    turned = "".join(reversed(FEATURES.splitlines(keepends=True)))
    log(other, USERS + RESTAURANTS + turned + EVENTS, like=one / "out")
    assert schema_of(other) == schema_of(one)


def test_values_beyond_the_most_frequent_and_new_ones_are_other(tmp_path: Path) -> None:
    text = USERS + RESTAURANTS + 'tags = { kind = "categories", separator = ";" }\n' + EVENTS
    many = [";".join(f"t{n:02}" for n in range(70))] + ["t00"] * 11
    one = shop(tmp_path / "one", ["x"] * 12, [*many], [1] * 12)
    other = shop(tmp_path / "other", ["x"] * 12, ["new"] + ["t00"] * 11, [1] * 12)
    log(one, text)
    source = log(other, text, like=one / "out")
    assert places(other)["tags_other"].to_list() == [1.0] + [0.0] * 11
    assert any("('new'): they are other" in line for line in source["told"])


def test_a_feature_without_values_keeps_its_columns(tmp_path: Path) -> None:
    text = USERS + RESTAURANTS + FEATURES + EVENTS
    one = first(tmp_path / "one")
    other = shop(tmp_path / "other", [None] * 12, [None] * 12, [None] * 12)
    log(one, text)
    log(other, text, like=one / "out")
    assert places(other)["kitchen_missing"].to_list() == [1.0] * 12
    assert places(other)["tags_a"].to_list() == [0.0] * 12
    assert places(other)["seats"].null_count() == 12


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("kitchen =", "tags2 = { kind = 'category', column = 'tags' }\nkitchen =", "restaurants.tags2 is not in"),
        ('tags = { kind = "categories", separator = ";" }\n', "", "restaurants.tags is not in the map"),
        ('tags = { kind = "categories", separator = ";" }', 'tags = { kind = "category" }', "tags was of kind categor"),
        ('"number", fill = "missing"', '"number", fill = "mean"', 'seats had fill = "missing"'),
        ("age = {", "age = { fill = 3,", "age has a fill here, and none there"),
        ("[users]", "history = true\n[users]", "that only this one has: .*log_visits"),
        ('id = "place"', 'id = "place"\nids = "text"', "ids of users and restaurants are text and integer there"),
    ],
)
def test_other_features_are_refused_in_words(tmp_path: Path, old: str, new: str, said: str) -> None:
    text = USERS + RESTAURANTS + FEATURES + EVENTS
    one, other = first(tmp_path / "one"), first(tmp_path / "other")
    log(one, text)
    assert old in text
    with pytest.raises(DataError, match=said):
        log(other, text.replace(old, new, 1), like=one / "out")
    assert not (other / "out").exists()


def test_a_folder_that_is_no_output_is_named(tmp_path: Path) -> None:
    one = first(tmp_path / "one")
    text = USERS + RESTAURANTS + FEATURES + EVENTS
    with pytest.raises(DataError, match=r"schema\.json: cannot be read"):
        log(one, text, like=tmp_path)
    log(one, text)
    (one / "out" / "source.json").write_text("{}")
    with pytest.raises(DataError, match=r"source\.json: does not say under 'columns'"):
        log(first(tmp_path / "other"), text, like=one / "out")
