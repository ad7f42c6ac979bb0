"""What the roles may and may not do, made by an owner who is no superuser, on every Postgres that is at hand."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl
import psycopg
import pytest

import db.loading.load
from db import migrate
from db.access.driver import vacuum
from db.embedded import _binaries
from db.loading.load import load
from db.loading.move import move
from db.statements import SQL
from db.status import status
from hexbite.errors import StoreError
from tests.databases import started_server
from tests.integration.test_load import restaurants, users, write
from tests.integration.test_migrations import in_background, wait_until
from tests.integration.test_plans import servers

ROOT = Path(__file__).parents[2]


def as_user(dsn: str, user: str, database: str | None = None) -> str:
    """The address as another user, or of another database."""
    parts = urlsplit(dsn)
    path = parts.path if database is None else f"/{database}"
    return parts._replace(netloc=f"{user}@", path=path).geturl()


def run(dsn: str, *statements: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def one(dsn: str, statement: str) -> Any:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    return row[0]


@pytest.fixture(scope="module", params=["the embedded", *servers()])
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server to itself: roles are the cluster's."""
    programs = {"the embedded": _binaries(), **servers()}[request.param]
    with started_server(programs) as dsn:
        yield dsn


@pytest.fixture(scope="module")
def owner(server: str) -> str:
    """A migrated store of somebody who is no superuser but may make roles."""
    run(server, "CREATE ROLE app_owner LOGIN CREATEROLE", "CREATE DATABASE store OWNER app_owner")
    dsn = as_user(server, "app_owner", "store")
    migrate.upgrade(dsn)
    run(
        server,
        "CREATE ROLE app_reads LOGIN IN ROLE hexbite_reader",
        "CREATE ROLE app_loads LOGIN IN ROLE hexbite_loader",
    )
    return dsn


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("data"), users=users(), restaurants=restaurants())


@pytest.fixture(scope="module")
def loader(owner: str, folder: Path) -> str:
    """A member of hexbite_loader, who has loaded."""
    dsn = as_user(owner, "app_loads")
    load(dsn, folder)
    return dsn


@pytest.fixture(params=["a member", "the owner, stepped down"])
def reader(request: pytest.FixtureRequest, owner: str, loader: str) -> Iterator[psycopg.Connection[Any]]:
    dsn = as_user(owner, "app_reads") if request.param == "a member" else owner
    with psycopg.connect(dsn, autocommit=True) as connection:
        if request.param != "a member":
            connection.execute("SET ROLE hexbite_reader")
        yield connection


def allowed(connection: psycopg.Connection[Any], statements: list[str]) -> list[str]:
    """Those of the statements that are not refused for want of a privilege; none leaves anything behind."""
    passed = []
    for statement in statements:
        try:
            with connection.transaction(force_rollback=True):
                connection.execute(statement.encode())
        except psycopg.errors.InsufficientPrivilege:
            continue
        passed.append(statement)
    return passed


NOBODY_MAY = [
    "TRUNCATE events",
    "DROP TABLE event_ids",
    "CREATE TABLE events_1999_01 PARTITION OF events FOR VALUES FROM ('1999-01-01') TO ('1999-02-01')",
    "UPDATE feature_schemas SET empty_state = ''",
    "DELETE FROM retention",
    "TRUNCATE users",
    "UPDATE feature_schemas SET user_features = user_features",
    "UPDATE feature_schemas SET fingerprint = fingerprint",
    "DELETE FROM feature_schemas",
    "LOCK TABLE feature_schemas",
    "CREATE TABLE t ()",
    "CREATE FUNCTION f() RETURNS integer LANGUAGE sql RETURN 1",
    "CREATE SCHEMA s",
    "CREATE ROLE r",
    "ALTER TABLE users ADD COLUMN c integer",
    "ALTER TABLE restaurants DISABLE TRIGGER cell_follows_position",
    "DROP INDEX restaurants_by_cell",
    "DROP TABLE users",
    "ALTER FUNCTION analyse_features() SECURITY INVOKER",
    "CREATE OR REPLACE FUNCTION analyse_features() RETURNS void LANGUAGE sql AS ''",
    "UPDATE alembic_version SET version_num = '0001'",
    "COPY users TO PROGRAM 'cat'",
    "COPY users FROM PROGRAM 'true'",
    "COPY users TO '/tmp/users'",
    "SET session_replication_role = replica",
    "SELECT pg_read_file('postgresql.conf')",
]


def test_a_reader_reads_all_that_the_service_reads(reader: psycopg.Connection[Any]) -> None:
    for table, count in (("feature_schemas", 1), ("users", 50), ("restaurants", 40)):
        assert reader.execute(f"SELECT count(*) FROM {table}".encode()).fetchone() == (count,)
    kinds = {
        "registered": "text",
        "nearby": "text, bigint, bigint[], bigint[]",
        "candidates": "text, bigint, bigint[]",
        "candidates_nearby": "text, bigint, bigint[], bigint[], bytea, bigint",
        "known": "text, bigint[]",
    }
    for statement, types in kinds.items():
        nulls = ", ".join(["NULL"] * len(types.split(",")))
        reader.execute(f"PREPARE {statement} ({types}) AS {SQL[statement]}".encode())
        reader.execute(f"EXPLAIN (ANALYZE) EXECUTE {statement} ({nulls})".encode())
    # What the planner knows shows to who may read the column.
    spread = reader.execute(SQL["spread"]).fetchone()
    assert spread is not None
    assert spread[0] == 40
    assert len(spread[1]) == 40


def test_a_reader_writes_nothing_and_makes_nothing(reader: psycopg.Connection[Any]) -> None:
    statements = [
        *NOBODY_MAY,
        "INSERT INTO users VALUES (1, 1, '{1, 2}')",
        "UPDATE users SET features = features",
        "DELETE FROM restaurants",
        "UPDATE feature_schemas SET user_fills = user_fills",
        "SELECT FROM users FOR SHARE",
        "LOCK TABLE users",
        "LOCK TABLE restaurants IN ROW EXCLUSIVE MODE",
        "COPY users FROM STDIN",
        "CREATE TEMPORARY TABLE t ()",
        "SELECT analyse_features()",
        "SELECT setval('feature_schemas_schema_id_seq', 9)",
        "SELECT FROM alembic_version",
        "SET ROLE hexbite_loader",
    ]
    if reader.info.user == "app_reads":
        # Who has stepped down can step up again: that guards against mistakes, a user of its own against intruders.
        statements.append("SET ROLE app_owner")
    statements += [
        "INSERT INTO pending_events SELECT * FROM pending_events",
        "DELETE FROM user_states",
        "SELECT FROM events",
        "SELECT FROM event_ids",
        "LOCK TABLE events",
        "SELECT FROM restaurant_states",
        "SELECT FROM retention",
        TELL,
        "SELECT make_month(now())",
        "SELECT drop_months(now())",
        "SET ROLE hexbite_teller",
    ]
    if reader.info.user == "app_owner":
        # Who has stepped down may step elsewhere: the owner is in both groups.
        statements.remove("SET ROLE hexbite_teller")
    assert allowed(reader, statements) == []


def test_a_reader_reads_what_is_remembered_of_people(reader: psycopg.Connection[Any]) -> None:
    for table in ("user_states", "arrival_states", "pending_events"):
        reader.execute(f"SELECT FROM {table}".encode())


TELL = (
    "SELECT * FROM tell_events('{00000000-0000-0000-0000-000000000001}', '{1}', '{1}', '{visit}', '{2026-03-01}',"
    " '{1}', '{1}', '{r}', '{0}', '{1}')"
)


@pytest.mark.parametrize("who", ["a member", "the owner, stepped down"])
def test_a_teller_tells_and_does_nothing_else(server: str, owner: str, loader: str, who: str) -> None:
    run(server, "DROP ROLE IF EXISTS app_tells", "CREATE ROLE app_tells LOGIN IN ROLE hexbite_teller")
    assert loader  # there is something to be seen
    tables = one(
        owner,
        "SELECT array_agg(relname::text) FROM pg_class"
        " WHERE relnamespace = 'hexbite'::regnamespace AND relkind IN ('r', 'p', 'S')",
    )
    statements = [
        *NOBODY_MAY,
        *(f"SELECT FROM {table}" for table in tables),
        *(f"DELETE FROM {table}" for table in tables if not table.endswith("_seq")),
        *(f"LOCK TABLE {table} IN ACCESS SHARE MODE" for table in tables if not table.endswith("_seq")),
        "INSERT INTO events SELECT",
        "INSERT INTO event_ids SELECT",
        "INSERT INTO pending_events SELECT",
        "CREATE TEMPORARY TABLE t ()",
        "SELECT analyse_features()",
        "SELECT make_month(now())",
        "SELECT drop_months(now())",
        "SET ROLE hexbite_loader",
    ]
    dsn = as_user(owner, "app_tells") if who == "a member" else owner
    with psycopg.connect(dsn, autocommit=True) as connection:
        if who == "a member":
            statements += ["SET ROLE hexbite_reader", "SET ROLE app_owner"]
        else:
            connection.execute("SET ROLE hexbite_teller")
        assert allowed(connection, statements) == []
        with connection.transaction(force_rollback=True):
            assert len(connection.execute(TELL.encode()).fetchall()) == 1
            assert connection.execute(TELL.encode()).fetchall() == []


def test_a_tellers_temporary_tables_lead_nobody_astray(server: str, owner: str) -> None:
    run(server, "GRANT TEMPORARY ON DATABASE store TO hexbite_teller")
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute("SET ROLE hexbite_teller")
        with connection.transaction(force_rollback=True):
            for table in ("events", "event_ids", "pending_events", "retention"):
                connection.execute(f"CREATE TEMPORARY TABLE {table} (event_id uuid, kept_since timestamptz)".encode())
            assert len(connection.execute(TELL.replace("tell_events", "hexbite.tell_events").encode()).fetchall()) == 1
            assert connection.execute("SELECT FROM pg_temp.event_ids").fetchall() == []
    run(server, "REVOKE TEMPORARY ON DATABASE store FROM hexbite_teller")


def test_a_loader_backfills_refreshes_forgets_and_lets_go(loader: str, tmp_path: Path) -> None:
    moments = pl.Series([datetime(2026, 3, day, tzinfo=UTC) for day in (1, 2, 31)])
    told = pl.DataFrame({"user_id": [1, 1, 2], "restaurant_id": [1, 2, 1], "event": ["visit"] * 3, "event_ts": moments})
    told.write_parquet(tmp_path / "events.parquet")
    environment = os.environ | {"DATABASE_URL": loader}
    for arguments, said in (
        (["events", str(tmp_path / "events.parquet")], "events: 3 new, 0 known already"),
        (["refresh"], "refreshed: 0 events"),
        (["status"], "events    3, 2026-03-01"),
        (["forget", "2"], "user 2 forgotten: 0 rows, 1 events (0 of them pending) and 1 ids of events, 0 states"),
        (["expire", "--before", "2026-03-15"], "events: 2 and 2 ids let go, 0 months as wholes"),
    ):
        command = [sys.executable, "-m", "db", *arguments]
        finished = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert finished.returncode == 0, finished.stderr
        assert said in finished.stdout


def test_a_loader_changes_no_definition_and_no_schema(loader: str) -> None:
    statements = [
        *NOBODY_MAY,
        "INSERT INTO alembic_version VALUES ('0009')",
        "SET ROLE app_owner",
        "SET ROLE hexbite_reader",
        "SELECT setval('feature_schemas_schema_id_seq', 9)",
    ]
    with psycopg.connect(loader, autocommit=True) as connection:
        assert allowed(connection, statements) == []
        # Whoever else may load.
        assert allowed(connection, ["UPDATE feature_schemas SET user_fills = user_fills"]) != []


def test_a_loader_loads_moves_and_asks_for_the_status(loader: str, tmp_path: Path) -> None:
    assert move(loader, 3, -33.86, 151.2) == (1, 0)
    changed = write(tmp_path / "data", users=users(50, b=[99] * 50), restaurants=restaurants())
    for mode in ("upsert", "replace"):
        command = [sys.executable, "-m", "db", "load", str(changed), "--mode", mode]
        environment = os.environ | {"DATABASE_URL": loader}
        finished = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert finished.returncode == 0, finished.stderr
        assert "warning" not in finished.stderr.lower()
        may_vacuum = int(one(loader, "SHOW server_version_num")) >= 170_000
        assert ("left to autovacuum" in finished.stderr) == (not may_vacuum)
    assert one(loader, "SELECT features[2] FROM users LIMIT 1") == 99.0
    assert f"revision  {migrate.head()}" in status(loader)
    assert (one(loader, "SELECT relallvisible FROM pg_class WHERE relname = 'users'") > 0) == may_vacuum


@pytest.fixture
def unanalysed(server: str, loader: str) -> str:
    """The restaurants as after a load that was killed: rows that no statistics tell of."""
    run(
        as_user(server, "postgres", "store"),
        "DELETE FROM pg_statistic WHERE starelid = 'restaurants'::regclass",
        "UPDATE pg_class SET reltuples = -1 WHERE oid = 'restaurants'::regclass",
    )
    return "SELECT reltuples FROM pg_class WHERE oid = 'hexbite.restaurants'::regclass"


def test_a_loaders_merge_is_planned_on_fresh_statistics(
    loader: str, folder: Path, unanalysed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db.loading.load, "vacuum", lambda dsn, schema: True)
    assert one(loader, unanalysed) == -1
    load(loader, folder)
    assert one(loader, unanalysed) == 40


def test_a_temporary_table_does_not_lead_the_lent_function_astray(loader: str, unanalysed: str) -> None:
    with psycopg.connect(loader) as connection:
        connection.execute("CREATE TEMPORARY TABLE restaurants AS SELECT 1 AS one")
        connection.execute(SQL["analyse"])
        assert connection.execute("SELECT reltuples FROM pg_class WHERE oid = 'restaurants'::regclass").fetchone() == (
            -1,
        )
    assert one(loader, unanalysed) == 40


@contextmanager
def without_roles(server: str) -> Iterator[None]:
    """As in a cluster that has never seen the roles, whatever is granted to them."""
    names = ("hexbite_reader", "hexbite_loader", "hexbite_teller")
    run(server, *(f"ALTER ROLE {name} RENAME TO {name}_kept" for name in names))
    try:
        yield
    finally:
        run(server, "DROP DATABASE IF EXISTS another WITH (FORCE)", *(f"DROP ROLE IF EXISTS {name}" for name in names))
        run(server, *(f"ALTER ROLE {name}_kept RENAME TO {name}" for name in names))


def test_what_comes_after_a_load_waits_for_no_lock(loader: str) -> None:
    with psycopg.connect(loader) as holder:
        # As CREATE INDEX CONCURRENTLY holds it, which waits for the snapshot of whoever waits for it.
        holder.execute("LOCK TABLE restaurants IN SHARE UPDATE EXCLUSIVE MODE")
        vacuum(loader)


@pytest.mark.usefixtures("owner")
def test_who_may_not_make_the_roles_is_told_what_a_dba_has_to_run(
    server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with without_roles(server):
        run(server, "DROP ROLE IF EXISTS app_plain", "CREATE ROLE app_plain LOGIN", "CREATE DATABASE another")
        plain = as_user(server, "app_plain", "another")
        with pytest.raises(StoreError) as refused:
            migrate.upgrade(plain)
        given = str(refused.value).partition("GRANT CREATE ON DATABASE ")[2].partition(",")[0]
        run(server, f"GRANT CREATE ON DATABASE {given}")
        create = "CREATE ROLE hexbite_reader NOLOGIN; CREATE ROLE hexbite_loader NOLOGIN;"
        grant = "GRANT hexbite_reader TO app_plain;"
        for missing, then in ((f"{create} {grant}", create), (grant, grant)):
            with pytest.raises(StoreError) as refused:
                migrate.upgrade(plain)
            assert str(refused.value).endswith(
                f"A DBA has to run this first, in any database of the server: {missing})"
            )
            assert migrate.current(plain) == "0002"
            run(server, then)
        create, grant = "CREATE ROLE hexbite_teller NOLOGIN;", "GRANT hexbite_teller TO app_plain;"
        for missing, then in ((f"{create} {grant}", create), (grant, grant)):
            with pytest.raises(StoreError) as refused:
                migrate.upgrade(plain)
            assert str(refused.value).endswith(
                f"A DBA has to run this first, in any database of the server: {missing})"
            )
            assert migrate.current(plain) == "0007"
            run(server, then)
        migrate.upgrade(plain)
        # Not the owner of the database: temporary tables stay everybody's, the loader's too.
        assert "REVOKE TEMPORARY ON DATABASE another FROM PUBLIC;" in capsys.readouterr().err
        assert one(plain, "SELECT has_database_privilege('hexbite_loader', current_database(), 'TEMPORARY')")
        run(plain, "SET ROLE hexbite_reader")
        migrate.downgrade(plain, "base")
        assert one(plain, "SELECT to_regrole('hexbite_reader') IS NOT NULL")


def test_roles_that_another_databases_migrator_is_just_making_are_waited_for(server: str, owner: str) -> None:
    with without_roles(server):
        run(server, "CREATE DATABASE another OWNER app_owner")
        other = as_user(owner, "app_owner", "another")
        with psycopg.connect(server, autocommit=True) as watcher, psycopg.connect(owner) as first:
            first.execute("CREATE ROLE hexbite_reader NOLOGIN")
            first.execute("CREATE ROLE hexbite_loader NOLOGIN")
            first.execute("GRANT hexbite_reader TO app_owner")
            with in_background(lambda: migrate.upgrade(other)) as migrator:
                try:
                    waits = "SELECT FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
                    wait_until(watcher, waits, first.info.backend_pid, alive=migrator.is_alive)
                finally:
                    first.commit()
        run(other, "SET ROLE hexbite_reader")
