"""Data folders into the store: all or nothing, the same twice, and every bad row named."""

import csv
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psycopg
import pytest

from db.loading.load import Mode, load
from db.loading.move import move
from db.migrate import upgrade
from db.status import status
from hexbite.errors import DataError, StoreError, StoreUnavailable
from hexbite.features import Feature, FeatureSchema
from hexbite.folder import RESTAURANTS, SCHEMA, USERS
from hexbite.geo import degrees_to_cell, degrees_to_cells

ROOT = Path(__file__).parents[2]
MONDAY = datetime(2026, 3, 2, 12, tzinfo=UTC)


def users(count: int = 50, **columns: Any) -> pl.DataFrame:
    ids = np.arange(count) * 7 - 20
    return pl.DataFrame({"user_id": ids, "a": ids * 0.5, "b": np.arange(count)} | columns)


def restaurants(count: int = 40, **columns: Any) -> pl.DataFrame:
    draws = np.random.default_rng(1)
    keys = {"restaurant_id": np.arange(count), "latitude": draws.uniform(-80, 80, count)}
    return pl.DataFrame(
        keys | {"longitude": draws.uniform(-180, 180, count), "c": np.arange(count, dtype=np.int32)} | columns
    )


def write(folder: Path, *, users: pl.DataFrame | None = None, restaurants: pl.DataFrame | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    for name, frame in ((USERS, users), (RESTAURANTS, restaurants)):
        if frame is not None:
            frame.write_parquet(folder / name)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "data", users=users(), restaurants=restaurants())


def everything(dsn: str) -> dict[str, list[Any]]:
    with psycopg.connect(dsn) as connection:
        return {
            table: connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
            for table in ("feature_schemas", "users", "restaurants")
        }


def one(dsn: str, statement: str, *parameters: Any) -> Any:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(statement, parameters).fetchone()
    assert row is not None
    return row[0] if len(row) == 1 else row


def test_rows_arrive_as_they_are_and_restaurants_under_their_cells(migrated_database: str, folder: Path) -> None:
    loaded = load(migrated_database, folder)
    assert (loaded["users"].inserted, loaded["restaurants"].inserted) == (50, 40)
    stored = everything(migrated_database)
    assert [(row[1], row[2]) for row in stored["users"]] == [(i * 7 - 20, [(i * 7 - 20) * 0.5, i]) for i in range(50)]
    frame = restaurants()
    cells = degrees_to_cells(frame["latitude"].to_numpy(), frame["longitude"].to_numpy())
    rows = [(row[1], row[2], row[3], row[4], row[5]) for row in stored["restaurants"]]
    expected = zip(
        *(frame[name] for name in ("restaurant_id", "latitude", "longitude")), cells, frame["c"], strict=True
    )
    assert rows == [(*row[:4], [row[4]]) for row in expected]


#: Where `everything` has the event time of a row.
TIME = {"users": 3, "restaurants": 6}
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
AGED = [f"UPDATE {table} SET event_ts = '2020-01-01 00:00:00+00'" for table in TIME]


def timeless(row: tuple[Any, ...], table: str) -> tuple[Any, ...]:
    return row[: TIME[table]] + row[TIME[table] + 1 :]


@pytest.mark.parametrize("mode", ["replace", "upsert"])
def test_a_second_load_changes_nothing_but_gives_every_row_the_time_at_which_it_was_found_unchanged(
    migrated_database: str, folder: Path, tmp_path: Path, mode: Mode
) -> None:
    load(migrated_database, folder)
    wider = write(tmp_path / "wider", users=users(20, z=[1.5] * 20), restaurants=restaurants(20, z=[1.5] * 20))
    load(migrated_database, wider)
    before = changed_by_hand(migrated_database, *AGED)
    write(folder, users=users(b=[99, *range(1, 50)]))
    again = load(migrated_database, folder, mode=mode)
    assert (again["users"].updated, again["users"].unchanged) == (1, 49)
    assert (again["restaurants"].updated, again["restaurants"].unchanged) == (0, 40)
    after = everything(migrated_database)
    ours = before["users"][0][0]
    assert after["users"][0][2] == [-10.0, 99.0]
    times = set()
    for table, at in TIME.items():
        for old, new in zip(before[table], after[table], strict=True):
            if old[0] != ours:
                assert new == old
                continue
            times.add(new[at])
            assert timeless(new, table) == timeless(old, table) or new[1] == -20
    # The one of the load.
    (time,) = times
    assert time > LONG_AGO


@pytest.mark.parametrize("mode", ["replace", "upsert"])
def test_an_unchanged_row_is_confirmed_only_where_the_folder_tells_no_time_and_never_taken_back_by_an_upsert(
    migrated_database: str, tmp_path: Path, mode: Mode
) -> None:
    told = pl.Series("event_ts", [LONG_AGO, None, None], dtype=pl.Datetime("us", "UTC"))
    folder = write(tmp_path / "timed", users=users(3, event_ts=told), restaurants=restaurants(3, event_ts=told))
    load(migrated_database, folder)
    later = datetime.now(UTC) + timedelta(days=9)
    before = changed_by_hand(
        migrated_database,
        *AGED,
        f"UPDATE users SET event_ts = '{later}' WHERE user_id = -6",
        f"UPDATE restaurants SET event_ts = '{later}' WHERE restaurant_id = 2",
    )
    again = load(migrated_database, folder, mode=mode)
    after = everything(migrated_database)
    for table, at in TIME.items():
        first, second, third = (row[at] for row in after[table])
        assert first == LONG_AGO
        assert LONG_AGO < second < later
        assert third == (later if mode == "upsert" else second)
        assert [timeless(row, table) for row in after[table]] == [timeless(row, table) for row in before[table]]
        assert (again[table].unchanged, again[table].older) == ((2, 1) if mode == "upsert" else (3, 0))


def test_rows_that_an_upsert_does_not_mention_keep_their_time(migrated_database: str, folder: Path) -> None:
    load(migrated_database, folder)
    before = changed_by_hand(migrated_database, *AGED)
    write(folder, users=users(10), restaurants=restaurants(10))
    load(migrated_database, folder, mode="upsert")
    after = everything(migrated_database)
    for table, at in TIME.items():
        assert after[table][10:] == before[table][10:]
        assert all(row[at] > LONG_AGO for row in after[table][:10])


def test_what_the_folder_no_longer_holds_is_removed_by_replace_and_kept_by_upsert(
    migrated_database: str, folder: Path
) -> None:
    load(migrated_database, folder)
    write(folder, users=users(10), restaurants=restaurants(10))
    assert load(migrated_database, folder, mode="upsert")["users"].deleted == 0
    assert one(migrated_database, "SELECT count(*) FROM users") == 50
    assert load(migrated_database, folder)["users"].deleted == 40
    assert one(migrated_database, "SELECT count(*) FROM users") == 10
    assert one(migrated_database, "SELECT count(*) FROM restaurants") == 10


def changed_by_hand(dsn: str, *statements: str) -> dict[str, list[Any]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())
    return everything(dsn)


def test_a_fill_loads_an_empty_store_and_a_second_one_undoes_nothing_that_was_changed_since(
    migrated_database: str, folder: Path
) -> None:
    (folder / SCHEMA).write_text(
        json.dumps(FeatureSchema((Feature("a", 1.0), Feature("b")), (Feature("c"),)).to_json())
    )
    filled = load(migrated_database, folder, mode="fill")
    assert (filled["users"].inserted, filled["restaurants"].inserted) == (50, 40)
    after = changed_by_hand(
        migrated_database,
        "UPDATE users SET features = '{4711, 4712}' WHERE user_id = -20",
        "DELETE FROM users WHERE user_id = -13",
        "DELETE FROM restaurants WHERE restaurant_id = 3",
    )
    # What the folder now says beside: other rows, and another fill.
    (folder / SCHEMA).write_text(
        json.dumps(FeatureSchema((Feature("a", 2.0), Feature("b")), (Feature("c"),)).to_json())
    )
    write(folder, users=users(60, b=[9] * 60))
    assert load(migrated_database, folder, mode="fill") == {}
    assert everything(migrated_database) == after


@pytest.mark.parametrize("emptied", ["users", "restaurants"])
def test_a_table_that_somebody_emptied_is_not_filled_again_beside_one_with_rows(
    migrated_database: str, folder: Path, emptied: str
) -> None:
    load(migrated_database, folder, mode="fill")
    after = changed_by_hand(migrated_database, f"DELETE FROM {emptied}")
    assert load(migrated_database, folder, mode="fill") == {}
    assert everything(migrated_database) == after


def test_rows_of_other_features_keep_no_store_from_being_filled_and_stay_as_they_are(
    migrated_database: str, folder: Path, tmp_path: Path
) -> None:
    load(migrated_database, folder)
    before = changed_by_hand(migrated_database, "UPDATE users SET features = '{4711, 4712}' WHERE user_id = -20")
    wider = write(tmp_path / "wider", users=users(20, z=[1.5] * 20), restaurants=restaurants(20))
    assert load(migrated_database, wider, mode="fill")["users"].inserted == 20
    after = everything(migrated_database)
    assert [row for row in after["users"] if row[0] == before["users"][0][0]] == before["users"]
    # Registered, but every row gone: empty again.
    changed_by_hand(migrated_database, "DELETE FROM users WHERE cardinality(features) = 3", "DELETE FROM restaurants")
    assert load(migrated_database, wider, mode="fill")["restaurants"].inserted == 20


def test_of_two_fills_at_once_one_loads_and_the_other_leaves_it_alone(migrated_database: str, folder: Path) -> None:
    command = [sys.executable, "-m", "db", "load", str(folder), "--mode", "fill"]
    environment = os.environ | {"DATABASE_URL": migrated_database}
    with psycopg.connect(migrated_database) as holder:
        holder.execute("LOCK TABLE users IN SHARE MODE")
        fills = [
            subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)
        ]
        # Both have seen an empty store, and wait for the lock.
        with psycopg.connect(migrated_database, autocommit=True) as watcher:
            waiting = (
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'LOCK TABLE%'"
            )
            while watcher.execute(waiting).fetchone() != (2,):
                assert [fill.poll() for fill in fills] == [None, None]
    said = sorted(fill.communicate(timeout=60)[0] for fill in fills)
    assert [fill.returncode for fill in fills] == [0, 0]
    assert said[0].startswith("left alone: ")
    assert said[1].startswith("users: 50 new, ")
    assert one(migrated_database, "SELECT count(*) FROM users") == 50


def test_event_times_come_from_the_data_and_a_late_event_never_overwrites_a_newer_one(
    migrated_database: str, tmp_path: Path
) -> None:
    times = [MONDAY + timedelta(hours=hour) for hour in range(50)]
    folder = write(tmp_path / "timed", users=users(event_ts=times), restaurants=restaurants())
    load(migrated_database, folder)
    stamp = "SELECT event_ts, features[2] FROM users WHERE user_id = %s"
    assert one(migrated_database, stamp, -20) == (MONDAY, 0.0)
    late = users(3, b=[70, 71, 72], event_ts=[MONDAY + timedelta(hours=1)] * 3)
    load(migrated_database, write(tmp_path / "timed", users=late), mode="upsert")
    # Stored: hours 0, 1 and 2. The event of hour 1 wins over the first, and over its equal, and loses to the third.
    assert [one(migrated_database, stamp, id_)[1] for id_ in (-20, -13, -6)] == [70.0, 71.0, 2.0]
    assert one(migrated_database, stamp, -20)[0] == MONDAY + timedelta(hours=1)
    report = load(migrated_database, folder, mode="upsert")["users"]
    assert (report.older, report.updated, report.unchanged) == (1, 0, 2)


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_event_times_of_any_unit_and_zone_mean_the_same_moment(
    migrated_database: str, tmp_path: Path, unit: Any
) -> None:
    moments = pl.Series("event_ts", [MONDAY, None]).cast(pl.Datetime(unit, "UTC"))
    aware = moments.dt.convert_time_zone("Asia/Bangkok")
    naive = moments.dt.replace_time_zone(None)
    untold = pl.Series("event_ts", [None, None], dtype=pl.Null)
    load(migrated_database, write(tmp_path / "untold", users=users(2, event_ts=untold), restaurants=restaurants()))
    for number, column in enumerate((moments, aware, naive)):
        folder = write(tmp_path / str(number), users=users(2, event_ts=column), restaurants=restaurants())
        load(migrated_database, folder)
        assert one(migrated_database, "SELECT event_ts FROM users WHERE user_id = -20") == MONDAY
        null_one = one(migrated_database, "SELECT event_ts FROM users WHERE user_id = -13")
        assert datetime.now(UTC) - null_one < timedelta(minutes=5)


@pytest.mark.parametrize("unit", ["ms", "us"])
def test_an_event_time_beyond_the_calendar_rejects_its_row(migrated_database: str, tmp_path: Path, unit: Any) -> None:
    # Nanoseconds that somebody labelled with another unit.
    far = pl.Series("event_ts", [1_760_000_000_000_000_000, 1_000]).cast(pl.Datetime(unit, "UTC"))
    folder = write(tmp_path / "far", users=users(2, event_ts=far), restaurants=restaurants())
    rejections = load(migrated_database, folder, max_rejected=0.5)["users"].rejections
    assert [(row.id, "before year 1 or after year 9999" in row.reason) for row in rejections] == [(-20, True)]


@pytest.mark.parametrize("unit", ["d", "ms", "us"])
def test_the_first_and_the_last_moment_of_the_calendar_are_stored_and_shown_and_those_beyond_reject_their_rows(
    migrated_database: str, tmp_path: Path, unit: str
) -> None:
    tick = {"d": 86_400_000_000, "ms": 1_000, "us": 1}[unit]
    first, end = -62_135_596_800_000_000 // tick, 253_402_300_800_000_000 // tick
    times = pl.Series("event_ts", [first - 1, first, end - 1, end])
    times = times.cast(pl.Int32).cast(pl.Date) if unit == "d" else times.cast(pl.Datetime(unit))
    folder = write(
        tmp_path / "edge", users=users(4, event_ts=times), restaurants=restaurants(4, event_ts=times.reverse())
    )
    loaded = load(migrated_database, folder, max_rejected=0.5)
    assert [[row.row for row in loaded[table].rejections] for table in TIME] == [[0, 3], [0, 3]]
    # In the server's time zone, the last of them lies beyond the calendar.
    lines = status(psycopg.conninfo.make_conninfo(migrated_database, options="-c timezone=Pacific/Kiritimati"))
    assert any("users        2, newest event 9999-12-31" in line for line in lines)


def test_bad_rows_are_named_and_nothing_else_is_lost(migrated_database: str, folder: Path, tmp_path: Path) -> None:
    load(migrated_database, folder)
    bad_users = users(b=[float("nan"), None, float("inf"), 1e300, *range(4, 50)], event_ts=[MONDAY] * 50)
    bad_users = pl.concat([bad_users, bad_users.filter(user_id=8), bad_users.head(1).with_columns(user_id=None)])
    frame = restaurants(latitude=[91.0, None, *restaurants()["latitude"][2:]], c=list(range(100, 140)))
    write(folder, users=bad_users, restaurants=frame)
    rejected = tmp_path / "rejected.csv"
    finished = subprocess.run(
        [sys.executable, "-m", "db", "load", str(folder), "--rejected", str(rejected), "--max-rejected", "0.2"],
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": migrated_database},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    assert "user_features.parquet row 1, id -13: b: null without a fill" in finished.stderr
    with rejected.open() as file:
        rows = {(row["table"], row["id"]): row["reason"] for row in csv.DictReader(file)}
    assert {id_ for table, id_ in rows if table == "users"} == {"-20", "-13", "-6", "1", "8", ""}
    assert {id_ for table, id_ in rows if table == "restaurants"} == {"0", "1"}
    assert "NaN" in rows["users", "-20"]
    assert "outside -90..90" in rows["restaurants", "0"]
    # What was stored under a rejected id is still there, and whatever is good is new.
    assert one(migrated_database, "SELECT count(*) FROM users") == 50
    assert one(migrated_database, "SELECT features[2] FROM users WHERE user_id = -13") == 1.0
    assert one(migrated_database, "SELECT features[1] FROM restaurants WHERE restaurant_id = 0") == 0.0
    assert one(migrated_database, "SELECT count(*) FROM restaurants WHERE features[1] >= 100") == 38


def twice(ids: list[int | None], hours: list[int | None] | None = None, a: Any = 0.0) -> pl.DataFrame:
    """Users whose second feature tells which row of the file was kept."""
    a = pl.Series(a if isinstance(a, list) else [a] * len(ids), dtype=pl.Float64)
    frame = pl.DataFrame({"user_id": ids, "a": a, "b": range(len(ids))})
    if hours is not None:
        times = [None if hour is None else MONDAY + timedelta(hours=hour) for hour in hours]
        frame = frame.with_columns(pl.Series("event_ts", times, dtype=pl.Datetime("us", "UTC")))
    return frame


NAN = float("nan")


@pytest.mark.parametrize(
    ("frame", "kept", "reasons"),
    [
        (twice([1, 1, 1], [3, 9, 5], a=[0, NAN, 0]), {1: 2}, {0: "once", 1: "NaN"}),
        (twice([1, 1, 1], [3, 9, 5], a=[0, NAN, NAN]), {1: 0}, {1: "NaN", 2: "NaN"}),
        (twice([1, 1, 2], [3, 9, 9], a=[None, NAN, 0]), {2: 2}, {0: "null", 1: "NaN"}),
        (twice([1, 1, 1], [5, 5, 5], a=[NAN, 0, 0]), {1: 1}, {0: "NaN", 2: "once"}),
        (twice([1, 1, 1], [None, 4, None], a=[0, NAN, 0]), {1: 0}, {1: "NaN", 2: "once"}),
        (twice([1, 1, 1], [None, 4, 3]), {1: 1}, {0: "once", 2: "once"}),
        (twice([1, 1, 1], a=[NAN, 0, 0]), {1: 1}, {0: "NaN", 2: "once"}),
        (twice([None, 1, None, 1], a=[0, NAN, 0, 0]), {1: 3}, {0: "user_id: null", 1: "NaN", 2: "user_id: null"}),
        (twice([1, 2, 1, 2], [1, 2, 3, 4], a=[0, 0, NAN, NAN]), {1: 0, 2: 1}, {2: "NaN", 3: "NaN"}),
    ],
)
@pytest.mark.parametrize("mode", ["replace", "upsert"])
def test_of_rows_with_one_id_the_newest_that_can_be_used_is_kept_and_every_other_has_its_own_reason(
    migrated_database: str, tmp_path: Path, frame: pl.DataFrame, kept: dict[int, int], reasons: Any, mode: Mode
) -> None:
    folder = write(tmp_path / "data", users=users(2, user_id=[100, 101]), restaurants=restaurants())
    load(migrated_database, folder)
    (folder / SCHEMA).write_text(json.dumps(FeatureSchema.from_names(["a", "b"], ["c"]).to_json()))
    report = load(migrated_database, write(folder, users=frame), mode=mode, max_rejected=1.0)["users"]
    with psycopg.connect(migrated_database) as connection:
        stored = connection.execute("SELECT user_id, features[2] FROM users WHERE user_id < 100").fetchall()
    assert dict(stored) == kept
    assert {row.row: row.reason for row in report.rejections}.keys() == reasons.keys()
    assert all(reasons[row.row] in row.reason for row in report.rejections)
    assert report.inserted == len(kept)


def test_a_row_whose_time_or_place_cannot_be_used_yields_to_an_older_one(
    migrated_database: str, tmp_path: Path
) -> None:
    year_10000 = 253_402_300_800_000
    times = pl.Series([round(MONDAY.timestamp() * 1_000), year_10000])
    folder = write(
        tmp_path / "data",
        users=users(2, user_id=[1, 1], event_ts=times.cast(pl.Datetime("ms"))),
        restaurants=restaurants(2, restaurant_id=[1, 1], latitude=[8.0, 91.0], event_ts=[MONDAY, MONDAY]),
    )
    loaded = load(migrated_database, folder, max_rejected=0.5)
    assert [[row.row for row in loaded[table].rejections] for table in TIME] == [[1], [1]]
    assert one(migrated_database, "SELECT event_ts FROM users") == MONDAY
    assert one(migrated_database, "SELECT latitude FROM restaurants") == 8.0


def test_missing_values_take_their_fill(migrated_database: str, folder: Path) -> None:
    schema = FeatureSchema((Feature("b", 2.5), Feature("a")), (Feature("c"),))
    (folder / SCHEMA).write_text(json.dumps(schema.to_json()))
    write(folder, users=users(b=[None, *range(1, 50)]))
    assert load(migrated_database, folder)["users"].rejections == []
    assert one(migrated_database, "SELECT features FROM users WHERE user_id = -20") == [2.5, -10.0]
    assert one(migrated_database, "SELECT user_features, user_fills FROM feature_schemas") == (
        ["b", "a"],
        [2.5, None],
    )


def test_schemas_live_side_by_side(migrated_database: str, folder: Path, tmp_path: Path) -> None:
    load(migrated_database, folder)
    before = everything(migrated_database)
    wider = write(tmp_path / "wider", users=users(20, z=[1.5] * 20), restaurants=restaurants(20))
    load(migrated_database, wider)
    after = everything(migrated_database)
    assert len(after["feature_schemas"]) == 2
    for table, rows in before.items():
        assert [row for row in after[table] if row[0] == rows[0][0]] == rows
    assert one(migrated_database, "SELECT count(*) FROM users WHERE cardinality(features) = 3") == 20


def test_one_table_alone_can_be_updated_where_the_schema_is_told(migrated_database: str, folder: Path) -> None:
    load(migrated_database, folder)
    (folder / RESTAURANTS).unlink()
    with pytest.raises(DataError, match=r"schema\.json"):
        load(migrated_database, folder, mode="upsert")
    schema = FeatureSchema.from_names(["a", "b"], ["c"])
    (folder / SCHEMA).write_text(json.dumps(schema.to_json()))
    write(folder, users=users(1, b=[77]))
    assert list(load(migrated_database, folder, mode="upsert")) == ["users"]
    assert one(migrated_database, "SELECT features[2] FROM users WHERE user_id = -20") == 77.0
    with pytest.raises(DataError, match="no such file"):
        load(migrated_database, folder)


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda f: (f / USERS).write_bytes((f / USERS).read_bytes()[:-100]), "cut off"),
        (lambda f: (f / USERS).unlink(), "no such file"),
        (lambda f: write(f, users=users(0)), "no rows"),
        (lambda f: write(f, users=users().with_columns(a=pl.lit("x"))), "column a: must hold numbers"),
        (lambda f: write(f, users=users().with_columns(pl.col("user_id").cast(pl.Float64))), "user_id: must hold int"),
        (lambda f: write(f, users=users(event_ts=[1] * 50)), "event_ts: must be a timestamp"),
        (lambda f: write(f, restaurants=restaurants().drop("latitude")), "column latitude: no such column"),
        (lambda f: (f / SCHEMA).write_text("{"), "schema.json"),
    ],
)
def test_a_folder_that_cannot_be_used_changes_nothing(
    migrated_database: str, folder: Path, break_it: Any, said: str
) -> None:
    load(migrated_database, folder)
    before = everything(migrated_database)
    break_it(folder)
    with pytest.raises(DataError, match=said):
        load(migrated_database, folder)
    assert everything(migrated_database) == before


def test_a_load_that_is_killed_half_way_leaves_the_old(migrated_database: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "data", users=users(), restaurants=restaurants())
    load(migrated_database, folder)
    before = everything(migrated_database)
    write(folder, users=users(200_000), restaurants=restaurants(500, c=list(range(1, 501))))
    with psycopg.connect(migrated_database) as holder:
        # The load has merged its users when it comes to this restaurant, and waits.
        holder.execute("SELECT FROM restaurants WHERE restaurant_id = 3 FOR UPDATE")
        loader = subprocess.Popen(
            [sys.executable, "-m", "db", "load", str(folder)],
            cwd=ROOT,
            env=os.environ | {"DATABASE_URL": migrated_database},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        with psycopg.connect(migrated_database, autocommit=True) as watcher:
            waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            while watcher.execute(waiting).fetchone() is None:
                assert loader.poll() is None
            assert everything(migrated_database) == before
            loader.send_signal(signal.SIGKILL)
            loader.wait()
    assert everything(migrated_database) == before
    assert load(migrated_database, folder)["users"].inserted == 199_950


def test_a_moved_restaurant_has_its_new_cell_in_every_schema_and_its_features_keep_their_time(
    migrated_database: str, folder: Path, tmp_path: Path
) -> None:
    load(migrated_database, folder)
    load(migrated_database, write(tmp_path / "wider", users=users(2, z=[1, 2]), restaurants=restaurants()))
    changed_by_hand(migrated_database, *AGED)
    assert move(migrated_database, 3, -33.86, 151.2) == (2, 0)
    with psycopg.connect(migrated_database) as connection:
        places = connection.execute(
            "SELECT latitude, h3_cell, event_ts FROM restaurants WHERE restaurant_id = 3"
        ).fetchall()
    # Its features are as old as before.
    assert places == [(-33.86, degrees_to_cell(-33.86, 151.2), LONG_AGO)] * 2
    # A few centimetres, within the cell.
    move(migrated_database, 3, -33.8600001, 151.2)
    assert one(migrated_database, "SELECT max(latitude) FROM restaurants WHERE restaurant_id = 3") == -33.8600001
    with pytest.raises(StoreError, match="no restaurant 999"):
        move(migrated_database, 999, 1, 1)
    with pytest.raises(StoreError, match="out of range"):
        move(migrated_database, 3, 91, 1)


def test_a_store_without_tables_with_old_ones_or_away_is_an_error_that_says_so(
    fresh_database: str, folder: Path
) -> None:
    with pytest.raises(StoreError, match="no tables yet; run: python -m db upgrade"):
        load(fresh_database, folder)
    for old in ("0002", "0006"):
        upgrade(fresh_database, old)
        with pytest.raises(StoreError, match="old tables; run: python -m db upgrade"):
            load(fresh_database, folder)
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        load("postgresql://127.0.0.1:1/none", folder)
