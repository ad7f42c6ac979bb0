"""A map drafted from files: what is sure is right, what is not is marked, and the whole can be used."""

import re
import subprocess
import sys
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from data.draft.draft import draft_map, write_map
from data.draft.features import guess_feature
from data.draft.places import find_pairs
from data.draft.roles import could_be_id
from data.draft.survey import Column, survey
from data.draft.times import tell_times
from data.draft.words import name_to_words
from data.log.mapfile import read_map
from data.log.write import write_log
from hexbite.errors import DataError

ROOT = Path(__file__).parents[2]
USERS, RESTAURANTS, LISTS = 80, 40, 300


def shop(folder: Path) -> list[str]:
    """A shop's three files: customers, merchants, and a log of impressions, clicks and orders in several parts."""
    draws = np.random.default_rng(1)
    users = [f"U{number:04}" for number in range(USERS)]
    restaurants = [f"M-{number}" for number in range(RESTAURANTS)]
    customers = {
        "customer_id": users,
        "age": [str(age) if age > 25 else "" for age in draws.integers(18, 80, USERS)],
        "segment": draws.choice(["gold", "silver"], USERS),
        "tags": [";".join(draws.choice(["vegan", "late", "deals"], 2, replace=False)) for _ in users],
        "signed_up": [f"2023-03-{day:02}" for day in draws.integers(1, 29, USERS)],
        "newsletter": draws.choice(["yes", "no"], USERS),
        "email": [f"{user}@example.com" for user in users],
        "country": ["DE"] * USERS,
    }
    merchants = {
        "merchant_id": restaurants,
        "name": [f"Kitchen {number}" for number in range(RESTAURANTS)],
        "lat": 52.5 + draws.normal(0, 0.01, RESTAURANTS),
        "lng": 13.4 + draws.normal(0, 0.01, RESTAURANTS),
        "tz": ["Europe/Berlin"] * RESTAURANTS,
        "price_level": [None, *draws.integers(1, 5, RESTAURANTS - 1)],
        "cuisines": [["thai", "vegan"] if number % 2 else ["pizza"] for number in range(RESTAURANTS)],
        "hours": ["10:00-22:00", "11:00 - 23:30"] * (RESTAURANTS // 2),
        "website": [f"https://{name}.example.com" for name in restaurants],
    }
    rows: list[tuple[Any, ...]] = []
    for number in range(LISTS):
        user, lat = users[draws.integers(USERS)], 52.5 + draws.normal(0, 0.01)
        at = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=10 * number)
        shown = draws.choice(RESTAURANTS, 5, replace=False)
        seen = [(restaurants[restaurant], "impression", rank) for rank, restaurant in enumerate(shown, start=1)]
        done = [(restaurants[shown[0]], kind, None) for kind in ("click", "order")[: 1 + number % 2]]
        rows += [
            (user, restaurant, at.isoformat(), kind, f"r{number}", rank, lat, 13.4 + lat % 0.01)
            for restaurant, kind, rank in seen + done
        ]
    names = ("customer_id", "merchant_id", "ts", "event_type", "request_id", "rank", "user_lat", "user_lng")
    (folder / "events").mkdir()
    events = pl.DataFrame(rows, schema=names, orient="row")
    events.head(700).write_csv(folder / "events/part-0.csv")
    events.tail(-700).write_csv(folder / "events/part-1.csv")
    pl.DataFrame(customers).write_csv(folder / "customers.csv", separator=";")
    pl.DataFrame(merchants).write_parquet(folder / "merchants.parquet")
    return [str(folder / name) for name in ("merchants.parquet", "events", "customers.csv")]


def document(folder: Path, paths: list[str]) -> dict[str, Any]:
    return tomllib.loads(draft_map(paths, folder=folder))


@pytest.fixture(scope="module")
def drafted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("shop")
    return folder, draft_map(shop(folder), folder=folder)


def test_the_map_of_a_plain_shop_is_right(drafted: tuple[Path, str]) -> None:
    said = tomllib.loads(drafted[1])
    assert said["users"] == {
        "path": "customers.csv",
        "id": "customer_id",
        "features": {
            "age": {"kind": "number", "fill": "missing"},
            "segment": {"kind": "category"},
            "tags": {"kind": "categories", "separator": ";"},
            "signed_up": {"kind": "time", "zone": "UTC"},
            "newsletter": {"kind": "boolean"},
        },
    }
    assert said["restaurants"] == {
        "path": "merchants.parquet",
        "id": "merchant_id",
        "latitude": "lat",
        "longitude": "lng",
        "time_zone": "tz",
        "features": {"price_level": {"kind": "number", "fill": "mean"}, "cuisines": {"kind": "categories"}},
    }
    assert said["events"] == {
        "path": "events",
        "user": "customer_id",
        "restaurant": "merchant_id",
        "time": "ts",
        "kind": "event_type",
        "label": ["order"],
        "shown": ["impression"],
        "ignored": ["click"],
        "list": "request_id",
        "position": "rank",
        "latitude": "user_lat",
        "longitude": "user_lng",
    }
    assert said["split"] == {"test": 0.2}


def test_a_draft_says_what_it_leaves_out_and_why(drafted: tuple[Path, str]) -> None:
    for said in (
        "# email: left out, personal data or free text",
        "# country: left out, the same in every row: DE",
        "# hours: left out, opening hours",
        "# website: left out, web addresses",
        "# name: left out, 40 values in 40 rows",
    ):
        assert said in drafted[1]


def test_a_draft_marks_what_it_cannot_know(drafted: tuple[Path, str]) -> None:
    unsure = [
        line.split(" = ")[0] for line in drafted[1].splitlines() if "# ? " in line and " = " in line and line[0] != "#"
    ]
    assert unsure == ["signed_up", "label", "ignored"]


def test_a_draft_repeats_no_personal_data(drafted: tuple[Path, str]) -> None:
    assert "@example.com" not in drafted[1]


def test_a_draft_can_be_imported_as_it_is(drafted: tuple[Path, str]) -> None:
    (drafted[0] / "MAP.toml").write_text(drafted[1])
    assert read_map(drafted[0] / "MAP.toml").events.label == ("order",)


def test_values_decide_which_file_is_which_whatever_the_names(tmp_path: Path) -> None:
    draws = np.random.default_rng(2)
    a = pl.DataFrame({"k": [f"u{n}" for n in range(50)], "g": draws.choice(["x", "y"], 50)})
    b = pl.DataFrame({"k": [f"p{n}" for n in range(30)], "geo_lat": draws.random(30), "geo_lon": draws.random(30)})
    c = pl.DataFrame(
        {
            "who": [f"u{n}" for n in draws.integers(0, 50, 500)],
            "what": [f"p{n}" for n in draws.integers(0, 30, 500)],
            "t": draws.integers(1_700_000_000_000, 1_710_000_000_000, 500),
        }
    )
    weather = pl.DataFrame({"day": ["2024-01-01", "2024-01-02"], "celsius": [1.5, 2.5]})
    for name, frame in (("1.csv", a), ("2.csv", b), ("3.csv", c), ("4.csv", weather)):
        frame.write_csv(tmp_path / name)
    paths = [str(tmp_path / f"{number}.csv") for number in (4, 3, 2, 1)]
    said = document(tmp_path, paths)
    assert (said["users"]["path"], said["restaurants"]["path"], said["events"]["path"]) == ("1.csv", "2.csv", "3.csv")
    assert (said["events"]["user"], said["events"]["restaurant"]) == ("who", "what")
    assert (said["events"]["time"], said["events"]["unit"]) == ("t", "ms")
    assert f"# {tmp_path}/4.csv: not used" in draft_map(paths, folder=tmp_path)


def test_small_numbers_that_are_ids_of_both_tables_go_by_their_names(tmp_path: Path) -> None:
    draws = np.random.default_rng(3)
    pl.DataFrame({"userId": range(1, 101), "n": draws.integers(0, 9, 100)}).write_csv(tmp_path / "a.csv")
    places = {
        "id": range(1, 41),
        "latitude": draws.random(40),
        "longitude": draws.random(40),
        "stars": draws.random(40),
    }
    pl.DataFrame(places).write_csv(tmp_path / "b.csv")
    log = {
        "venueid": draws.integers(1, 41, 400),
        "userid": draws.integers(1, 101, 400),
        "date": ["05/13/2024 10:00"] * 400,
    }
    pl.DataFrame(log).write_csv(tmp_path / "c.csv")
    events = document(tmp_path, [str(tmp_path / name) for name in ("a.csv", "b.csv", "c.csv")])["events"]
    assert (events["user"], events["restaurant"]) == ("userid", "venueid")
    assert (events["format"], events["zone"]) == ("%m/%d/%Y %H:%M", "UTC")


def test_check_ins_without_a_header_and_tables_are_history(tmp_path: Path) -> None:
    draws = np.random.default_rng(4)
    spots = draws.random((30, 2)).round(6) + 40
    lines = []
    for number in range(600):
        spot = draws.integers(30)
        at = f"2024-01-{1 + number % 28:02}T10:00:00Z"
        lines.append(f"{draws.integers(1, 60)}\t{at}\t{spots[spot][0]:.6f}\t{spots[spot][1]:.6f}\tv{spot}\n")
    (tmp_path / "checkins.tsv").write_text("".join(lines))
    said = document(tmp_path, [str(tmp_path / "checkins.tsv")])
    assert said["history"] is True
    assert "users" not in said
    events = said["events"]
    assert events["header"] is False
    assert (events["user"], events["time"]) == ("column_1", "column_2")
    assert (events["restaurant_latitude"], events["restaurant_longitude"]) == ("column_3", "column_4")


def test_a_column_that_says_what_was_chosen_of_rows_that_were_shown_is_found(tmp_path: Path) -> None:
    draws = np.random.default_rng(5)
    stores = {"store": [f"s{n}" for n in range(20)], "location": [f"52.{n:03},13.{n:03}" for n in range(20)]}
    pl.DataFrame(stores).write_csv(tmp_path / "stores.csv")
    log = {
        "uid": draws.integers(0, 9, 90),
        "store": [f"s{n % 20}" for n in range(90)],
        "clicked": draws.integers(0, 2, 90),
    }
    pl.DataFrame(log | {"when": ["2024-01-01T10:00:00+02"] * 90}).write_csv(tmp_path / "log.csv")
    text = draft_map([str(tmp_path / "stores.csv"), str(tmp_path / "log.csv")], folder=tmp_path)
    said = tomllib.loads(text)
    assert said["events"]["chosen"] == "clicked"
    assert "zone" not in said["events"]
    assert "# ? location holds a whole position in one text" in text
    assert "latitude" not in said["restaurants"]


def test_files_without_events_are_refused_in_words(tmp_path: Path) -> None:
    pl.DataFrame({"id": ["a", "b"], "n": [1, 2]}).write_csv(tmp_path / "a.csv")
    with pytest.raises(DataError, match="looks like events"):
        draft_map([str(tmp_path / "a.csv")], folder=tmp_path)


def column(tmp_path: Path, values: Any, name: str = "c") -> Column:
    frame = pl.DataFrame({"row": range(len(values)), name: values})
    if frame[name].dtype == pl.String:
        frame.write_csv(tmp_path / "t.csv", quote_style="always")
        return survey("t.csv", base=tmp_path, scratch=tmp_path).columns[name]
    frame.write_parquet(tmp_path / "t.parquet")
    return survey("t.parquet", base=tmp_path, scratch=tmp_path).columns[name]


@pytest.mark.parametrize(
    ("name", "values", "keys"),
    [
        ("ts", ["2024-01-01T10:00:00Z", "2024-01-01 10:00:00.5+02:00"], {}),
        ("ts", ["2024-01-01 10:00:00+00", "2024-01-01 10:00 UTC"], {}),
        ("ts", ["2024-01-01 10:00", "2024-12-31T23:59:59"], {"zone": "UTC"}),
        ("day", ["2024-01-01", "2024-12-31"], {"zone": "UTC"}),
        ("ts", [1_700_000_000, 1_710_000_000], {"unit": "s"}),
        ("created_at", ["1700000000.25", "1710000000.5"], {"unit": "s"}),
        ("c", [1_700_000_000_000, 1_710_000_000_000], {"unit": "ms"}),
        ("c", ["1700000000000000", "1710000000000000"], {"unit": "us"}),
        ("c", [1_700_000_000_000_000_000, 1_710_000_000_000_000_000], {"unit": "ns"}),
        ("user_id", [1_700_000_000, 1_710_000_000], None),
        ("c", ["31/12/2024", "01/02/2024"], {"format": "%d/%m/%Y", "zone": "UTC"}),
        ("c", ["12/31/2024 10:00", "01/02/2024 11:00"], {"format": "%m/%d/%Y %H:%M", "zone": "UTC"}),
        ("c", ["31.12.2024 10:00:00", "1.2.2024 11:00:00"], {"format": "%d.%m.%Y %H:%M:%S", "zone": "UTC"}),
        ("c", ["Tue Apr 03 18:00:09 +0000 2012"], {"format": "%a %b %d %H:%M:%S %z %Y"}),
        ("c", ["12/31/2024 10:00 PM", "01/02/2024 1:05 AM"], {"format": "%m/%d/%Y %I:%M %p", "zone": "UTC"}),
        ("c", ["pizza", "thai"], None),
        ("c", [1, 2], None),
        ("c", [datetime(2024, 1, 1, tzinfo=UTC)], {}),
    ],
)
def test_how_times_are_written_is_told(tmp_path: Path, name: str, values: Any, keys: dict[str, Any] | None) -> None:
    written = tell_times(column(tmp_path, values, name))
    assert (None if written is None else written.keys) == keys


def test_days_and_months_that_could_be_either_are_marked(tmp_path: Path) -> None:
    written = tell_times(column(tmp_path, ["01/02/2024", "03/04/2024"]))
    assert written is not None
    assert not written.is_sure
    assert "day or month first? %d/%m/%Y or %m/%d/%Y" in written.why


@pytest.mark.parametrize(
    ("values", "keys"),
    [
        (["a", "b"] * 20, {"kind": "category"}),
        (["a", "b", "", "b"] * 10, {"kind": "category", "fill": "missing"}),
        ([*["a", "b"] * 30, ""], {"kind": "category"}),
        (["1.5", "2"] * 20, {"kind": "number"}),
        ([*["1.5", "2"] * 30, "N/A"], {"kind": "number", "fill": "mean"}),
        ([1.5, float("nan")] * 20, {"kind": "number", "fill": "missing"}),
        (["Y", "N"] * 20, {"kind": "boolean"}),
        ([True, None] * 20, {"kind": "boolean", "fill": "missing"}),
        (["0", "1"] * 20, {"kind": "boolean"}),
        (["a|b", "b"] * 20, {"kind": "categories", "separator": "|"}),
        (["thai, indian", "pizza", "pizza, thai"] * 20, {"kind": "categories", "separator": ","}),
        ([["a"], ["a", "b"]] * 20, {"kind": "categories"}),
        (["010", "020"] * 20, {"kind": "category"}),
        ([], None),
        (["", ""], None),
        (["x"] * 9, None),
        (["1,5", "2,25"] * 20, None),
        ([f"name {number}" for number in range(40)], None),
        ([f"{number}" for number in range(200)], None),
        (["POINT (1 2)", "POINT (3 4)"] * 9, None),
        (["52.5,13.4", "52.6, 13.5"] * 9, None),
        (['{"a": 1}', '{"a": 2}'] * 9, None),
        (["Mo-Fr 10-22", "9am - 5pm"] * 9, None),
        ([*["1", "2"] * 30, "broken"], None),
        ([b"x", b"y"], None),
    ],
)
def test_a_column_makes_the_feature_that_its_values_say(
    tmp_path: Path, values: Any, keys: dict[str, Any] | None
) -> None:
    assert guess_feature(column(tmp_path, pl.Series(values, dtype=pl.String if not values else None))).keys == keys


@pytest.mark.parametrize(
    ("lat", "lng"),
    [
        ("lat", "lng"),
        ("Latitude", "Longitude"),
        ("user_lat", "user_lon"),
        ("venueLat", "venueLong"),
        ("Breitengrad", "Längengrad"),
        ("geo_y", "geo_x"),
        ("latitud", "longitud"),
        ("userlat", "userlng"),
    ],
)
def test_columns_named_as_degrees_are_a_position(tmp_path: Path, lat: str, lng: str) -> None:
    pl.DataFrame({lng: [13.4, 13.5], "z": [1, 2], lat: [52.5, 52.6]}).write_csv(tmp_path / "t.csv")
    (pair,) = find_pairs(survey("t.csv", base=tmp_path, scratch=tmp_path).columns.values())
    assert (pair.latitude, pair.longitude, pair.is_sure) == (lat, lng, True)


def test_degrees_that_are_exchanged_are_put_right_and_marked(tmp_path: Path) -> None:
    pl.DataFrame({"lat": [100.5, 101.0], "lng": [13.4, 13.5]}).write_csv(tmp_path / "t.csv")
    (pair,) = find_pairs(survey("t.csv", base=tmp_path, scratch=tmp_path).columns.values())
    assert (pair.latitude, pair.longitude, pair.is_sure) == ("lng", "lat", False)


def test_numbers_beyond_degrees_are_no_position(tmp_path: Path) -> None:
    pl.DataFrame({"x": [389_000.5, 2.0], "y": [5_819_000.5, 3.0]}).write_csv(tmp_path / "t.csv")
    assert find_pairs(survey("t.csv", base=tmp_path, scratch=tmp_path).columns.values()) == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("customerId", {"customer", "id"}),
        ("userid", {"user", "id"}),
        ("paid", {"paid"}),
        ("flat", {"flat"}),
        ("VENUE-LAT_2", {"venue", "lat"}),
    ],
)
def test_names_fall_into_words(name: str, words: set[str]) -> None:
    assert name_to_words(name) == words


def test_a_fraction_a_time_and_a_list_are_no_ids(tmp_path: Path) -> None:
    for values in ([1.5, 2.0], ["2024-01-01", "2024-01-02"], [["a"], ["b"]]):
        assert not could_be_id(column(tmp_path, values))
    assert could_be_id(column(tmp_path, [1.0, 2.0, None]))


@pytest.mark.parametrize("encoding", ["cp1252", "shift_jis"])
def test_an_encoding_that_fits_is_guessed_and_marked(tmp_path: Path, encoding: str) -> None:
    word = {"cp1252": "Café", "shift_jis": "ラーメン屋、寿司"}[encoding]
    (tmp_path / "t.csv").write_bytes(f"id,name\n1,{word}\n2,{word}\n".encode(encoding))
    table = survey("t.csv", base=tmp_path, scratch=tmp_path)
    assert table.keys == {"encoding": encoding}
    assert table.columns["name"].values == [word]


def test_keys_and_values_with_any_letters_are_toml(tmp_path: Path) -> None:
    shop(tmp_path)
    odd = 'a "b" = #\\c\x7f\té'
    customers = pl.read_csv(tmp_path / "customers.csv", separator=";").rename({"segment": odd})
    customers.write_csv(tmp_path / "customers.csv", separator=";")
    said = document(tmp_path, [str(tmp_path / name) for name in ("customers.csv", "merchants.parquet", "events")])
    assert said["users"]["features"][odd] == {"kind": "category"}


def test_paths_start_at_the_maps_folder_where_they_lie_below_it(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    paths = shop(inside)
    write_map(paths, inside / "MAP.toml", force=False)
    write_map(paths, outside / "MAP.toml", force=False)
    assert tomllib.loads((inside / "MAP.toml").read_text())["users"]["path"] == "customers.csv"
    assert tomllib.loads((outside / "MAP.toml").read_text())["users"]["path"] == str(inside / "customers.csv")


def test_a_map_that_is_there_is_kept_unless_force_is_said(tmp_path: Path) -> None:
    paths = shop(tmp_path)
    out = tmp_path / "MAP.toml"
    out.write_text("mine")
    with pytest.raises(DataError, match="is there already"):
        write_map(paths, out, force=False)
    assert out.read_text() == "mine"
    write_map(paths, out, force=True)
    assert "customers.csv" in out.read_text()


def test_the_command_prints_a_map_and_ends_with_1_where_a_file_cannot_be_read(tmp_path: Path) -> None:
    shop(tmp_path)
    command = [sys.executable, "-m", "data", "map"]
    names = [f"{tmp_path}/{name}" for name in ("customers.csv", "merchants.parquet", "events/")]
    done = subprocess.run([*command, *names], cwd=ROOT, capture_output=True, text=True, check=True)
    assert tomllib.loads(done.stdout)["events"]["path"] == f"{tmp_path}/events/"
    failed = subprocess.run([*command, "none.csv"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert "none.csv: no such file or folder" in failed.stderr.splitlines()[-1]


def rated(folder: Path, *, scale: list[Any], time: bool = False) -> list[str]:
    """People with homes, places, and a table of ratings."""
    draws = np.random.default_rng(5)
    people = {
        "userID": [f"U{n}" for n in range(60)],
        "latitude": draws.uniform(22.1, 22.2, 60).round(5),
        "longitude": draws.uniform(-101, -100.9, 60).round(5),
        "age": draws.integers(18, 70, 60),
    }
    places = {
        "placeID": [f"P{n}" for n in range(30)],
        "latitude": draws.uniform(22.1, 22.2, 30).round(5),
        "longitude": draws.uniform(-101, -100.9, 30).round(5),
        "price": draws.choice(["low", "high"], 30),
    }
    ratings: dict[str, Any] = {
        "userID": [f"U{n}" for n in draws.integers(0, 60, 400)],
        "placeID": [f"P{n}" for n in draws.integers(0, 30, 400)],
        "food_rating": draws.choice(scale, 400),
        "rating": draws.choice(scale, 400),
    }
    if time:
        ratings["when"] = [f"2012-03-{1 + n % 28:02}T12:00:00Z" for n in range(400)]
    for name, columns in (("profile", people), ("geo", places), ("answers", ratings)):
        pl.DataFrame(columns).write_csv(folder / f"{name}.csv")
    return [str(folder / f"{name}.csv") for name in ("profile", "geo", "answers")]


@pytest.mark.parametrize(
    ("scale", "liked"),
    [
        ([0, 1, 2], ["2"]),
        ([1, 2, 3, 4, 5], ["4", "5"]),
        ([0, 1], ["1"]),
        ([0.5, 2.0, 3.5, 4.5, 5.0], ["4.5", "5.0"]),
        ([*range(1, 11)], ["8", "9", "10"]),
    ],
)
def test_a_table_of_ratings_without_times_is_a_log_of_what_was_liked(
    tmp_path: Path, scale: list[Any], liked: list[str]
) -> None:
    said = document(tmp_path, rated(tmp_path, scale=scale))
    assert said["events"] == {
        "path": "answers.csv",
        "user": "userID",
        "restaurant": "placeID",
        "chosen": "rating",
        "chosen_is": liked,
    }
    assert said["users"] == {
        "path": "profile.csv",
        "id": "userID",
        "latitude": "latitude",
        "longitude": "longitude",
        "features": {"age": {"kind": "number"}},
    }
    assert said["restaurants"]["latitude"] == "latitude"


def test_ratings_with_times_keep_them_and_the_draft_can_be_imported(tmp_path: Path) -> None:
    for time in (True, False):
        text = draft_map(rated(tmp_path, scale=[0, 1, 2], time=time), folder=tmp_path)
        assert tomllib.loads(text)["events"].get("time") == ("when" if time else None)
        (tmp_path / "map.toml").write_text(text)
        asked = read_map(tmp_path / "map.toml")
        source = write_log(asked, tmp_path / "out", path=tmp_path / "map.toml")
        assert source["clicks"]["train"]
        assert source["clicks"]["test"]


def visits(folder: Path, **more: Any) -> list[str]:
    """A log of visits and its restaurants, a few of whose ids come twice."""
    draws = np.random.default_rng(4)
    ids = [f"r{number:03}" for number in range(100)]
    twice = ids + ids[:5]
    pl.DataFrame(
        {
            "restaurant_id": twice,
            "lat": 38.7 + draws.normal(0, 0.01, 105),
            "lon": -9.1 + draws.normal(0, 0.01, 105),
            "tz": ["Europe/Lisbon", "Atlantic/Azores", "Europe/Lisbon"] * 35,
        }
    ).write_parquet(folder / "restaurants.parquet")
    pl.DataFrame(
        {
            "person_id": draws.choice([f"p{number}" for number in range(50)], 2_000),
            "restaurant_id": draws.choice(ids, 2_000),
            "arrived_at": [f"2026-03-01 12:{number % 60:02}:{number // 60:02}" for number in range(2_000)],
            "start_lat": 38.7 + draws.normal(0, 0.01, 2_000),
            "start_lon": -9.1 + draws.normal(0, 0.01, 2_000),
        }
        | more
    ).write_parquet(folder / "visits.parquet")
    return [str(folder / "visits.parquet"), str(folder / "restaurants.parquet")]


def test_ids_that_come_again_a_little_name_restaurants_and_are_marked(tmp_path: Path) -> None:
    text = draft_map(visits(tmp_path), folder=tmp_path)
    said = tomllib.loads(text)
    assert said["restaurants"]["id"] == "restaurant_id"
    assert re.search(r'id = "restaurant_id" +# \? 100 different in 105 rows; about 5 come again', text)


def test_where_a_person_set_out_is_no_place_of_a_restaurant(tmp_path: Path) -> None:
    log, restaurants = visits(tmp_path)
    for paths in ([log, restaurants], [log]):
        said = document(tmp_path, paths)["events"]
        assert (said["latitude"], said["longitude"]) == ("start_lat", "start_lon")
        assert "restaurant_latitude" not in said


def test_local_times_of_several_zones_are_said(tmp_path: Path) -> None:
    assert "restaurants lie in 2 (Europe/Lisbon, Atlantic/Azores)" in draft_map(visits(tmp_path), folder=tmp_path)


def test_a_column_few_of_whose_rows_read_as_events_says_nothing_of_what_happened(tmp_path: Path) -> None:
    source = (["gps"] * 15 + ["wifi"] * 4 + ["payment"]) * 100
    text = draft_map(visits(tmp_path, source=source), folder=tmp_path)
    assert "kind" not in tomllib.loads(text)["events"]
    assert "does source say what happened (gps, wifi, payment)?" in text


def test_kinds_that_are_dropped_mark_the_label_with_their_share(tmp_path: Path) -> None:
    kinds = (["order"] * 2 + ["app_opened"] * 2 + ["push"] + ["checkout_started"] * 5) * 200
    text = draft_map(visits(tmp_path, event_name=kinds), folder=tmp_path)
    assert tomllib.loads(text)["events"]["label"] == ["order"]
    assert re.search(r"label = .*# \? .*80% of the rows are of ignored kinds", text)


def test_kinds_that_are_never_in_a_list_were_not_shown_in_one(tmp_path: Path) -> None:
    kinds = (["card_viewed"] * 7 + ["order"] + ["map_viewed"] * 2) * 200
    lists = [None if kind == "map_viewed" else f"l{row // 10}" for row, kind in enumerate(kinds)]
    people = [f"p{row // 10 % 50}" for row in range(2_000)]
    said = document(tmp_path, visits(tmp_path, event_name=kinds, list_request=lists, person_id=people))["events"]
    assert said["list"] == "list_request"
    assert said["shown"] == ["card_viewed"]
    assert said["ignored"] == ["map_viewed"]


@pytest.mark.parametrize("later", ["received_ms", "ingested_at_ms", "updated_ms"])
def test_when_it_happened_is_preferred_to_when_it_was_received_though_a_clock_stood_still(
    tmp_path: Path, later: str
) -> None:
    at = [1_772_986_964_475 + row * 1_000 for row in range(2_000)]
    times = {later: [one + 500 for one in at], "event_ts_ms": [0, *at[1:]]}
    text = draft_map(visits(tmp_path, arrived_at=["x"] * 2_000, **times), folder=tmp_path)
    assert tomllib.loads(text)["events"]["time"] == "event_ts_ms"
    assert re.search(rf"time = .*# \? .*or {later}", text)


@pytest.mark.parametrize("name", ["first_name", "notes", "Surname", "phone_number", "customerName", "home_address"])
def test_personal_data_of_people_is_left_out_and_not_repeated(tmp_path: Path, name: str) -> None:
    log, restaurants = visits(tmp_path)
    values = ["Jordi", "Ana"] * 25
    people = {"person_id": [f"p{number}" for number in range(50)], name: values, "plan": ["a", "b"] * 25}
    pl.DataFrame(people).write_csv(tmp_path / "people.csv")
    text = draft_map([log, restaurants, str(tmp_path / "people.csv")], folder=tmp_path)
    assert set(tomllib.loads(text)["users"]["features"]) == {"plan"}
    assert f"# {name}: left out, personal data" in text
    assert "Jordi" not in text


def test_opening_hours_are_left_out_by_name_and_in_lists(tmp_path: Path) -> None:
    table = pl.DataFrame(
        {"opening_hours.mon": [["closed"], ["late"]], "monday": [["10:00-22:00"], ["11:00-15:00", "18:00-23:00"]]}
    )
    for column in looked(tmp_path, table):
        assert guess_feature(column).keys is None


def looked(folder: Path, table: pl.DataFrame) -> list[Column]:
    table.write_parquet(folder / "looked.parquet")
    return list(survey("looked.parquet", base=folder, scratch=folder).columns.values())


@pytest.mark.parametrize("odd", ["?", "-", "n/a", "unknown", "Unknown"])
def test_texts_that_stand_for_no_value_are_nulls(tmp_path: Path, odd: str) -> None:
    log, restaurants = visits(tmp_path)
    people = {
        "person_id": [f"p{number}" for number in range(50)],
        "weight": [odd, *[str(50 + number) for number in range(49)]],
        "budget": [odd] * 5 + ["low", "high", "medium"] * 15,
    }
    pl.DataFrame(people).write_csv(tmp_path / "people.csv")
    said = document(tmp_path, [log, restaurants, str(tmp_path / "people.csv")])["users"]
    assert odd in said["nulls"]
    assert said["features"]["weight"]["kind"] == "number"
    assert said["features"]["budget"] == {"kind": "category", "fill": "missing"}


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("rating", [-1.0, -1.0, *[5 + number / 10 for number in range(40)]], "2 far below the others (-1)"),
        ("height", [1.44, *range(150, 191)], "1 far below the others (1.44)"),
        ("birth_year", [1900, *range(1950, 2005), 1960], "1 far below the others (1900)"),
    ],
)
def test_numbers_far_below_the_others_are_marked_with_their_count(
    tmp_path: Path, name: str, values: list[float], said: str
) -> None:
    (column,) = looked(tmp_path, pl.DataFrame({name: values}, strict=False))
    guess = guess_feature(column)
    assert said in guess.why
    assert not guess.is_sure


def test_a_log_whose_people_come_back_proposes_their_history(tmp_path: Path) -> None:
    log, restaurants = visits(tmp_path)
    pl.DataFrame({"person_id": [f"p{number}" for number in range(50)], "plan": ["a", "b"] * 25}).write_csv(
        tmp_path / "people.csv"
    )
    table = pl.read_parquet(restaurants).with_columns(stars=pl.arange(105) % 9)
    table.write_parquet(restaurants)
    text = draft_map([log, restaurants, str(tmp_path / "people.csv")], folder=tmp_path)
    assert "# ? history = true: people come back" in text


def test_a_few_rows_with_degrees_exchanged_leave_a_position_that_is_marked(tmp_path: Path) -> None:
    lats, lngs = [22.1 + n / 100 for n in range(40)], [-100.9 + n / 100 for n in range(40)]
    table = pl.DataFrame({"latitude": [*lats, -100.5], "longitude": [*lngs, 22.2]})
    (pair,) = find_pairs(looked(tmp_path, table))
    assert (pair.latitude, pair.longitude, pair.is_sure) == ("latitude", "longitude", False)
    assert "1 values of latitude are no latitudes" in pair.why
