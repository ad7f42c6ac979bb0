"""Files of events into the store: all or none, each once, and in the same states in whatever order they come."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import polars as pl
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db.loading.backfill import Backfilled, backfill
from db.loading.load import load
from db.memory.refresh import refresh
from hexbite.errors import DataError, HexbiteError, StoreError
from hexbite.ids import event_id_to_uuid, text_to_id
from tests.databases import named, new_database
from tests.integration.remembering import (
    START,
    STATES,
    Event,
    assert_alike,
    assert_ways_alike,
    counts,
    register,
    remembered,
    tell,
    ways_later,
)
from tests.integration.test_load import restaurants, users, write

ROOT = Path(__file__).parents[2]


def frame(count: int = 40, *, seed: int = 0) -> pl.DataFrame:
    """Events of a few people, in no order."""
    draws = np.random.default_rng(seed)
    moments = [START + timedelta(hours=float(hour)) for hour in draws.integers(0, 24 * 100, count)]
    return pl.DataFrame(
        {
            "event_id": [f"s{seed}-{number}" for number in range(count)],
            "user_id": draws.integers(1, 5, count),
            "restaurant_id": draws.integers(0, 6, count),
            "event": draws.choice(["visit", "click"], count),
            "event_ts": pl.Series(moments, dtype=pl.Datetime("us", "UTC")),
        }
    )


@pytest.fixture(scope="module")
def store(server_dsn: str, template: str) -> Iterator[str]:
    """A store that counts, for many examples."""
    dsn = new_database(server_dsn, "hexbite_test_backfill", template)
    register(dsn, restaurants=range(4))
    refresh(dsn)
    yield dsn


def empty(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"TRUNCATE events, event_ids, pending_events, {', '.join(STATES)}".encode())
        connection.execute("UPDATE restaurants SET state = (SELECT empty_state FROM feature_schemas LIMIT 1)")


def everything(dsn: str) -> tuple[Any, ...]:
    with psycopg.connect(dsn) as connection:
        columns = "event_id, user_id, restaurant_id, kind, event_ts, latitude, longitude, request_id, position, value"
        return (
            connection.execute(f"SELECT {columns} FROM events ORDER BY 1".encode()).fetchall(),
            connection.execute("SELECT * FROM event_ids ORDER BY 1").fetchall(),
            remembered(dsn),
        )


FORMS: dict[str, Callable[[pl.DataFrame, Path], str]] = {
    "parquet": lambda rows, path: str((rows.write_parquet(path / "a.parquet"), path / "a.parquet")[1]),
    "csv": lambda rows, path: str((rows.write_csv(path / "a.csv"), path / "a.csv")[1]),
    "json lines": lambda rows, path: str((rows.write_ndjson(path / "a.jsonl"), path / "a.jsonl")[1]),
    "a folder": lambda rows, path: str(
        (rows[:20].write_parquet(path / "1.parquet"), rows[20:].write_parquet(path / "2.parquet"), path)[2]
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_of_file_gives_the_same_events(store: str, tmp_path: Path, form: str) -> None:
    empty(store)
    rows = frame()
    assert backfill(store, [FORMS[form](rows, tmp_path)]) == (40, 0, 0)
    found = {row[0]: row for row in everything(store)[0]}
    for id_, user, restaurant, kind, at in rows.iter_rows():
        assert found[event_id_to_uuid(id_)] == (event_id_to_uuid(id_), user, restaurant, kind, at, *[None] * 5)
    assert counts(store)["pending_events"] == 0


def test_what_an_event_may_tell_besides_is_kept_where_it_is_told(store: str, tmp_path: Path) -> None:
    empty(store)
    rows = frame(6).with_columns(
        latitude=pl.Series([1.5, None, -90.0, None, 0.0, None]),
        longitude=pl.Series([-180.0, None, 90.0, None, 0.25, None]),
        request_id=pl.Series(["r", None, "größer", None, "x" * 128, None]),
        position=pl.Series([0, None, 2**31 - 1, 3, None, None]),
        value=pl.Series([None, 2.5, -1e300, None, 0.0, None]),
    )
    rows.write_parquet(tmp_path / "a.parquet")
    backfill(store, [str(tmp_path / "a.parquet")])
    found = {row[0]: row[5:] for row in everything(store)[0]}
    expected = {event_id_to_uuid(row[0]): row[5:] for row in rows.iter_rows()}
    assert found == expected


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), with_ids=st.booleans())
def test_files_in_any_order_and_parts_end_in_the_same_states(
    store: str, tmp_path: Path, data: st.DataObject, with_ids: bool
) -> None:
    rows = frame(30)
    if not with_ids:
        # The same event twice is one.
        rows = pl.concat([rows, rows[:5]]).drop("event_id")
    empty(store)
    whole = tmp_path / "whole.parquet"
    rows.sort("event_ts").write_parquet(whole)
    assert backfill(store, [str(whole)]).new == 30
    expected, expected_ways = everything(store), ways_later(store)
    empty(store)
    shuffled = rows[data.draw(st.permutations(range(len(rows))))]
    cut = data.draw(st.integers(1, len(rows) - 1))
    parts = [tmp_path / "one.parquet", tmp_path / "two.parquet"]
    shuffled[:cut].write_parquet(parts[0])
    shuffled[cut:].write_parquet(parts[1])
    if data.draw(st.booleans()):
        backfill(store, [str(part) for part in parts], chunk_rows=data.draw(st.integers(1, 40)))
    else:
        for part in parts:
            backfill(store, [str(part)])
    found = everything(store)
    assert found[:2] == expected[:2]
    assert_ways_alike(ways_later(store), expected_ways)
    for states in (found[2], expected[2]):
        states.pop("arrival_states")  # as told by its ways
    assert_alike(found[2], expected[2])


def test_the_same_file_twice_changes_nothing_and_is_told_so(store: str, tmp_path: Path) -> None:
    empty(store)
    frame().write_parquet(tmp_path / "a.parquet")
    environment = os.environ | {"DATABASE_URL": store}
    command = [sys.executable, "-m", "db", "events", str(tmp_path / "a.parquet")]
    first = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert first.stdout == "events: 40 new, 0 known already\n", first.stderr
    before = everything(store)
    second = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert second.stdout == "events: 0 new, 40 known already\nnothing was changed\n", second.stderr
    assert everything(store) == before


def test_events_that_were_told_are_known_and_those_that_are_pending_stay_so(store: str, tmp_path: Path) -> None:
    empty(store)
    rows = frame()
    told = [
        Event(row[0], row[1], row[2], (row[4] - START) / timedelta(hours=1), row[3]) for row in rows[:15].iter_rows()
    ]
    tell(store, told)
    rows.write_parquet(tmp_path / "a.parquet")
    assert backfill(store, [str(tmp_path / "a.parquet")]) == (25, 15, 0)
    assert counts(store)["pending_events"] == 15
    refresh(store)
    found = everything(store)
    empty(store)
    backfill(store, [str(tmp_path / "a.parquet")])
    expected = everything(store)
    for states in (found[2], expected[2]):
        states.pop("arrival_states")
    assert_alike(found[2], expected[2])


def test_times_bound_what_is_taken(store: str, tmp_path: Path) -> None:
    empty(store)
    rows = frame()
    rows.write_parquet(tmp_path / "a.parquet")
    since, before = START + timedelta(days=20), START + timedelta(days=60)
    within = rows.filter(pl.col("event_ts").is_between(since, before, closed="left"))
    done = backfill(store, [str(tmp_path / "a.parquet")], since=since, before=before)
    assert done == Backfilled(len(within), 0, 40 - len(within))
    environment = os.environ | {"DATABASE_URL": store}
    command = [sys.executable, "-m", "db", "events", str(tmp_path / "a.parquet"), "--since", "2026-03-21", "--before"]
    again = subprocess.run([*command, "2026-04-30"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert again.stdout.startswith(f"events: 0 new, {len(within)} known already, {40 - len(within)} left out"), (
        again.stderr
    )


BAD: dict[str, tuple[dict[str, pl.Series | pl.Expr], str, str]] = {
    "no user": ({"user_id": pl.Series([None, 1, None], dtype=pl.Int64)}, "user_id", r"row 1 holds None.*\(2 rows\)"),
    "a user with a fraction": ({"user_id": pl.Series([1.0, 2.0, 2.5])}, "user_id", "no fractions"),
    "no restaurant": ({"restaurant_id": pl.Series([1, 2, None])}, "restaurant_id", r"row 3 holds None.*\(1 rows\)"),
    "no kind": ({"event": pl.Series(["a", None, "b"])}, "event", "row 2 holds None; it must be the kind of event"),
    "an empty kind": ({"event": pl.Series(["a", "", "b"])}, "event", "row 2 holds ''"),
    "a long kind": ({"event": pl.Series(["a", "x" * 129, "b"])}, "event", "row 2"),
    "no time": ({"event_ts": pl.Series(["2026-03-01", "yesterday", ""])}, "event_ts",
                "row 2 holds 'yesterday'"),
    "numbers as times": ({"event_ts": pl.Series([1, 2, 3])}, "event_ts", "numbers"),
    "a long id": ({"event_id": pl.Series(["a", "b", "x" * 129])}, "event_id", "row 3"),
    "half a place": ({"latitude": pl.Series([1.0, 2.0, None]), "longitude": pl.Series([1.0, None, None])},
                     "longitude", "row 2 holds None; it must be told where the latitude is"),
    "a latitude alone": ({"latitude": pl.Series([1.0, 2.0, None])}, "latitude", "come together"),
    "a far latitude": ({"latitude": pl.Series([1.0, 91.0, 2.0]), "longitude": pl.Series([1.0] * 3)}, "latitude",
                                "row 2 holds '?91.0'?; it must be degrees from -90 to 90"),
    "a position below 0": ({"position": pl.Series([1, -1, 2])}, "position", "row 2 holds '?-1'?"),
    "a position between": ({"position": pl.Series([1.0, 1.5, 2.0])}, "position", "row 2 holds '?1.5'?"),
    "a value that is none": ({"value": pl.Series([1.0, float("nan"), 2.0])}, "value", "row 2 holds nan"),
    "a value beyond": ({"value": pl.Series([1.0, float("inf"), 2.0])}, "value", "row 2 holds '?inf'?"),
    "a value of text": ({"value": pl.Series(["1", "", "two"])}, "value", "row 3 holds 'two'"),
}  # fmt: skip


@pytest.mark.parametrize("form", ["parquet", "csv"])
@pytest.mark.parametrize("case", BAD)
def test_a_bad_row_is_named_with_file_and_column_and_nothing_is_changed(
    store: str, tmp_path: Path, case: str, form: str
) -> None:
    columns, column, said = BAD[case]
    empty(store)
    rows = frame(3).with_columns(**columns)
    if form == "csv" and case in (
        "an empty kind",
        "numbers as times",
        "a value that is none",
        "a user with a fraction",
    ):
        pytest.skip("text says it in another way")
    path = FORMS[form](rows, tmp_path)
    with pytest.raises(DataError, match=said.replace("None", r"(None|\'\')" if form == "csv" else "None")) as refused:
        backfill(store, [path])
    assert str(refused.value).startswith(f"{path}, column {column}")
    assert counts(store) == dict.fromkeys(counts(store), 0)


@pytest.mark.parametrize("column", ["user_id", "restaurant_id", "event", "event_ts"])
def test_a_column_that_is_absent_is_named_with_those_near_it(store: str, tmp_path: Path, column: str) -> None:
    frame(3).rename({column: f"{column}s"}).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=f"did you mean {column}s"):
        backfill(store, [str(tmp_path / "a.parquet")])


def test_a_bad_row_in_the_last_of_several_files_leaves_nothing_of_the_others(store: str, tmp_path: Path) -> None:
    empty(store)
    frame().write_parquet(tmp_path / "a.parquet")
    frame(3, seed=1).with_columns(user_id=pl.lit(None, pl.Int64)).write_parquet(tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"b\.parquet, column user_id"):
        backfill(store, [str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet")], chunk_rows=10)
    assert counts(store) == dict.fromkeys(counts(store), 0)


@pytest.mark.parametrize("path", ["absent.parquet", "absent/*.csv"])
def test_a_file_that_is_not_there_is_an_error(store: str, tmp_path: Path, path: str) -> None:
    with pytest.raises(HexbiteError, match="absent"):
        backfill(store, [str(tmp_path / path)])


def test_ids_are_texts_where_those_that_are_stored_are(migrated_database: str, tmp_path: Path) -> None:
    texts = users(4).with_columns(user_id=pl.Series(["1", "2", "u3", "u4"]))
    places = restaurants(3).with_columns(restaurant_id=pl.Series(["7", "8", "r9"]))
    load(migrated_database, write(tmp_path / "data", users=texts, restaurants=places))
    # Integers in the file, and texts in the store: decimal texts.
    frame(8).write_parquet(tmp_path / "a.parquet")
    backfill(migrated_database, [str(tmp_path / "a.parquet")])
    with psycopg.connect(migrated_database) as connection:
        found = connection.execute("SELECT DISTINCT user_id FROM events").fetchall()
    assert {id_ for (id_,) in found} <= {text_to_id(str(number)) for number in range(1, 5)}


def test_texts_that_all_read_as_integers_are_integers_where_the_store_says_so_and_others_are_none(
    store: str, tmp_path: Path
) -> None:
    empty(store)
    rows = frame(5).with_columns(pl.col("restaurant_id").cast(pl.String))
    rows.write_parquet(tmp_path / "a.parquet")
    backfill(store, [str(tmp_path / "a.parquet")])
    assert {row[2] for row in everything(store)[0]} == set(rows["restaurant_id"].cast(pl.Int64).to_list())
    rows.with_columns(restaurant_id=pl.lit("r1")).write_parquet(tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"column restaurant_id.*'r1'; it must be an id, integer"):
        backfill(store, [str(tmp_path / "b.parquet")])


def test_events_from_before_the_bound_of_retention_are_refused_by_name(store: str, tmp_path: Path) -> None:
    empty(store)
    frame().write_parquet(tmp_path / "a.parquet")
    with psycopg.connect(store, autocommit=True) as connection:
        connection.execute("UPDATE retention SET kept_since = %s", (START + timedelta(days=50),))
        try:
            with pytest.raises(StoreError, match=r"from before 2026-04-20.*--since 2026-04-20T00:00:00Z"):
                backfill(store, [str(tmp_path / "a.parquet")])
            assert counts(store)["events"] == 0
            assert backfill(store, [str(tmp_path / "a.parquet")], since=datetime(2026, 4, 20, tzinfo=UTC)).new
        finally:
            connection.execute("UPDATE retention SET kept_since = '-infinity'")


def test_a_backfill_that_is_killed_leaves_the_old(store: str, tmp_path: Path) -> None:
    empty(store)
    frame().write_parquet(tmp_path / "a.parquet")
    backfill(store, [str(tmp_path / "a.parquet")])
    before = everything(store)
    frame(20_000, seed=1).write_parquet(tmp_path / "b.parquet")
    environment = os.environ | {"DATABASE_URL": store}
    # A lock that its last step wants keeps it from its end.
    with psycopg.connect(store) as holder, psycopg.connect(store, autocommit=True) as watcher:
        holder.execute("SELECT FROM feature_schemas FOR UPDATE")
        command = [sys.executable, "-m", "db", "events", str(tmp_path / "b.parquet")]
        killed = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE)
        waits = "SELECT FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
        while watcher.execute(waits, (holder.info.backend_pid,)).fetchone() is None:
            assert killed.poll() is None, killed.communicate()
        # All of it is written, and nobody sees it.
        assert everything(store) == before
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    assert everything(store) == before
    assert backfill(store, [str(tmp_path / "b.parquet")]).new == 20_000


def test_who_tells_events_meanwhile_does_not_wait_and_what_both_tell_is_told_once(store: str, tmp_path: Path) -> None:
    empty(store)
    frame().write_parquet(tmp_path / "a.parquet")
    with psycopg.connect(store) as holder, psycopg.connect(store, autocommit=True) as watcher:
        holder.execute("SELECT FROM feature_schemas FOR UPDATE")
        environment = os.environ | {"DATABASE_URL": store}
        command = [sys.executable, "-m", "db", "events", str(tmp_path / "a.parquet")]
        filling = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        waits = "SELECT FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
        while watcher.execute(waits, (holder.info.backend_pid,)).fetchone() is None:
            assert filling.poll() is None
        # In a month that is being filled, and in one that there is not yet.
        hasty = psycopg.conninfo.make_conninfo(store, options="-c lock_timeout=50ms")
        assert len(tell(hasty, [Event("meanwhile", 1, 2, 5.0), Event("much later", 1, 2, 9_000.0)])) == 2
        holder.rollback()
        output, _ = filling.communicate(timeout=60)
    assert output == "events: 40 new, 0 known already\n"
    assert counts(store)["events"] == 42
    refresh(store)
    found = remembered(store)
    with psycopg.connect(store, autocommit=True) as connection:
        connection.execute("UPDATE feature_schemas SET remembered_at = NULL")
    refresh(store)
    expected = remembered(store)
    for states in (found, expected):
        states.pop("arrival_states")
    assert_alike(found, expected)


def test_a_backfill_before_any_schema_counts_is_what_a_load_makes_states_of(
    migrated_database: str, tmp_path: Path
) -> None:
    frame().write_parquet(tmp_path / "a.parquet")
    backfill(migrated_database, [str(tmp_path / "a.parquet")])
    register(migrated_database, restaurants=range(4))
    refresh(migrated_database)
    assert counts(migrated_database)["user_states"] == 4


@pytest.fixture
def small_store(server_dsn: str, template: str) -> Iterator[str]:
    """A store that counts, on a file system of 40 MiB."""
    # Not below pytest's own folder: that is closed to the user whom the server runs as.
    folder = Path(tempfile.mkdtemp(prefix="hexbite-test-"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode:
        folder.rmdir()
        pytest.skip(f"cannot mount a small file system, which takes root: {mounted.stderr.strip()}")
    name, tablespace = named("hexbite_test_small"), named("hexbite_test_small_disk")
    try:
        with psycopg.connect(server_dsn, autocommit=True) as connection:
            row = connection.execute("SHOW data_directory").fetchone()
            assert row is not None
            data = Path(row[0])
            os.chown(folder, data.stat().st_uid, data.stat().st_gid)
            connection.execute(f"CREATE TABLESPACE \"{tablespace}\" LOCATION '{folder}'".encode())
            connection.execute(
                f'CREATE DATABASE "{name}" TEMPLATE "{named(template)}" TABLESPACE "{tablespace}"'.encode()
            )
            connection.execute(f'ALTER DATABASE "{name}" SET search_path = hexbite, public'.encode())
        dsn = urlsplit(server_dsn)._replace(path=f"/{name}").geturl()
        register(dsn, restaurants=range(4))
        refresh(dsn)
        yield dsn
        with psycopg.connect(server_dsn, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())
            connection.execute(f'DROP TABLESPACE "{tablespace}"'.encode())
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


def test_a_disk_that_is_full_leaves_the_old_and_says_so(small_store: str, tmp_path: Path) -> None:
    frame().write_parquet(tmp_path / "a.parquet")
    backfill(small_store, [str(tmp_path / "a.parquet")])
    before = everything(small_store)
    frame(400_000, seed=1).write_parquet(tmp_path / "b.parquet")
    with pytest.raises(StoreError, match="the store's disk is full"):
        backfill(small_store, [str(tmp_path / "b.parquet")], chunk_rows=50_000)
    assert everything(small_store) == before
    assert len(tell(small_store, [Event("after", 1, 2, 5.0)])) == 1
