"""Small public data sets: ratings without times, homes in the table of people."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from data.describe import describe
from data.log.mapfile import read_map
from data.log.write import write_log
from hexbite.errors import DataError

USERS = """[users]
path = "users.csv"
id = "user"
[users.features]
age = { kind = "number" }
joined = { kind = "time" }
"""
RESTAURANTS = """[restaurants]
path = "restaurants.csv"
id = "place"
latitude = "lat"
longitude = "lng"
[restaurants.features]
price = { kind = "number" }
"""
EVENTS = """[events]
path = "ratings.csv"
user = "user"
restaurant = "place"
chosen = "liked"
"""


def table(folder: Path, **files: list[dict[str, Any]]) -> Path:
    """40 people who rated 6 of 12 places each; ``files`` replace or add some."""
    draws = np.random.default_rng(1)
    users = [{"user": f"U{n}", "age": 20 + n % 9, "joined": f"2012-03-{1 + n % 28:02}"} for n in range(40)]
    restaurants = [{"place": 1_000 + n, "lat": 22.1 + n / 100, "lng": -100.9, "price": n % 3} for n in range(12)]
    ratings = [
        {
            "user": f"U{n}",
            "place": 1_000 + int(place),
            "liked": int(rank < 2),
            "rating": 2 if rank < 2 else rank % 2,
            "page": f"{n}-{rank % 2}",
        }
        for n in range(40)
        for rank, place in enumerate(draws.choice(12, 6, replace=False))
    ]
    for name, rows in ({"users": users, "restaurants": restaurants, "ratings": ratings} | files).items():
        pl.DataFrame(rows, infer_schema_length=None).write_csv(folder / f"{name}.csv")
    return folder


def imported(folder: Path, text: str, out: str = "out") -> dict[str, Any]:
    (folder / "map.toml").write_text(text)
    source = write_log(read_map(folder / "map.toml"), folder / out, path=folder / "map.toml")
    assert sum(source["rows"].values()) == source["events"]
    assert not describe(folder / out).problems
    return source


def rows_of(folder: Path, split: str, out: str = "out") -> pl.DataFrame:
    return pl.read_parquet(folder / out / split / "*.parquet")


def refused(folder: Path, text: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        imported(folder, text)
    assert not (folder / "out").exists()


def test_a_log_without_times_has_no_column_of_them_and_a_persons_rows_are_one_list(tmp_path: Path) -> None:
    source = imported(table(tmp_path), USERS + RESTAURANTS + EVENTS)
    assert source["split"] is None
    for split in ("train", "test"):
        rows = rows_of(tmp_path, split)
        assert rows.columns == ["user_id", "restaurant_id", "click", "distance_m", "log_distance_m", "list"]
        assert set(rows.group_by("list").len()["len"]) == {6}
        assert rows.group_by("user_id").agg(pl.col("list").n_unique())["list"].to_list() == [1] * (len(rows) // 6)
    assert not set(rows_of(tmp_path, "train")["user_id"]) & set(rows_of(tmp_path, "test")["user_id"])
    schema = json.loads((tmp_path / "out" / "schema.json").read_text())
    assert schema["context"] == []
    assert pl.read_parquet_schema(tmp_path / "out" / "requests.parquet").keys().isdisjoint({"at", "visited_at"})


def test_the_same_file_in_any_order_gives_the_same_split_and_another_seed_another(tmp_path: Path) -> None:
    folder = table(tmp_path)
    text = USERS + RESTAURANTS + EVENTS
    imported(folder, text)
    one = set(rows_of(folder, "test")["user_id"])
    ratings = pl.read_csv(folder / "ratings.csv")
    ratings[::-1].write_csv(folder / "ratings.csv")
    pl.read_csv(folder / "users.csv")[::-1].write_csv(folder / "users.csv")
    imported(folder, text, "again")
    assert set(rows_of(folder, "test", "again")["user_id"]) == one
    imported(folder, "seed = 1\n" + text, "other")
    assert set(rows_of(folder, "test", "other")["user_id"]) != one
    # Of 40 people a fifth, more or less; a person more moves nobody else.
    assert 3 <= len(one) <= 14
    more = ratings.with_columns(user=pl.lit("Unew"))[:6]
    pl.concat([ratings, more]).write_csv(folder / "ratings.csv")
    people = pl.read_csv(folder / "users.csv")
    pl.concat([people[:1].with_columns(user=pl.lit("Unew")), people]).write_csv(folder / "users.csv")
    imported(folder, text, "more")
    assert set(rows_of(folder, "test", "more")["user_id"]) - {"Unew"} == one


def test_lists_with_ids_stay_whole_without_times(tmp_path: Path) -> None:
    imported(table(tmp_path), "[lists]\nunchosen = 'keep'\n" + USERS + RESTAURANTS + EVENTS + 'list = "page"\n')
    sizes = pl.concat([rows_of(tmp_path, split).group_by("user_id", "list").len() for split in ("train", "test")])
    assert sizes.height == 80
    assert set(sizes["len"]) == {3}
    # A person's two lists are drawn each by itself.
    people = [set(rows_of(tmp_path, split)["user_id"]) for split in ("train", "test")]
    assert people[0] & people[1]


def test_ages_are_measured_at_the_latest_moment_of_their_column_without_times(tmp_path: Path) -> None:
    imported(table(tmp_path), USERS + RESTAURANTS + EVENTS)
    users = pl.read_parquet(tmp_path / "out" / "user_features.parquet")
    ages = dict(users.select("user_id", "joined").iter_rows())
    assert (ages["U27"], ages["U0"], ages["U28"]) == (0, 27, 27)


def test_a_choice_without_a_list_joins_the_persons_impression_whatever_the_time(tmp_path: Path) -> None:
    ratings = [
        {"user": f"U{n}", "place": 1_000 + step, "what": "seen", "page": f"p{n}"}
        for n in range(40)
        for step in range(3)
    ]
    ratings += [{"user": f"U{n}", "place": 1_001, "what": "order", "page": ""} for n in range(40)]
    ratings += [{"user": "U3", "place": 1_009, "what": "order", "page": ""}]
    events = EVENTS.replace('chosen = "liked"', 'kind = "what"\nlabel = ["order"]\nshown = ["seen"]')
    for number, more in enumerate(('list = "page"\n', "")):
        source = imported(table(tmp_path, ratings=ratings), USERS + RESTAURANTS + events + more, f"out{number}")
        assert source["rows"]["choices of what was shown"] == 40
        assert source["rows"]["choices of what was not shown"] == 1
        assert source["rows"]["train"] + source["rows"]["test"] == 120


def test_history_without_times_knows_the_choices_of_train_lists_and_tells_nothing_of_times(tmp_path: Path) -> None:
    imported(table(tmp_path), "history = true\n[split]\nhistory = 0.5\n" + USERS + RESTAURANTS + EVENTS)
    out = tmp_path / "out"
    users, places = (pl.read_parquet(out / f"{name}_features.parquet") for name in ("user", "restaurant"))
    names = {*users.columns, *places.columns}
    assert {"log_visits", "log_places", "log_visitors"} <= names
    assert not {name for name in names if name.endswith("_share") or "recent" in name or name == "event_ts"}
    others = {one for split in ("train", "test") for one in rows_of(tmp_path, split)["user_id"]}
    known = set(users.filter(pl.col("mean_latitude").is_not_null())["user_id"])
    assert known and not known & others and known | others == set(users["user_id"])
    ratings = pl.read_csv(tmp_path / "ratings.csv").filter(pl.col("user").is_in(list(known)), liked=1)
    counted = dict(places.select("restaurant_id", pl.col("log_visits").exp() - 1).iter_rows())
    for place, count in ratings["place"].value_counts().iter_rows():
        assert counted[place] == pytest.approx(count, rel=1e-5)


def test_a_log_of_choices_without_times_draws_its_split_by_person_and_place(tmp_path: Path) -> None:
    ratings = [
        {"user": f"U{n}", "place": 1_000 + (n * 5 + step) % 12, "lat": 22.15, "lng": -100.9}
        for n in range(40)
        for step in range(4)
    ]
    events = EVENTS.replace('chosen = "liked"', 'latitude = "lat"\nlongitude = "lng"')
    more = "[negatives]\nradius_m = 20000\n"
    source = imported(table(tmp_path, ratings=ratings), "history = true\n" + RESTAURANTS + events + more)
    assert sum(source["rows"][name] for name in ("history", "train", "test")) == 160
    assert rows_of(tmp_path, "test")["distance_m"].null_count() == 0
    assert "visited_at" not in pl.read_parquet_schema(tmp_path / "out" / "requests.parquet")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("[split]\nat = 2012-03-04T00:00:00Z\n", r"\[split\] at is about times, and \[events\] names no time"),
        ("[lists]\njoin_h = 2\n", r"\[lists\] join_h is about times"),
        ("[standing]\nmax_age_h = 2\n", r"\[standing\] max_age_h is about times"),
    ],
)
def test_what_only_times_can_tell_is_refused_without_them(tmp_path: Path, more: str, said: str) -> None:
    refused(table(tmp_path), USERS + RESTAURANTS + EVENTS + more, said)


def test_what_a_log_without_times_cannot_know_is_refused_in_words(tmp_path: Path) -> None:
    folder = table(tmp_path)
    refused(folder, USERS + RESTAURANTS + EVENTS + 'zone = "Asia/Bangkok"\n', "name their column, as time")
    refused(folder, "history = true\n" + RESTAURANTS + EVENTS, "all that a person was shown is one list")
    only_choices = EVENTS.replace('chosen = "liked"\n', "")
    refused(folder, USERS + RESTAURANTS + only_choices, "nothing tells where the person stood")
    draws_none = USERS + RESTAURANTS + EVENTS + "[split]\ntest = 0.0001\n"
    refused(folder, draws_none, r"no test list, of those that the seed draws for \[split\] test = 0.0001")


HOMES = 'latitude = "home_lat"\nlongitude = "home_lng"\n'
AT_HOME = USERS.replace("[users.features]", HOMES + "[users.features]")


def at_home(folder: Path, homes: list[tuple[Any, Any]]) -> Path:
    """The small data set with a home for each of the 40 people."""
    users = pl.read_csv(table(folder) / "users.csv").to_dicts()
    rows = [user | {"home_lat": lat, "home_lng": lng} for user, (lat, lng) in zip(users, homes, strict=True)]
    return table(folder, users=rows)


def test_homes_tell_the_distance_of_a_log_that_tells_no_place(tmp_path: Path) -> None:
    homes: list[tuple[Any, Any]] = [(22.1, -100.9)] * 37 + [(None, None), (0, 0), (-100.9, 22.1)]
    source = imported(at_home(tmp_path, homes), AT_HOME + RESTAURANTS + EVENTS)
    assert source["tables"]["users"] == {"latitude and longitude exchanged": 1}
    assert source["notes"]["users without a home"] == source["notes"]["lists from an unknown place"] == 3
    assert source["notes"]["lists from the person's home"] == 37
    rows = pl.concat([rows_of(tmp_path, split) for split in ("train", "test")])
    for user, place, metres in rows.select("user_id", "restaurant_id", "distance_m").iter_rows():
        if user in ("U37", "U38", "U39"):
            assert metres is None
        else:
            assert metres == pytest.approx((place - 1_000) * 1_111.95, rel=1e-3, abs=1e-3)
    requests = pl.read_parquet(tmp_path / "out" / "requests.parquet")
    assert len(requests)
    assert set(requests["latitude"]) == {22.1}


def test_exchanged_homes_are_an_error(tmp_path: Path) -> None:
    refused(
        at_home(tmp_path, [(-100.9, 22.1)] * 40), AT_HOME + RESTAURANTS + EVENTS, r"\[users\] latitude.*look exchanged"
    )


def test_a_log_of_choices_alone_stands_at_home(tmp_path: Path) -> None:
    folder = at_home(tmp_path, [(22.1, -100.9)] * 39 + [(None, None)])
    more = "[negatives]\nradius_m = 20000\n"
    source = imported(folder, AT_HOME + RESTAURANTS + EVENTS.replace('chosen = "liked"\n', "") + more)
    assert source["rows"]["choices from an unknown place"] == 6
    assert source["notes"]["lists from the person's home"] == 39 * 6


def test_values_of_a_column_say_what_was_chosen_by_their_text(tmp_path: Path) -> None:
    by_truth = imported(table(tmp_path), USERS + RESTAURANTS + EVENTS, "truth")
    by_value = EVENTS.replace('"liked"', '"rating"\nchosen_is = [2]')
    source = imported(tmp_path, USERS + RESTAURANTS + by_value)
    assert source["rows"] == by_truth["rows"]
    assert source["kinds"] == {"2": 80, "0": 80, "1": 80}
    for split in ("train", "test"):
        assert rows_of(tmp_path, split).equals(rows_of(tmp_path, split, "truth"))
    # Of a parquet file a float that is whole is the same text.
    pl.read_csv(tmp_path / "ratings.csv").cast({"rating": pl.Float64}).write_parquet(tmp_path / "ratings.parquet")
    floats = by_value.replace("ratings.csv", "ratings.parquet").replace("[2]", "2.0")
    imported(tmp_path, USERS + RESTAURANTS + floats, "floats")
    assert rows_of(tmp_path, "test", "floats").equals(rows_of(tmp_path, "test"))


def test_a_row_without_a_value_says_neither_and_a_value_that_never_occurs_is_an_error(tmp_path: Path) -> None:
    ratings = pl.read_csv(table(tmp_path) / "ratings.csv", infer_schema=False)
    ratings = ratings.with_columns(rating=pl.when(pl.int_range(pl.len()) > 0).then("rating"))
    ratings.write_csv(tmp_path / "ratings.csv")
    by_value = EVENTS.replace('"liked"', '"rating"\nchosen_is = ["2", "3"]')
    refused(tmp_path, USERS + RESTAURANTS + by_value, r"\[events\] chosen_is: '3' never occurs; the column holds")
    source = imported(tmp_path, USERS + RESTAURANTS + by_value.replace(', "3"', ""))
    assert source["rows"]["that say neither chosen nor not"] == 1


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"liked"', '"liked"\nchosen_is = []', "chosen_is is empty"),
        ('chosen = "liked"', "chosen_is = [2]", "name it, as chosen"),
        ('chosen = "liked"', 'kind = "rating"\nlabel = [2]\nshown = [0, 1, 2]', "give chosen and chosen_is in place"),
    ],
)
def test_a_map_says_in_one_way_what_was_chosen(tmp_path: Path, old: str, new: str, said: str) -> None:
    refused(table(tmp_path), USERS + RESTAURANTS + EVENTS.replace(old, new), said)
