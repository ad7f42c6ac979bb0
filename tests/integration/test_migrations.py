"""Revisions go up, down and up again, by one migrator at a time, while others read."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from db import migrate
from db.embedded import _binaries
from hexbite.errors import StoreError, StoreUnavailable
from hexbite.geo import degrees_to_cell
from tests.databases import named

ROOT = Path(__file__).parents[2]
VERSIONS = ROOT / "db" / "migrations" / "versions"

# Everything that a revision can make, in words: columns, constraints, indexes, triggers, functions, and what others
# than the owner may do with it all.
CATALOG = """
SELECT 'column', table_name, column_name, concat_ws(' ', data_type, udt_name, is_nullable, column_default, is_identity)
  FROM information_schema.columns WHERE table_schema = 'hexbite'
UNION ALL
SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid)
  FROM pg_constraint WHERE connamespace = to_regnamespace('hexbite') AND contype <> 'n'
UNION ALL
SELECT 'index', indrelid::regclass::text, indexrelid::regclass::text,
       concat_ws(' ', pg_get_indexdef(indexrelid), CASE WHEN NOT indisvalid THEN 'INVALID' END)
  FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid WHERE relnamespace = to_regnamespace('hexbite')
UNION ALL
SELECT 'trigger', tgrelid::regclass::text, tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
UNION ALL
SELECT 'function', proname, proname, pg_get_functiondef(oid)
  FROM pg_proc WHERE pronamespace = to_regnamespace('hexbite')
UNION ALL
SELECT 'privilege', kind || ' ' || name, coalesce(pg_get_userbyid(nullif(grantee, 0)), 'PUBLIC'), privilege_type
  FROM (SELECT 'table', relname, relowner, relacl FROM pg_class WHERE relnamespace = to_regnamespace('hexbite')
         UNION ALL
        SELECT 'column', attrelid::regclass || '.' || attname, relowner, attacl
          FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid WHERE relnamespace = to_regnamespace('hexbite')
         UNION ALL
        SELECT 'function', proname, proowner, coalesce(proacl, acldefault('f', proowner))
          FROM pg_proc WHERE pronamespace = to_regnamespace('hexbite')
         UNION ALL
        SELECT 'schema', nspname, nspowner, nspacl FROM pg_namespace WHERE nspname = 'hexbite'
         UNION ALL
        SELECT 'database', '', datdba, coalesce(datacl, acldefault('d', datdba))
          FROM pg_database WHERE datname = current_database()) AS owned (kind, name, owner, acl)
 CROSS JOIN LATERAL aclexplode(acl)
 WHERE grantee <> owner
 ORDER BY 1, 2, 3, 4
"""


def catalog(dsn: str) -> list[Any]:
    with psycopg.connect(dsn) as connection:
        return [row for row in connection.execute(CATALOG).fetchall() if row[1] != "alembic_version"]


def test_each_revision_up_down_and_up_leaves_equal_schemas(fresh_database: str) -> None:
    empty = catalog(fresh_database)
    revisions = [revision for revision, _ in reversed(migrate.history())]
    before = empty
    for revision in revisions:
        migrate.upgrade(fresh_database, revision)
        after = catalog(fresh_database)
        # 0005 moves what stands elsewhere, and here nothing does.
        assert (after != before) == (revision != "0005")
        migrate.downgrade(fresh_database, "-1")
        assert catalog(fresh_database) == before
        migrate.upgrade(fresh_database, revision)
        assert catalog(fresh_database) == after
        before = after
    assert migrate.current(fresh_database) == migrate.head()
    migrate.downgrade(fresh_database, "base")
    assert catalog(fresh_database) == empty
    assert migrate.current(fresh_database) is None


def wait_until(connection: psycopg.Connection[Any], condition: str, *parameters: Any, alive: Any) -> None:
    """Until a query gives a row, while who is to bring that about is alive."""
    while connection.execute(condition, parameters).fetchone() is None:
        assert alive()


@contextmanager
def in_background(run: Any) -> Iterator[threading.Thread]:
    """Run it in a thread, and see at the end that it raised nothing."""
    raised: list[BaseException] = []

    def target() -> None:
        try:
            run()
        except BaseException as error:  # noqa: BLE001 - the thread that waits for this one sees it
            raised.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    try:
        yield thread
    finally:
        thread.join()
    assert raised == []


@pytest.fixture
def watcher(server_dsn: str) -> Iterator[psycopg.Connection[Any]]:
    """A session that sees what the others wait for; in another database, so that it holds up no index build."""
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "LOCK_TIMEOUT", "100ms")
    monkeypatch.setattr(migrate, "ASK_EVERY_S", 0.1)
    monkeypatch.setattr(migrate, "PATIENCE_S", 2.0)
    monkeypatch.setattr(migrate, "CONCURRENT_WAIT", "500ms")


def test_of_some_migrators_at_once_one_works_and_the_others_wait(
    fresh_database: str, watcher: psycopg.Connection[Any]
) -> None:
    command = [sys.executable, "-m", "db", "upgrade"]
    environment = os.environ | {"DATABASE_URL": fresh_database}
    with psycopg.connect(fresh_database, autocommit=True) as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", (migrate.MIGRATOR_LOCK,))
        migrators = [
            subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            for _ in range(3)
        ]
        wait_until(
            watcher,
            "SELECT FROM pg_stat_activity WHERE query LIKE %s AND datname = %s HAVING count(*) = 3",
            "%pg_try_advisory_lock%",
            holder.info.dbname,
            alive=lambda: all(migrator.poll() is None for migrator in migrators),
        )
        assert migrate.current(fresh_database) is None
    # The first of them builds an index CONCURRENTLY, for which the others hold no snapshot.
    for migrator in migrators:
        output, _ = migrator.communicate(timeout=60)
        assert migrator.returncode == 0, output
    assert migrate.current(fresh_database) == migrate.head()


@pytest.mark.usefixtures("in_haste")
def test_a_migrator_that_waits_for_another_in_vain_says_for_whom(
    fresh_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "MIGRATOR_WAIT_S", 0.2)
    with psycopg.connect(fresh_database, autocommit=True, application_name="the other one") as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", (migrate.MIGRATOR_LOCK,))
        with pytest.raises(
            StoreError, match=f"another migrator is at work: pid {holder.info.backend_pid} the other one"
        ):
            migrate.upgrade(fresh_database)


@pytest.mark.usefixtures("in_haste")
def test_a_revision_that_cannot_get_its_lock_gives_up_says_for_whom_and_changes_nothing(fresh_database: str) -> None:
    migrate.upgrade(fresh_database, "0002")
    before = catalog(fresh_database)
    with psycopg.connect(fresh_database, application_name="a long report") as reader:
        reader.execute("SELECT count(*) FROM restaurants")
        who = (
            rf"pid {reader.info.backend_pid} \(a long report, user \w+, idle in transaction, in a transaction since 20"
        )
        with pytest.raises(StoreError, match=who):
            migrate.downgrade(fresh_database, "base")
        # Other readers do not queue behind a migrator that has given up.
        with psycopg.connect(fresh_database, options="-c lock_timeout=1ms") as other:
            other.execute("SELECT count(*) FROM restaurants")
    assert catalog(fresh_database) == before
    assert migrate.current(fresh_database) == "0002"


def test_a_revision_asks_again_until_the_lock_is_free_and_readers_pass_meanwhile(
    fresh_database: str, watcher: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "PATIENCE_S", float("inf"))
    migrate.upgrade(fresh_database, "0002")
    with psycopg.connect(fresh_database) as reader:
        reader.execute("SELECT count(*) FROM restaurants")
        waits = "SELECT FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid)) AND application_name = 'hexbite'"
        # Two steps, each sure of its own lock.
        with in_background(lambda: migrate.downgrade(fresh_database, "-2")) as migrator:
            try:
                for _ in range(2):
                    wait_until(watcher, waits, reader.info.backend_pid, alive=migrator.is_alive)
                    # It queues behind the migrator, and comes to its turn although that one goes on waiting.
                    with psycopg.connect(fresh_database) as other:
                        other.execute("SELECT count(*) FROM restaurants")
                assert migrator.is_alive()
            finally:
                reader.rollback()
    assert migrate.current(fresh_database) is None


def test_no_reader_is_held_up_for_as_long_as_a_request_may_take() -> None:
    assert int(migrate.LOCK_TIMEOUT.removesuffix("ms")) <= 250


def test_an_index_is_exchanged_under_a_reader_that_goes_on_reading(
    fresh_database: str, watcher: psycopg.Connection[Any]
) -> None:
    migrate.upgrade(fresh_database, "0003")
    with (
        psycopg.connect(fresh_database) as long_reader,
        # It may wait for no lock at all.
        psycopg.connect(fresh_database, options="-c lock_timeout=1ms -c enable_seqscan=off", autocommit=True) as reader,
    ):
        reader.execute("SET plan_cache_mode = force_generic_plan")
        reader.execute("PREPARE near AS SELECT count(event_ts) FROM restaurants WHERE schema_id = 1 AND h3_cell > 0")
        reader.execute("EXECUTE near")
        long_reader.execute("SELECT count(*) FROM restaurants")
        waits = "SELECT FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid)) AND query LIKE %s"
        with in_background(lambda: migrate.upgrade(fresh_database, "0004")) as migrator:
            try:
                wait_until(watcher, waits, long_reader.info.backend_pid, "DROP INDEX%", alive=migrator.is_alive)
                reader.execute("EXECUTE near")
                plan = reader.execute("EXPLAIN EXECUTE near").fetchall()
                assert any("Index Only Scan using restaurants_by_cell on" in line for (line,) in plan)
            finally:
                long_reader.rollback()
        reader.execute("EXECUTE near")
    assert migrate.current(fresh_database) == "0004"


@pytest.mark.usefixtures("in_haste")
def test_an_index_that_a_writer_held_up_for_too_long_is_built_by_the_next_run(
    fresh_database: str, migrated_catalog: list[Any]
) -> None:
    migrate.upgrade(fresh_database, "0003")
    with psycopg.connect(fresh_database, application_name="a long load") as writer:
        writer.execute("LOCK TABLE restaurants IN ROW EXCLUSIVE MODE")
        with pytest.raises(StoreError, match=rf"pid {writer.info.backend_pid} \(a long load"):
            migrate.upgrade(fresh_database)
    assert migrate.current(fresh_database) == "0003"
    assert any("INVALID" in row[3] for row in catalog(fresh_database))
    migrate.upgrade(fresh_database)
    assert catalog(fresh_database) == migrated_catalog


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize(("before", "after"), [("0003", "0004"), ("0005", "0006"), ("0006", "0007")])
def test_a_run_that_was_killed_between_any_two_steps_is_made_good_by_the_next(
    migrated_database: str, before: str, after: str, direction: str
) -> None:
    migrate.downgrade(migrated_database, after)
    (file,) = VERSIONS.glob(f"{after}_*.{direction}.sql")
    if direction == "down":
        migrate.downgrade(migrated_database, before)
        before, after = after, before
    expected = catalog(migrated_database)
    steps = file.read_text().split("\n\n")
    for done in range(len(steps) + 1):
        migrate.upgrade(migrated_database, before)
        migrate.downgrade(migrated_database, before)
        with psycopg.connect(migrated_database, autocommit=True) as killed:
            for step in steps[:done]:
                killed.execute(step.encode())
        (migrate.upgrade if direction == "up" else migrate.downgrade)(migrated_database, after)
        assert catalog(migrated_database) == expected
        assert migrate.current(migrated_database) == after


SCHEMA = (
    "INSERT INTO feature_schemas (fingerprint, user_features, restaurant_features, context_features, user_fills,"
    " restaurant_fills) VALUES (repeat('0', 64), '{a}', '{b}', '{}', '{0}', '{0}')"
)
BEYOND = "INSERT INTO users SELECT 1, id, '{1}', '10000-01-01 00:00+00' FROM generate_series(1, 7) AS id"
BEFORE = (
    "INSERT INTO restaurants (schema_id, restaurant_id, latitude, longitude, h3_cell, features, event_ts)"
    f" VALUES (1, -5, 13.75, 100.5, {degrees_to_cell(13.75, 100.5)}, '{{1}}', '0044-03-15 12:00+00 BC')"
)


@pytest.mark.parametrize("settings", ["-c timezone=Pacific/Kiritimati", "-c datestyle=German -c timezone=US/Hawaii"])
def test_times_that_no_calendar_holds_are_told_with_what_mends_them_and_nothing_is_changed(
    fresh_database: str, settings: str
) -> None:
    dsn = psycopg.conninfo.make_conninfo(fresh_database, options=settings)
    migrate.upgrade(dsn, "0005")
    before = catalog(dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in (SCHEMA, BEYOND, BEFORE):
            connection.execute(statement.encode())
    with pytest.raises(StoreError) as refused:
        migrate.upgrade(dsn)
    assert "users (7 rows, ids 1, 2, 3, 4, 5, ...)" in str(refused.value)
    assert "restaurants (1 rows, ids -5)" in str(refused.value)
    assert (catalog(dsn), migrate.current(dsn)) == (before, "0005")
    with psycopg.connect(dsn, autocommit=True) as connection:
        mends = re.findall(r"UPDATE .*?;", str(refused.value))
        assert [connection.execute(mend.encode()).rowcount for mend in sorted(mends)] == [1, 7]
    migrate.upgrade(dsn)
    assert migrate.current(dsn) == migrate.head()


def test_a_time_that_is_written_while_the_revision_begins_leaves_no_constraint_behind(
    fresh_database: str, watcher: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "PATIENCE_S", float("inf"))
    migrate.upgrade(fresh_database, "0005")
    before = catalog(fresh_database)
    waits = "SELECT FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid)) AND query LIKE 'ALTER TABLE users%%'"

    def refused() -> None:
        with pytest.raises(StoreError, match=r"users \(7 rows"):
            migrate.upgrade(fresh_database)

    with psycopg.connect(fresh_database) as writer:
        writer.execute(SCHEMA)
        writer.execute(BEYOND)
        with in_background(refused) as migrator:
            wait_until(watcher, waits, writer.info.backend_pid, alive=migrator.is_alive)
            writer.commit()
    assert (catalog(fresh_database), migrate.current(fresh_database)) == (before, "0005")


def test_rows_are_checked_under_no_lock_that_readers_or_writers_wait_for(fresh_database: str) -> None:
    migrate.upgrade(fresh_database, "0005")
    modes = "SELECT DISTINCT mode FROM pg_locks WHERE pid = pg_backend_pid() AND relation = ANY (%s::regclass[])"
    checked = "SELECT convalidated FROM pg_constraint WHERE conname = 'event_ts_is_in_the_calendar'"
    held = []
    for step in (VERSIONS / "0006_calendar.up.sql").read_text().split("\n\n"):
        with psycopg.connect(fresh_database) as connection:
            connection.execute(step.encode())
            if "ADD CONSTRAINT" in step:
                assert (True,) not in connection.execute(checked).fetchall()
            if "VALIDATE" in step:
                assert connection.execute(checked).fetchall() == [(True,), (True,)]
                held += connection.execute(modes, (["users", "restaurants"],)).fetchall()
    assert ("ShareUpdateExclusiveLock",) in held
    assert {mode for (mode,) in held} <= {"AccessShareLock", "ShareUpdateExclusiveLock"}


def test_the_script_for_a_dba_does_what_the_command_does(fresh_database: str, migrated_catalog: list[Any]) -> None:
    empty = catalog(fresh_database)
    for script, expected in (
        (migrate.upgrade_script(), migrated_catalog),
        (migrate.downgrade_script("base"), empty),
        (migrate.upgrade_script("base:0003"), None),
        (migrate.upgrade_script("0003:head"), migrated_catalog),
    ):
        assert "lock_timeout" in script
        assert "pg_try_advisory_lock" in script
        command = [str(_binaries() / "psql"), "--no-psqlrc", "--quiet", fresh_database]
        finished = subprocess.run(command, input=script, capture_output=True, text=True)
        assert finished.returncode == 0, finished.stderr
        if expected is not None:
            assert catalog(fresh_database) == expected


def test_rows_that_are_there_read_as_before_through_the_newest_revision_and_back(fresh_database: str) -> None:
    migrate.upgrade(fresh_database, "0007")
    insert = (
        "INSERT INTO restaurants (schema_id, restaurant_id, latitude, longitude, h3_cell, features)"
        f" SELECT 1, id, 13.75, 100.5, {degrees_to_cell(13.75, 100.5)}, ARRAY[id] FROM generate_series(1, 500) AS id"
    )
    packed = "SELECT restaurant_id, packed FROM restaurants ORDER BY 1"
    # As the code before this revision reads and writes.
    wide = "SELECT coalesce(packed, pack_restaurant(restaurant_id, latitude, longitude, features)) FROM restaurants"
    moved = "UPDATE restaurants SET features = '{-1}' WHERE restaurant_id = 7"
    with psycopg.connect(fresh_database, autocommit=True) as connection:
        for statement in (SCHEMA, insert):
            connection.execute(statement.encode())
        before = connection.execute(packed).fetchall()
        filenode = "SELECT pg_relation_filenode('restaurants'), pg_relation_filenode('restaurants_by_cell')"
        files = connection.execute(filenode).fetchone()
        migrate.upgrade(fresh_database, "0008")
        # Neither the table nor the index was written anew.
        assert connection.execute(filenode).fetchone() == files
        assert connection.execute(packed).fetchall() == before
        assert sorted(connection.execute(wide).fetchall()) == sorted((row[1],) for row in before)
        connection.execute(moved.encode())
        connection.execute(insert.replace("generate_series(1, 500)", "generate_series(501, 510)").encode())
        same = "packed = pack_restaurant(restaurant_id, latitude, longitude, features)"
        assert connection.execute(f"SELECT count(*) FROM restaurants WHERE {same}".encode()).fetchone() == (510,)
        after = connection.execute(packed).fetchall()
        connection.execute(
            "SELECT tell_events(ARRAY[gen_random_uuid()], '{1}', '{1}', '{visit}', '{2026-03-01}', '{1}', '{1}', '{r}',"
            " '{0}', '{1}')"
        )
        migrate.downgrade(fresh_database, "0007")
        assert connection.execute(packed).fetchall() == after
        # Events are gone with their tables, and what is made again is empty.
        migrate.upgrade(fresh_database)
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (0,)
        assert connection.execute(packed).fetchall() == after


@pytest.fixture
def migrated_catalog(server_dsn: str, template: str) -> list[Any]:
    return catalog(psycopg.conninfo.make_conninfo(server_dsn, dbname=named(template)))


def test_the_plain_alembic_command_works_from_the_root(fresh_database: str) -> None:
    empty = catalog(fresh_database)
    for command, said in (
        ("upgrade head", ""),
        ("current", migrate.head()),
        ("history", "0001"),
        ("downgrade base", ""),
    ):
        finished = subprocess.run(
            [sys.executable, "-m", "alembic", *command.split()],
            cwd=ROOT,
            env=os.environ | {"DATABASE_URL": fresh_database},
            capture_output=True,
            text=True,
        )
        assert finished.returncode == 0, finished.stderr
        assert said in finished.stdout
    assert catalog(fresh_database) == empty


def test_a_revision_that_does_not_exist_and_a_server_that_is_away_are_errors_of_one_line(fresh_database: str) -> None:
    with pytest.raises(StoreError, match="0999"):
        migrate.upgrade(fresh_database, "0999")
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        migrate.upgrade("postgresql://127.0.0.1:1/none")


def test_a_store_that_later_code_brought_further_is_left_as_it_is_and_another_program_s_revision_is_an_error(
    fresh_database: str,
) -> None:
    def stamp(revision: str) -> None:
        with psycopg.connect(fresh_database, autocommit=True) as connection:
            connection.execute("UPDATE alembic_version SET version_num = %s", [revision])

    migrate.upgrade(fresh_database)
    stamp("9999")
    migrate.upgrade(fresh_database)
    assert migrate.current(fresh_database) == "9999"
    assert migrate.is_newer("9999")
    assert not migrate.is_newer(migrate.head())
    stamp(migrate.head())
    migrate.downgrade(fresh_database, "base")
    with psycopg.connect(fresh_database, autocommit=True) as connection:
        connection.execute("INSERT INTO alembic_version VALUES ('ae10')")
    with pytest.raises(StoreError, match="ae10"):
        migrate.upgrade(fresh_database)
