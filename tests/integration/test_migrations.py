"""Revisions go up, down and up again, by one migrator at a time."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from db import migrate
from hexbite.errors import StoreError, StoreUnavailable

ROOT = Path(__file__).parents[2]

# Everything that a revision can make, in words: columns, constraints, indexes, triggers and functions.
CATALOG = """
SELECT 'column', table_name, column_name, concat_ws(' ', data_type, udt_name, is_nullable, column_default, is_identity)
  FROM information_schema.columns WHERE table_schema = 'public'
UNION ALL
SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid)
  FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL
SELECT 'index', tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL
SELECT 'trigger', tgrelid::regclass::text, tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
UNION ALL
SELECT 'function', proname, proname, pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
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
        assert after != before
        migrate.downgrade(fresh_database, "-1")
        assert catalog(fresh_database) == before
        migrate.upgrade(fresh_database, revision)
        assert catalog(fresh_database) == after
        before = after
    assert migrate.current(fresh_database) == migrate.head()
    migrate.downgrade(fresh_database, "base")
    assert catalog(fresh_database) == empty
    assert migrate.current(fresh_database) is None


def test_of_two_migrators_at_once_one_works_and_the_other_waits(fresh_database: str) -> None:
    command = [sys.executable, "-m", "db", "upgrade"]
    environment = os.environ | {"DATABASE_URL": fresh_database}
    with psycopg.connect(fresh_database, autocommit=True) as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", (migrate.MIGRATOR_LOCK,))
        migrators = [
            subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            for _ in range(3)
        ]
        waiting = 0
        while waiting < len(migrators):
            assert all(migrator.poll() is None for migrator in migrators)
            row = holder.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").fetchone()
            assert row is not None
            waiting = row[0]
        assert migrate.current(fresh_database) is None
    for migrator in migrators:
        output, _ = migrator.communicate(timeout=60)
        assert migrator.returncode == 0, output
    assert migrate.current(fresh_database) == migrate.head()


def test_a_revision_that_cannot_get_its_lock_gives_up_and_changes_nothing(
    migrated_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "LOCK_TIMEOUT", "200ms")
    before = catalog(migrated_database)
    with psycopg.connect(migrated_database) as reader:
        reader.execute("SELECT count(*) FROM restaurants")
        with pytest.raises(StoreError, match="lock"):
            migrate.downgrade(migrated_database, "base")
    assert catalog(migrated_database) == before
    assert migrate.current(migrated_database) == migrate.head()


def test_the_script_for_a_dba_does_what_the_command_does(fresh_database: str, migrated_catalog: list[Any]) -> None:
    with psycopg.connect(fresh_database, autocommit=True) as connection:
        for script, expected in (
            (migrate.upgrade_script(), migrated_catalog),
            (migrate.downgrade_script("base"), []),
            (migrate.upgrade_script(), migrated_catalog),
        ):
            assert "lock_timeout" in script
            assert "pg_advisory_lock" in script
            connection.execute(script.encode())
            found = catalog(fresh_database)
            assert found == expected


@pytest.fixture
def migrated_catalog(server_dsn: str, template: str) -> list[Any]:
    return catalog(psycopg.conninfo.make_conninfo(server_dsn, dbname=template))


def test_the_plain_alembic_command_works_from_the_root(fresh_database: str) -> None:
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
    assert catalog(fresh_database) == []


def test_a_revision_that_does_not_exist_and_a_server_that_is_away_are_errors_of_one_line(fresh_database: str) -> None:
    with pytest.raises(StoreError, match="0999"):
        migrate.upgrade(fresh_database, "0999")
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        migrate.upgrade("postgresql://127.0.0.1:1/none")
