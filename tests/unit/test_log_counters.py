"""Rows of an imported log know what people did before their own moment, and nothing else."""

import json
import math
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from data.describe import describe
from data.folder.requests import Visits
from data.folder.verdict import judge, look
from data.log.mapfile import read_map
from data.log.write import write_log
from hexbite.counters.definitions import default_counters
from hexbite.errors import DataError
from hexbite.features import FeatureSchema
from hexbite.ids import texts_to_ids
from hexbite.zones import LocalTimes
from training.judging.counted import Counted
from training.reading.tables import read_tables

START = datetime(2026, 3, 2, 8, tzinfo=UTC)
LISTS, SPLIT = 60, 45

MAP = f"""
history = true
[restaurants]
path = "restaurants.csv"
id = "id"
latitude = "lat"
longitude = "lng"
[events]
path = "events.parquet"
user = "user"
restaurant = "restaurant"
time = "ts"
kind = "kind"
label = ["order"]
shown = ["impression"]
ignored = ["click"]
list = "list"
[split]
at = "{(START + timedelta(hours=SPLIT)).isoformat()}"
[counters]
default = ["order"]
lag_s = 0
[counters.features]
own_clicks = {{ events = ["click"], by = "user+restaurant", figure = "count" }}
place_acts = {{ events = ["click", "order"], by = "restaurant", figure = "count" }}
shown_here = {{ events = "impression", by = "user+restaurant", figure = "count" }}
"""

Row = tuple[str, str, datetime, str, str | None]
SCHEMA = {
    "user": pl.String,
    "restaurant": pl.String,
    "ts": pl.Datetime("us", "UTC"),
    "kind": pl.String,
    "list": pl.String,
}


def town() -> list[Row]:
    """A list an hour, of three of nine restaurants to one of seven people; a click and an order in each."""
    rows: list[Row] = []
    for number in range(LISTS):
        at, user = START + timedelta(hours=number), f"u{number % 7}"
        shown = [f"r{(number * 2 + place) % 9}" for place in range(3)]
        rows += [(user, one, at, "impression", str(number)) for one in shown]
        rows.append((user, shown[number % 3], at + timedelta(minutes=2), "click", str(number)))
        rows.append((user, shown[1], at + timedelta(minutes=5), "order", str(number)))
    return rows


def imported(folder: Path, rows: list[Row], text: str = MAP) -> Path:
    folder.mkdir(exist_ok=True)
    pl.DataFrame(rows, schema=SCHEMA, orient="row").write_parquet(folder / "events.parquet")
    numbers = range(9)
    places = {"id": [f"r{n}" for n in numbers], "lat": [38.7] * 9, "lng": [-9.1] * 9, "price": list(numbers)}
    pl.DataFrame(places).write_csv(folder / "restaurants.csv")
    pl.DataFrame({"id": [f"u{n}" for n in range(7)], "age": range(20, 27)}).write_csv(folder / "users.csv")
    (folder / "map.toml").write_text(text)
    source = write_log(read_map(folder / "map.toml"), folder / "out", path=folder / "map.toml")
    assert sum(source["rows"].values()) == source["events"] == len(rows)
    assert not judge(look(folder / "out")).problems
    return folder / "out"


def rows_of(out: Path) -> pl.DataFrame:
    parts = [pl.read_parquet(out / split / "*.parquet") for split in ("train", "test")]
    return pl.concat(parts).sort("time", "user_id", "restaurant_id")


def test_each_row_has_what_was_counted_before_its_list_was_shown(tmp_path: Path) -> None:
    rows = town()
    out = imported(tmp_path / "a", rows)
    schema = FeatureSchema.from_json(json.loads((out / "schema.json").read_text()))
    names = (*(counter.name for counter in default_counters(["order"])), "own_clicks", "place_acts", "shown_here")
    assert schema.counters.names == names
    assert schema.names("context")[-len(names) :] == names
    found = rows_of(out)
    assert set(found.select(names).dtypes) == {pl.Float32}
    assert found["own_clicks"].sum() > 0 and found["own_visits"].sum() > 0
    for row in found.iter_rows(named=True):
        before = [event for event in rows if event[2] < row["time"]]
        here = [event for event in before if event[1] == row["restaurant_id"]]
        own = [event for event in here if event[0] == row["user_id"]]
        kinds = [event[3] for event in own]
        assert row["own_clicks"] == kinds.count("click")
        assert row["shown_here"] == kinds.count("impression")
        assert row["own_visits"] == pytest.approx(math.log1p(kinds.count("order")))
        assert row["place_acts"] == sum(event[3] in ("click", "order") for event in here)
        orders = [event for event in before if event[0] == row["user_id"] and event[3] == "order"]
        assert row["person_visits"] == pytest.approx(math.log1p(len(orders)))


# Features of their own and lists of all that was shown: whatever is ordered, the rows are the same.
OPEN = (
    MAP.replace("history = true\n", "").replace('lng"\n', 'lng"\n[restaurants.features]\nprice = { kind = "number" }\n')
    + """
[users]
path = "users.csv"
id = "id"
[users.features]
age = { kind = "number" }
[lists]
unchosen = "keep"
"""
)


@settings(max_examples=12, deadline=None, phases=[Phase.generate])
@given(data=st.data(), hour=st.integers(1, LISTS - 1))
def test_what_happens_at_a_moment_or_later_changes_no_row_before_or_at_it(data: st.DataObject, hour: int) -> None:
    moment = START + timedelta(hours=hour)
    rows = town()
    changed: list[Row] = []
    for user, restaurant, at, kind, list_ in rows:
        change = "keep"
        if at >= moment and kind != "impression":
            change = data.draw(st.sampled_from(["keep", "drop", "time", "person", "place", "kind"]))
        at = max(moment, at + timedelta(minutes=data.draw(st.integers(-600, 600)))) if change == "time" else at
        user = f"u{data.draw(st.integers(0, 6))}" if change == "person" else user
        restaurant = f"r{data.draw(st.integers(0, 8))}" if change == "place" else restaurant
        kind = {"click": "order", "order": "click"}[kind] if change == "kind" else kind
        if change != "drop":
            changed.append((user, restaurant, at, kind, None if change == "person" else list_))
    with tempfile.TemporaryDirectory() as scratch:
        one, two = (rows_of(imported(Path(scratch) / name, told, OPEN)) for name, told in (("a", rows), ("b", changed)))
    before = pl.col("time") <= moment
    assert one.filter(before).drop("click").equals(two.filter(before).drop("click"))
    assert len(one.filter(before)) == 3 * (hour + 1)


def test_an_order_whose_clock_runs_behind_is_not_counted_in_the_list_that_it_was_made_in(tmp_path: Path) -> None:
    rows = town()
    early = [
        (user, one, at - timedelta(hours=3 * (kind in ("click", "order"))), kind, list_)
        for user, one, at, kind, list_ in rows
    ]
    right, wrong = (rows_of(imported(tmp_path / name, told, OPEN)) for name, told in (("a", rows), ("b", early)))
    # An order is as of its list at the earliest: a moment later, and not three hours before.
    names = ["own_clicks", "place_acts", "own_visits", "person_visits"]
    assert right.select(names).equals(wrong.select(names))
    events = pl.read_parquet(tmp_path / "b" / "out" / "events" / "*.parquet")
    assert events["event_ts"].min() == START


def test_events_lie_in_the_order_of_time_each_once_by_the_companys_ids_and_kinds(tmp_path: Path) -> None:
    rows = town()
    out = imported(tmp_path / "a", [*rows, *rows[3:5], (*rows[3][:4], None)])
    events = pl.read_parquet(out / "events" / "*.parquet")
    assert events.columns == ["user_id", "restaurant_id", "event", "event_ts"]
    assert events.schema["event_ts"] == pl.Datetime("us", "UTC")
    assert events["event_ts"].is_sorted()
    assert set(events.iter_rows()) == {(user, one, kind, at) for user, one, at, kind, _ in rows}
    assert len(events) == len(rows)
    # The same event once more is no other count.
    assert rows_of(out).equals(rows_of(imported(tmp_path / "b", rows)))


def test_places_of_events_and_positions_stand_beside_them(tmp_path: Path) -> None:
    events = 'latitude = "lat"\nlongitude = "lng"\nposition = "rank"\n[split]'
    pl.DataFrame(town(), schema=SCHEMA, orient="row").with_columns(lat=38.71, lng=-9.11, rank=3).write_parquet(
        tmp_path / "events.parquet"
    )
    pl.DataFrame({"id": [f"r{n}" for n in range(9)], "lat": 38.7, "lng": -9.1}).write_csv(tmp_path / "restaurants.csv")
    (tmp_path / "map.toml").write_text(MAP.replace("[split]", events))
    write_log(read_map(tmp_path / "map.toml"), tmp_path / "out", path=tmp_path / "map.toml")
    found = pl.read_parquet(tmp_path / "out" / "events" / "*.parquet")
    assert set(found.select("latitude", "longitude", "position").iter_rows()) == {(38.71, -9.11, 3)}


def test_events_of_people_and_places_without_a_row_count_as_the_store_counts_them(tmp_path: Path) -> None:
    at = START + timedelta(minutes=30)
    strangers: list[Row] = [
        ("nobody", "r2", at, "order", None),
        ("u1", "nowhere", at, "order", None),
        ("nobody", "nowhere", at, "click", None),
    ]
    one, two = (
        rows_of(imported(tmp_path / name, told, OPEN)) for name, told in (("a", town()), ("b", town() + strangers))
    )
    for name, where, more in (
        ("place_acts", pl.col("restaurant_id") == "r2", 1),
        ("person_visits", pl.col("user_id") == "u1", 1),
        ("person_places", pl.col("user_id") == "u1", 1),
    ):
        late = where & (pl.col("time") > at)
        before, after = (rows.filter(late)[name].to_numpy().astype(float) for rows in (one, two))
        if name != "place_acts":
            before, after = np.expm1(before), np.expm1(after)
        assert after == pytest.approx(before + more, abs=1e-4)
        assert one.filter(~late)[name].equals(two.filter(~late)[name])
    events = pl.read_parquet(tmp_path / "b" / "out" / "events" / "*.parquet")
    assert set(strangers) == {(*row[:2], row[3], row[2], None) for row in events.iter_rows() if row[3] == at}


@settings(max_examples=5, deadline=None, phases=[Phase.generate])
@given(data=st.data())
def test_tables_know_nothing_of_the_choices_that_rows_learn_from(data: st.DataObject) -> None:
    rows = town()
    orders = sorted(at for *_, at, kind, _ in rows if kind == "order" and at < START + timedelta(hours=SPLIT))
    begin = orders[len(orders) // 2]
    changed = []
    for user, restaurant, at, kind, list_ in rows:
        if begin < at < START + timedelta(hours=SPLIT) and kind == "order" and data.draw(st.booleans()):
            at = max(begin, at + timedelta(minutes=data.draw(st.integers(-30, 30))))
            shown = [row[1] for row in rows if row[4] == list_ and row[3] == "impression"]
            restaurant = data.draw(st.sampled_from(shown))
        changed.append((user, restaurant, at, kind, list_))
    text = MAP.replace("[split]", "[split]\nhistory = 0.5")
    with tempfile.TemporaryDirectory() as scratch:
        outs = [imported(Path(scratch) / name, told, text) for name, told in (("a", rows), ("b", changed))]
        for table in ("user_features.parquet", "restaurant_features.parquet"):
            assert_frame_equal(*(pl.read_parquet(out / table) for out in outs), check_exact=True)
        tables = pl.read_parquet(outs[0] / "user_features.parquet")
        assert float(np.expm1(tables["log_visits"].cast(pl.Float64)).sum()) == pytest.approx(len(orders) // 2, rel=1e-4)
        train = pl.read_parquet(outs[0] / "train" / "*.parquet")
        assert train["time"].min() >= begin


def test_a_log_without_kinds_counts_its_choices_as_visits(tmp_path: Path) -> None:
    rows = [(user, one, at, kind, None) for user, one, at, kind, _ in town() if kind == "order"]
    text = MAP.replace(
        'kind = "kind"\nlabel = ["order"]\nshown = ["impression"]\nignored = ["click"]\nlist = "list"\n', ""
    )
    text = text[: text.index("[counters]")] + '[counters]\ndefault = "visit"\nlag_s = 0\n[standing]\nmax_age_h = 100\n'
    (tmp_path / "a").mkdir()
    pl.DataFrame(rows, schema=SCHEMA, orient="row").write_parquet(tmp_path / "a" / "events.parquet")
    places = {"id": [f"r{n}" for n in range(9)], "lat": [38.7 + n / 1_000 for n in range(9)], "lng": [-9.1] * 9}
    pl.DataFrame(places).write_csv(tmp_path / "a" / "restaurants.csv")
    (tmp_path / "a" / "map.toml").write_text(text)
    write_log(read_map(tmp_path / "a" / "map.toml"), tmp_path / "a" / "out", path=tmp_path / "a" / "map.toml")
    found = rows_of(tmp_path / "a" / "out")
    events = pl.read_parquet(tmp_path / "a" / "out" / "events" / "*.parquet")
    assert set(events["event"]) == {"visit"} and len(events) == len(rows)
    for row in found.iter_rows(named=True):
        own = [one for one in rows if one[:2] == (row["user_id"], row["restaurant_id"]) and one[2] < row["time"]]
        assert row["own_visits"] == pytest.approx(math.log1p(len(own)))
    assert found["own_visits"].sum() > 0


def test_a_kind_that_counters_name_and_the_log_lacks_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"\[counters\] counts 'clack', which never occurs; the column holds impression"
    ):
        imported(tmp_path / "a", town(), MAP.replace('events = ["click"], by', 'events = ["clack"], by'))
    assert not (tmp_path / "a" / "out").exists()


def test_clicks_that_counters_count_are_no_longer_ignored(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    out = imported(tmp_path / "a", town())
    counts: dict[str, Any] = json.loads((out / "source.json").read_text())["rows"]
    assert counts["of a kind that is counted alone"] == LISTS
    assert "of a kind that the map ignores" not in counts


def test_evaluation_counts_as_the_rows_do(tmp_path: Path) -> None:
    out = imported(tmp_path / "a", town(), OPEN.replace("lag_s = 0", "lag_s = 7200"))
    tables = read_tables(out, wanted=("test",))
    assert tables.events is not None and tables.zones is not None
    rows = pl.read_parquet(out / "test" / "*.parquet")
    users, restaurants = (texts_to_ids(rows[f"{name}_id"].to_list()) for name in ("user", "restaurant"))
    nowhere = np.zeros(len(rows))
    visited, _ = tables.restaurants.known.find(restaurants)
    at_s = rows["time"].dt.epoch("us").to_numpy() / 1e6
    visits = Visits(users, nowhere, nowhere, nowhere, visited, at_s)
    counted = Counted(tables, tables.events, visits)
    local = LocalTimes(rows["hour"].to_numpy().astype(np.float32), rows["weekday"].to_numpy().astype(np.float32))
    found = counted.rows(np.arange(len(rows)), visited.astype(np.int64), local)
    assert found == pytest.approx(rows.select(tables.schema.counters.names).to_numpy(), abs=1e-6)
    assert (counted.are_new(visits) == (rows["own_visits"] == 0).to_numpy()).all()
    assert 0 < counted.are_new(visits).sum() < len(rows)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows.drop("event"), "events/events_0000.parquet, column event: no such column"),
        (lambda rows: rows.with_columns(event=pl.lit(3)), "events/events_0000.parquet, column event: must hold text"),
        (lambda rows: rows.with_columns(user_id=pl.lit(3)), "events_0000.parquet, column user_id: must hold text"),
        (lambda rows: rows.with_columns(event_ts=pl.lit("now")), "event_ts: must be a timestamp"),
        (lambda rows: rows.with_columns(event_ts=pl.lit(None, pl.Datetime("us"))), "event_ts: null"),
        (lambda rows: rows.with_columns(event=pl.lit(None, pl.String)), "event: null"),
        (lambda rows: rows.with_columns(restaurant_id=pl.lit("")), "restaurant_id: is empty"),
        (lambda rows: rows.clear(), "holds no rows"),
    ],
)
def test_what_is_wrong_with_events_is_a_problem_by_file_and_column(tmp_path: Path, change: Any, said: str) -> None:
    out = imported(tmp_path / "a", town())
    path = out / "events" / "events_0000.parquet"
    change(pl.read_parquet(path)).write_parquet(path)
    problems = [str(problem) for problem in judge(look(out)).problems]
    assert len(problems) == 1 and said in problems[0], problems


def test_a_counter_without_its_column_is_a_problem_and_other_kinds_of_events_are_none(tmp_path: Path) -> None:
    out = imported(tmp_path / "a", town())
    events = out / "events" / "events_0000.parquet"
    pl.read_parquet(events).with_columns(event=pl.lit("view")).write_parquet(events)
    assert not describe(out).problems
    assert any("other kinds" in line for line in describe(out).lines)
    path = next((out / "train").glob("*.parquet"))
    pl.read_parquet(path).drop("own_clicks").write_parquet(path)
    (problem,) = judge(look(out)).problems
    assert str(problem) == "train/train_0000.parquet, column own_clicks: no such column"


def test_describe_tells_what_is_counted_and_what_the_rows_have_of_it(tmp_path: Path) -> None:
    lines = describe(imported(tmp_path / "a", town())).lines
    place = lines.index("  own_clicks: events click, by user+restaurant, figure count")
    rows = pl.read_parquet(tmp_path / "a" / "out" / "train" / "*.parquet")["own_clicks"].to_numpy()
    assert lines[place + 1] == f"    0 .. {rows.max():.4g}, {rows.mean():.4g} on average"
    assert f"  order       {LISTS}" in lines
