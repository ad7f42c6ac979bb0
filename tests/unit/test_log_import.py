"""A company's files to a data folder, from the map to the parquet."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.log.features.names import Names, text_to_name
from data.log.mapfile import read_map
from data.log.write import write_log
from hexbite.clock import Clock
from hexbite.errors import DataError
from hexbite.features import RESERVED, FeatureSchema
from hexbite.zones import local_times, zone_to_number

START = datetime(2024, 3, 30, 12, tzinfo=UTC)

USERS = """[users]
path = "users.csv"
id = "user"
[users.features]
"""
RESTAURANTS = """[restaurants]
path = "restaurants.csv"
id = "id"
latitude = "lat"
longitude = "lng"
time_zone = "zone"
[restaurants.features]
price = { kind = "number" }
"""
EVENTS = """[events]
path = "events.csv"
user = "user"
restaurant = "restaurant"
time = "at"
kind = "what"
label = ["order"]
shown = ["seen"]
list = "request"
position = "rank"
"""
AGE = 'age = { kind = "number", fill = "mean" }\n'


def shop(folder: Path, **files: list[dict[str, Any]]) -> Path:
    """Two towns, 6 restaurants, 4 people, 20 lists of 3; ``files`` replace or add some."""
    restaurants = [
        {"id": f"r{number}", "lat": 52.5 + number / 100, "lng": 13.4, "zone": "Europe/Berlin", "price": number}
        for number in range(5)
    ] + [{"id": "r5", "lat": 40.7, "lng": -74.0, "zone": "", "price": 9}]
    users = [{"user": f"u{number}", "age": "" if number == 0 else 20 + number} for number in range(4)]
    events = []
    for number in range(20):
        at = START + timedelta(hours=number)
        row = {"user": f"u{number % 4}", "request": f"q{number}", "at": at.isoformat(), "what": "seen"}
        shown = [f"r{(number + step) % 6}" for step in range(3)]
        events += [row | {"restaurant": name, "rank": rank} for rank, name in enumerate(shown, 1)]
        events.append(row | {"restaurant": shown[1], "rank": "", "what": "order"})
    for name, rows in ({"users": users, "restaurants": restaurants, "events": events} | files).items():
        pl.DataFrame(rows, infer_schema_length=None, strict=False).write_csv(folder / f"{name}.csv")
    return folder


def imported(
    folder: Path,
    users: str = USERS + AGE,
    restaurants: str = RESTAURANTS,
    events: str = EVENTS,
    *,
    strict: bool = False,
) -> dict[str, Any]:
    (folder / "map.toml").write_text(users + restaurants + events)
    source = write_log(read_map(folder / "map.toml"), folder / "out", path=folder / "map.toml", strict=strict)
    assert json.loads((folder / "out" / "source.json").read_text()) == source
    assert sum(source["rows"].values()) == source["events"]
    return source


def events_of(folder: Path) -> list[dict[str, Any]]:
    return pl.read_csv(folder / "events.csv", infer_schema=False).to_dicts()


def rows_of(folder: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(folder / "out" / split / "*.parquet") for split in ("train", "test")])


def user_features(folder: Path, features: str, values: dict[str, list[Any]]) -> tuple[pl.DataFrame, dict[str, Any]]:
    """The user table and what the schema says by name, of four users with some columns."""
    users = [{"user": f"u{n}"} | {name: column[n] for name, column in values.items()} for n in range(4)]
    shop(folder, users=users)
    source = imported(folder, users=USERS + features)
    schema = json.loads((folder / "out" / "schema.json").read_text())
    described = {feature["name"]: feature for feature in schema["user"]}
    return pl.read_parquet(folder / "out" / "user_features.parquet"), described | {"source": source}


def test_text_ids_stay_and_the_folder_is_what_the_schema_says(tmp_path: Path) -> None:
    source = imported(shop(tmp_path), strict=True)
    schema = FeatureSchema.from_json(json.loads((tmp_path / "out" / "schema.json").read_text()))
    assert schema.ids == ("text", "text")
    rows = rows_of(tmp_path)
    assert source["rows"] == {"choices of what was shown": 20, "train": 48, "test": 12}
    assert set(rows["user_id"]) == {"u0", "u1", "u2", "u3"}
    assert rows.columns == [
        *("user_id", "restaurant_id", "click"),
        *("distance_m", "log_distance_m", "hour", "weekday", "list", "time", "position"),
    ]
    assert rows["click"].sum() == 20
    assert rows.filter(click=1)["position"].to_list() == [2] * 20
    assert rows["list"].n_unique() == 20


def test_hour_and_weekday_are_the_restaurants_own_across_a_change_of_the_clock(tmp_path: Path) -> None:
    imported(shop(tmp_path))
    zones = pl.read_parquet(tmp_path / "out" / "restaurant_features.parquet").select("restaurant_id", "time_zone")
    assert dict(zones.iter_rows())["r5"] == "America/New_York"
    for row in rows_of(tmp_path).join(zones, on="restaurant_id").iter_rows(named=True):
        local = row["time"].astimezone(ZoneInfo(row["time_zone"]))
        assert (row["hour"], row["weekday"]) == (local.hour, local.weekday())


@settings(max_examples=60, deadline=None)
@given(
    zone=st.sampled_from(["Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Australia/Lord_Howe", "Etc/GMT+12"]),
    moments=st.lists(st.integers(1_500_000_000, 1_600_000_000), min_size=1, max_size=20),
)
def test_the_clock_of_a_log_agrees_with_that_of_a_request(zone: str, moments: list[int]) -> None:
    clock = Clock(["Asia/Bangkok", zone], min(moments), max(moments))
    hours, weekdays = clock.read(np.ones(len(moments), np.int32), np.array(moments))
    number = np.array([zone_to_number(zone)], np.float32)
    for at, hour, weekday in zip(moments, hours, weekdays, strict=True):
        assert local_times(number, float(at)) == (hour, weekday)


def test_integer_ids_are_integers_and_a_leading_zero_makes_text(tmp_path: Path) -> None:
    shop(tmp_path)
    for name, column in (("users", "user"), ("events", "user")):
        table = pl.read_csv(tmp_path / f"{name}.csv", infer_schema=False)
        table.with_columns(pl.col(column).str.slice(1)).write_csv(tmp_path / f"{name}.csv")
    imported(tmp_path)
    assert rows_of(tmp_path)["user_id"].dtype == pl.Int64
    users = pl.read_csv(tmp_path / "users.csv", infer_schema=False)
    pl.concat([users, pl.DataFrame({"user": ["007"], "age": ["3"]})]).write_csv(tmp_path / "users.csv")
    imported(tmp_path)
    assert set(rows_of(tmp_path)["user_id"]) == {"0", "1", "2", "3"}


FAULTY = {
    "null or faulty user ids": {"user": ""},
    "null or faulty restaurant ids": {"restaurant": "x" * 129},
    "null or unparsable times": {"at": "31/12/2023"},
    "of a kind that the map does not name": {"what": "viewed"},
    "of a user without a row": {"user": "nobody"},
    "of a restaurant without a row": {"restaurant": "nowhere"},
    "at a time far from all others": {"at": "2204-03-30T12:00:00Z"},
    "the same as an earlier row": {},
    "shown again in the same list": {"rank": "7"},
    "choices of what was not shown": {"what": "order", "restaurant": "r5"},
}


@pytest.mark.parametrize("kind", FAULTY)
def test_a_faulty_row_is_counted_by_its_kind_and_stops_strict(tmp_path: Path, kind: str) -> None:
    shop(tmp_path)
    good = imported(tmp_path)
    events = events_of(tmp_path)
    shop(tmp_path, events=[*events, events[0] | FAULTY[kind]])
    source = imported(tmp_path)
    # One choice more moves the split.
    assert _unsplit(source["rows"]) == _unsplit(good["rows"]) | {kind: 1}
    assert source["dirty"] == {f"events {kind}": 1}
    with pytest.raises(DataError, match=rf"map\.toml: --strict.*1 events {kind}"):
        imported(tmp_path, strict=True)


def _unsplit(rows: dict[str, int]) -> dict[str, int]:
    return {what: count for what, count in rows.items() if what not in ("train", "test")} | {
        "rows": rows["train"] + rows["test"]
    }


def test_a_list_id_of_two_people_is_two_lists(tmp_path: Path) -> None:
    shop(tmp_path)
    events = events_of(tmp_path)
    shop(tmp_path, events=[row | {"request": "same"} if row["request"] in ("q0", "q1") else row for row in events])
    source = imported(tmp_path)
    assert source["notes"]["list ids that two people share"] == 1
    assert source["notes"]["train lists"] + source["notes"]["test lists"] == 20


def test_latitude_and_longitude_exchanged_are_told(tmp_path: Path) -> None:
    rows = [{"id": f"r{n}", "lat": 100.5 + n / 100, "lng": 13.7, "zone": "", "price": n} for n in range(6)]
    shop(tmp_path, restaurants=rows)
    with pytest.raises(DataError, match=r"restaurants\.csv, column lat.*look exchanged.*6 rows"):
        imported(tmp_path)


def test_restaurants_that_are_nowhere_are_left_out_and_counted(tmp_path: Path) -> None:
    shop(tmp_path)
    rows = pl.read_csv(tmp_path / "restaurants.csv", infer_schema=False).to_dicts()
    bad = [rows[0] | {"id": "a", "lat": ""}, rows[0] | {"id": "b", "lat": "0", "lng": "0"}]
    bad += [rows[0] | {"id": "c", "lat": "91"}, rows[0] | {"id": ""}, rows[0] | {"price": "4"}]
    shop(tmp_path, restaurants=[*rows, *bad, rows[0] | {"id": "d", "zone": "Europe/Bern"}])
    found = imported(tmp_path)["tables"]["restaurants"]
    assert found == {
        "null or faulty ids": 1,
        "ids that came before": 1,
        "no position": 2,
        "positions out of range": 1,
        "unknown zones, told by position": 1,
    }


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('user = "user"\nrest', 'user = "usr"\nrest', r"events\.csv, column usr: \[events\] user: no such.*mean user"),
        ('"what"', '"nothing"', r"column nothing: \[events\] kind: no such column"),
        (
            '["order"]',
            '["ordered"]',
            r"column what: \[events\] kind: 'ordered' never occurs.*seen \(60\), order \(20\)",
        ),
        ('"rank"', '"rang"', r"column rang: \[events\] position: no such column; did you mean rank"),
        (
            'time = "at"',
            'time = "what"',
            r"events\.csv: \[events\] no row of 80 can be used: 80 null or unparsable times",
        ),
        ('time = "at"', 'time = "at"\nzone = "Europe/Bern"', r"zone 'Europe/Bern' is no time zone"),
    ],
)
def test_what_does_not_fit_the_files_is_said_by_table_key_and_file(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    assert old in EVENTS
    with pytest.raises(DataError, match=said):
        imported(shop(tmp_path), events=EVENTS.replace(old, new))
    assert not (tmp_path / "out").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_numbers_that_are_missing_take_a_value_the_mean_or_an_indicator(tmp_path: Path) -> None:
    features = """a = { kind = "number", fill = 7 }
b = { kind = "number", fill = "mean" }
c = { kind = "number", fill = "missing" }
"""
    values = ["1", "", "NaN", "3"]
    table, schema = user_features(tmp_path, features, {"a": values, "b": values, "c": values})
    assert table["a"].to_list() == table["c"].to_list() == [1, None, None, 3]
    assert [schema[name]["fill"] for name in ("a", "b", "c", "c_missing")] == [7.0, 2.0, 2.0, 1.0]
    assert table["c_missing"].to_list() == [0, 1, 1, 0]
    with pytest.raises(
        DataError, match=r'users\.csv, column a: \[users\] features\.a: is missing.*fill = "mean".*2 rows'
    ):
        user_features(tmp_path, 'a = { kind = "number" }\n', {"a": values})


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("number", "1,5", "is no number.*'1,5'"),
        ("number", "1e39", "is no number that a float32 holds.*'1e39'"),
        ("number", "inf", "is no number that a float32 holds.*'inf'"),
        ("boolean", "maybe", "is neither true.*'maybe'"),
        ("time", "31.12.2023", "is no time.*'31.12.2023'"),
    ],
)
def test_a_value_of_another_kind_is_an_error_that_shows_it(tmp_path: Path, kind: str, value: str, said: str) -> None:
    column = {"number": "1", "boolean": "yes", "time": "2023-01-01"}[kind]
    with pytest.raises(DataError, match=rf"users\.csv, column a: \[users\] features\.a: {said}.*1 rows"):
        user_features(tmp_path, f'a = {{ kind = "{kind}", fill = "mean" }}\n', {"a": [column, value, column, ""]})


def test_booleans_are_read_in_all_their_spellings(tmp_path: Path) -> None:
    table, _ = user_features(
        tmp_path,
        'a = { kind = "boolean" }\nb = { kind = "boolean" }\n',
        {"a": ["TRUE", "no", "t", "0"], "b": ["1", "F", "Yes", "n"]},
    )
    assert table["a"].to_list() == table["b"].to_list() == [1, 0, 1, 0]


def test_categories_are_indicators_whose_names_are_identifiers(tmp_path: Path) -> None:
    table, schema = user_features(
        tmp_path,
        'food = { kind = "category", fill = "missing" }\n',
        {"food": ["Thai & Co", "thai-co", "Ёлка", ""]},
    )
    assert table.columns == ["user_id", "food_thai_co", "food_thai_co_2", "food_ёлка", "food_missing"]
    assert table.row(3) == ("u3", 0, 0, 0, 1)
    assert schema["food_thai_co"]["description"] == "column food: 1 where it is 'Thai & Co'"
    assert schema["source"]["categories"]["users.food"] == {"Thai & Co": 1, "thai-co": 1, "Ёлка": 1}


def test_lists_in_one_text_are_indicators_of_each(tmp_path: Path) -> None:
    table, _ = user_features(
        tmp_path,
        'tags = { kind = "categories", separator = ";" }\n',
        {"tags": ["thai; noodles", "", "thai;;thai", "x"]},
    )
    assert table.drop("user_id").to_dict(as_series=False) == {
        "tags_thai": [1, 0, 1, 0],
        "tags_noodles": [1, 0, 0, 0],
        "tags_x": [0, 0, 0, 1],
    }


def test_of_many_values_the_most_frequent_have_an_indicator_and_the_rest_share_one(tmp_path: Path) -> None:
    shop(tmp_path)
    rows = pl.read_csv(tmp_path / "restaurants.csv", infer_schema=False).to_dicts()
    many = [rows[0] | {"id": f"m{n}", "cuisine": f"c{n % 70:02}"} for n in range(100)]
    shop(tmp_path, restaurants=[*(row | {"cuisine": "c00"} for row in rows), *many])
    source = imported(tmp_path, restaurants=RESTAURANTS + 'cuisine = { kind = "category" }\n')
    table = pl.read_parquet(tmp_path / "out" / "restaurant_features.parquet")
    names = [name for name in table.columns if name.startswith("cuisine_")]
    assert len(names) == 64
    assert names[0] == "cuisine_c00"
    assert names[-1] == "cuisine_other"
    assert (table.select(pl.sum_horizontal(names)).to_series() == 1).all()
    assert source["told"] == ["restaurants.cuisine has 70 values: the 7 rarest are cuisine_other"]


def test_a_time_is_its_age_at_the_split(tmp_path: Path) -> None:
    table, schema = user_features(
        tmp_path,
        'since = { kind = "time", zone = "Asia/Bangkok" }\n',
        {"since": ["2024-01-01", "2024-01-01 07:00:00", "2024-01-01T00:00:00Z", "2023-12-31T17:00:00+00:00"]},
    )
    split = datetime.fromisoformat(schema["source"]["split"])
    days = [
        (split - datetime(2024, 1, 1, hour, tzinfo=ZoneInfo("Asia/Bangkok"))) / timedelta(days=1) for hour in (0, 7)
    ]
    assert table["since"].to_list() == pytest.approx([days[0], days[1], days[1], days[0]], abs=1e-4)


def test_a_column_without_values_is_left_out_and_a_constant_one_told(tmp_path: Path) -> None:
    _, schema = user_features(
        tmp_path,
        'a = { kind = "number", fill = 1 }\nb = { kind = "number" }\nc = { kind = "category" }\n',
        {"a": [""] * 4, "b": ["5"] * 4, "c": ["x"] * 4},
    )
    assert set(schema) == {"b", "c_x", "source"}
    assert schema["source"]["told"] == [
        "users.a holds no value in any row, and is left out",
        "users.b is the same in every row",
        "users.c is the same in every row",
    ] + ["nothing tells where the person was: there is no distance_m"] * ("distance_m" in str(schema["source"]["told"]))


@given(st.lists(st.text(max_size=20), max_size=30))
def test_names_are_identifiers_none_twice_and_none_reserved(texts: list[str]) -> None:
    names = Names()
    given_names = [names.give("column", text) for text in texts] + [Names().give(name) for name in sorted(RESERVED)]
    assert all(name.isidentifier() for name in given_names)
    assert not RESERVED & set(given_names)
    of_texts = given_names[: len(texts)]
    assert len(set(of_texts)) == len(of_texts)


def test_letters_of_any_script_stay_in_a_name() -> None:
    assert text_to_name("Crème Brûlée") == "crème_brûlée"
    assert text_to_name("ラーメン") == "ラーメン"
    assert text_to_name("€€€") == ""


def test_a_column_that_says_of_each_row_whether_it_was_chosen(tmp_path: Path) -> None:
    shop(tmp_path)
    events = [
        row | {"clicked": str(row["rank"] == "2").lower()} for row in events_of(tmp_path) if row["what"] == "seen"
    ]
    shop(tmp_path, events=events)
    old = 'kind = "what"\nlabel = ["order"]\nshown = ["seen"]\n'
    source = imported(tmp_path, events=EVENTS.replace(old, 'chosen = "clicked"\n'))
    assert source["rows"] == {"train": 48, "test": 12}
    assert rows_of(tmp_path).filter(click=1)["position"].to_list() == [2] * 20


def test_history_is_added_to_tables_and_says_nothing_of_who_has_none(tmp_path: Path) -> None:
    shop(tmp_path)
    rows = pl.read_csv(tmp_path / "users.csv", infer_schema=False).to_dicts()
    shop(tmp_path, users=[*rows, {"user": "new", "age": "9"}])
    imported(tmp_path, users="history = true\n" + USERS + AGE)
    table = pl.read_parquet(tmp_path / "out" / "user_features.parquet")
    assert table["age"].to_list() == [None, 21, 22, 23, 9]
    new = table.row(4, named=True)
    assert (new["log_visits"], new["log_repeat"], new["mean_latitude"], new["taste_00"]) == (0.0, None, None, None)


def test_times_may_be_numbers_whose_unit_the_map_says(tmp_path: Path) -> None:
    shop(tmp_path)
    first = rows_of_after(tmp_path, EVENTS)
    events = [row | {"at": round(datetime.fromisoformat(row["at"]).timestamp() * 1_000)} for row in events_of(tmp_path)]
    shop(tmp_path, events=events)
    assert rows_of_after(tmp_path, EVENTS.replace('time = "at"', 'time = "at"\nunit = "ms"')).equals(first)


def rows_of_after(folder: Path, events: str) -> pl.DataFrame:
    imported(folder, events=events)
    return rows_of(folder)
