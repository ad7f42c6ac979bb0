"""In somebody else's database: beside their tables, under their settings, with no more rights than were given."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest

from db import migrate
from db.access.session import service_settings
from db.embedded import _binaries
from db.loading.load import load
from db.migrations import locks, plain_sql
from db.statements import SQL
from db.status import status
from hexbite.errors import SchemaError, StoreError, StoreMisconfigured
from tests.databases import named, new_database, started_server
from tests.integration.guest import FEATURES, live, read, write_town
from tests.integration.test_migrations import catalog, in_background
from tests.integration.test_roles import as_user, one, run

ROOT = Path(__file__).parents[2]

# For each setting of ours, what somebody may have set instead.
HOSTILE = {
    "search_path": "nowhere",
    "client_encoding": "LATIN1",
    "datestyle": "German",
    "intervalstyle": "sql_standard",
    "timezone": "Asia/Kathmandu",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "standard_conforming_strings": "off",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "client_min_messages": "error",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on",
    "row_security": "on",
    "statement_timeout": "1ms",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "1ms",
    "idle_session_timeout": "5ms",
    "exit_on_error": "on",
    "default_table_access_method": "columns",
    "plan_cache_mode": "force_custom_plan",
    "enable_indexscan": "off",
    "enable_indexonlyscan": "off",
    "enable_nestloop": "off",
    "enable_seqscan": "on",
    "enable_bitmapscan": "on",
    "enable_memoize": "on",
    "max_parallel_workers_per_gather": "8",
    "jit": "on",
    # Not asked for at the start: only newer servers know it.
    "transaction_timeout": "20ms",
}


def test_each_setting_of_ours_has_its_opposite() -> None:
    assert service_settings("hexbite", 1).keys() - {"role"} == HOSTILE.keys() - {"transaction_timeout"}


@pytest.fixture(scope="module")
def undisturbed(server_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the commands leave in a database that nobody has set anything in."""
    return live(new_database(server_dsn, "hexbite_test_undisturbed"), tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("name", HOSTILE)
async def test_whatever_a_database_sets_commands_and_reads_do_what_they_do_elsewhere(
    server_dsn: str, tmp_path: Path, undisturbed: list[str], name: str
) -> None:
    dsn = new_database(server_dsn, "hexbite_test_guest")
    with psycopg.connect(dsn, autocommit=True) as connection:
        if name == "transaction_timeout" and connection.info.server_version < 170_000:
            pytest.skip("this Postgres knows no transaction_timeout")
        if name == "default_table_access_method":  # one that makes no rows where ours are made
            connection.execute("CREATE ACCESS METHOD columns TYPE TABLE HANDLER heap_tableam_handler")
        database = connection.info.dbname
        connection.execute(f"ALTER DATABASE \"{database}\" SET {name} = '{HOSTILE[name]}'".encode())
    assert live(dsn, tmp_path / "data") == undisturbed
    assert (await read(dsn))[2][0][:2] == (1, [1.5])
    if name == "default_table_access_method":
        tables = "SELECT count(*) FROM pg_class JOIN pg_am ON pg_am.oid = relam WHERE amname = 'columns'"
        assert one(dsn, tables) == 0


async def test_what_the_environment_sets_for_libpq_does_no_harm(
    fresh_database: str, tmp_path: Path, undisturbed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # These win over options of an address.
    monkeypatch.setenv("PGDATESTYLE", "German")
    monkeypatch.setenv("PGTZ", "Asia/Kathmandu")
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    monkeypatch.setenv("PGOPTIONS", "-c search_path=nowhere -c statement_timeout=1ms")
    assert live(fresh_database, tmp_path / "data") == undisturbed
    await read(fresh_database)


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "EUC_JP"])
async def test_whatever_a_database_is_encoded_in_there_is_no_traceback(
    server_dsn: str, tmp_path: Path, undisturbed: list[str], encoding: str
) -> None:
    name = named("hexbite_test_encoded")
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())
        made = f"CREATE DATABASE \"{name}\" TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"
        connection.execute(made.encode())
    dsn = as_database(server_dsn, name)
    if encoding == "SQL_ASCII":
        assert live(dsn, tmp_path / "data") == undisturbed
        await read(dsn)
    else:  # such a database cannot hold the names of these features
        with pytest.raises(StoreError, match=encoding):
            live(dsn, tmp_path / "data")
        assert status(dsn)[1] == f"revision  {migrate.head()}"


def as_database(dsn: str, name: str) -> str:
    with psycopg.connect(dsn) as connection:
        return as_user(dsn, connection.info.user, name)


# --- beside their tables ---

THEIRS = (
    "CREATE TABLE users (id integer PRIMARY KEY, name text)",
    "INSERT INTO users VALUES (1, 'theirs')",
    "CREATE TABLE restaurants (id integer)",
    "CREATE FUNCTION refuse_stale_cell() RETURNS integer LANGUAGE sql RETURN 1",
)


@pytest.mark.parametrize("theirs", ["0004", "0001", "ab12cd34", None])
@pytest.mark.parametrize("where", ["public", "$user", "app"])
async def test_another_programs_tables_and_revision_are_neither_ours_nor_in_the_way(
    fresh_database: str, tmp_path: Path, undisturbed: list[str], where: str, theirs: str | None
) -> None:
    with psycopg.connect(fresh_database, autocommit=True) as connection:
        schema = connection.info.user if where == "$user" else where
        if schema == "hexbite":
            pytest.skip("this test's user is called as our schema is")
        connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"'.encode())
        connection.execute(f'ALTER DATABASE "{connection.info.dbname}" SET search_path = "$user", app, public'.encode())
        connection.execute(f'SET search_path = "{schema}"'.encode())
        for statement in THEIRS:
            connection.execute(statement.encode())
        connection.execute("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
        if theirs is not None:
            connection.execute("INSERT INTO alembic_version VALUES (%s)", (theirs,))
        assert migrate.current(fresh_database) is None
        assert live(fresh_database, tmp_path / "data") == undisturbed
        await read(fresh_database)
        migrate.downgrade(fresh_database, "base")
        # Theirs are as they were.
        versions = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        assert versions == ([] if theirs is None else [(theirs,)])
        assert connection.execute("SELECT * FROM users").fetchall() == [(1, "theirs")]
        there = "SELECT count(*) FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'"
        assert connection.execute(there).fetchone() == (4 - 1,)


@pytest.mark.parametrize("schema", ["features", 'My "own"', "with space, comma\\", "public"])
async def test_the_schema_can_have_another_name(
    fresh_database: str, tmp_path: Path, undisturbed: list[str], schema: str
) -> None:
    assert live(fresh_database, tmp_path / "data", schema) == undisturbed
    await read(fresh_database, schema)
    with psycopg.connect(fresh_database) as connection:
        names = connection.execute(
            "SELECT DISTINCT nspname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace "
            "WHERE relkind IN ('r', 'i', 'S') AND nspname !~ '^(pg_|information_schema)'"
        ).fetchall()
    assert names == [(schema,)]


async def test_two_stores_in_one_database_know_nothing_of_each_other(fresh_database: str, tmp_path: Path) -> None:
    for schema, first in (("one", 1.0), ("two", 2.0)):
        migrate.upgrade(fresh_database, schema=schema)
        load(fresh_database, write_town(tmp_path / schema, first=first), schema=schema)
    assert [(await read(fresh_database, schema))[0][0] for schema in ("one", "two")] == [1.0, 2.0]
    migrate.downgrade(fresh_database, "base", schema="one")
    assert (await read(fresh_database, "two"))[0][0] == 2.0


def test_a_schema_that_belongs_to_another_program_is_told_by_its_revision(fresh_database: str) -> None:
    with psycopg.connect(fresh_database, autocommit=True) as connection:
        connection.execute("CREATE TABLE public.alembic_version (version_num varchar(32) PRIMARY KEY)")
        connection.execute("INSERT INTO public.alembic_version VALUES ('0004')")
    for change in (migrate.upgrade, lambda dsn, schema: migrate.downgrade(dsn, "base", schema=schema)):
        with pytest.raises(StoreMisconfigured, match=r"another program.*HEXBITE_STORE_SCHEMA"):
            change(fresh_database, schema="public")


def test_the_commands_take_the_schema_from_the_environment(fresh_database: str, tmp_path: Path) -> None:
    def db(*arguments: str, schema: str = "own") -> str:
        environment = os.environ | {"DATABASE_URL": fresh_database, "HEXBITE_STORE_SCHEMA": schema}
        command = [sys.executable, "-m", "db", *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True).stdout

    db("upgrade")
    assert "5 new" in db("load", str(write_town(tmp_path / "data")))
    assert "restaurants  5" in db("status")
    assert "schema own" in db("status")
    assert "revision  none" in db("status", schema="another")


# --- from before there was a schema ---


@pytest.mark.parametrize("revision", ["0001", "0002", "0003", "0004"])
async def test_a_store_from_before_moves_out_of_public_with_all_that_it_holds(
    server_dsn: str, fresh_database: str, tmp_path: Path, revision: str
) -> None:
    # Loads are written for the newest tables.
    migrate.upgrade(fresh_database, schema="public")
    load(fresh_database, write_town(tmp_path / "data"), schema="public")
    migrate.downgrade(fresh_database, revision, schema="public")
    run(fresh_database, "CREATE TABLE public.theirs ()")
    # It is known for what it is before, and `status` says what to do.
    assert migrate.current(fresh_database) == revision
    assert f"revision  {revision}, the newest is {migrate.head()}: python -m db upgrade" in status(fresh_database)
    with pytest.raises(StoreError, match="db upgrade"):
        load(fresh_database, tmp_path / "data")
    migrate.upgrade(fresh_database)
    assert migrate.current(fresh_database) == migrate.head()
    assert (await read(fresh_database))[0][0] == 1.0
    left = "SELECT array_agg(relname::text) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    assert one(fresh_database, left) == ["theirs"]
    assert one(fresh_database, "SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace") == 0
    fresh = new_database(server_dsn, "hexbite_test_undisturbed")
    migrate.upgrade(fresh)
    assert catalog(fresh_database) == catalog(fresh)
    # What guards the rows finds its tables where they are now.
    with pytest.raises(psycopg.errors.CheckViolation, match="its schema"):
        run(fresh_database, "UPDATE hexbite.users SET features = '{1}'")
    migrate.downgrade(fresh_database, "base")


async def test_code_from_before_reads_on_through_the_move_where_its_path_leads_to_both_places(
    fresh_database: str, tmp_path: Path
) -> None:
    migrate.upgrade(fresh_database, schema="public")
    load(fresh_database, write_town(tmp_path / "data"), schema="public")
    migrate.downgrade(fresh_database, "0004", schema="public")
    reader = await asyncpg.connect(fresh_database, server_settings={"search_path": "hexbite, public"})
    # As it was before rows had a state.
    prepared = await reader.prepare(SQL["candidates"].replace(", state)", ")"))

    async def answer() -> Any:
        rows = await prepared.fetch(FEATURES.fingerprint, 1, [1, 2])
        return [row["packed"] for row in rows]

    before = await answer()
    await asyncio.to_thread(migrate.upgrade, fresh_database)
    assert await answer() == before
    await reader.close()


def test_a_slow_move_is_watched_by_nobody_who_waits_for_it_and_leaves_others_functions(
    fresh_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate.upgrade(fresh_database, "0004", schema="public")
    theirs = "FUNCTION public.refuse_schema_change(text)"
    run(fresh_database, f"CREATE {theirs} RETURNS text LANGUAGE sql AS 'SELECT $1'")
    # From the first moment on, and for as long as anybody could wait.
    monkeypatch.setattr(locks, "_LOOK_EVERY_S", 0.0)
    up = ROOT / "db" / "migrations" / "versions" / "0005_own_schema.up.sql"
    monkeypatch.setattr(plain_sql, "_read", lambda file, direction: up.read_text() + "SELECT pg_sleep(0.5);")
    with in_background(lambda: migrate.upgrade(fresh_database, "0005")) as migrator:
        migrator.join(60)
        if migrator.is_alive():  # for ever: it fails where its sessions are ended
            ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            run(fresh_database, f"{ended} AND pid <> pg_backend_pid()")
    assert migrate.current(fresh_database) == "0005"
    run(fresh_database, f"DROP {theirs}")


def test_a_script_from_before_moves_it_too(fresh_database: str) -> None:
    migrate.upgrade(fresh_database, "0004", schema="public")
    script = migrate.upgrade_script("0004:head")
    subprocess.run(["psql", fresh_database, "-qX"], input=script, text=True, check=True, stdout=subprocess.DEVNULL)
    assert migrate.current(fresh_database) == migrate.head()
    assert one(
        fresh_database, "SELECT to_regclass('public.users') IS NULL AND to_regclass('hexbite.users') IS NOT NULL"
    )


# --- with no more rights than were given ---


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server to itself: roles are the cluster's."""
    with started_server(_binaries()) as dsn:
        yield dsn


@pytest.fixture
def shop(server: str) -> Iterator[str]:
    """Somebody else's database, in which everything may be refused, as its superuser."""
    people = ("ann", "bea", "cy")
    run(server, "DROP DATABASE IF EXISTS shop WITH (FORCE)", *(f"DROP ROLE IF EXISTS {name}" for name in people))
    run(server, *(f"CREATE ROLE {name} LOGIN" for name in people), "ALTER ROLE ann CREATEROLE", "CREATE DATABASE shop")
    shop = as_user(server, "postgres", "shop")
    run(shop, "REVOKE ALL ON SCHEMA public FROM PUBLIC", "REVOKE TEMPORARY ON DATABASE shop FROM PUBLIC")
    yield shop
    run(server, "DROP DATABASE shop WITH (FORCE)", *(f"DROP ROLE {name}" for name in people))
    run(server, "DROP ROLE IF EXISTS hexbite_reader, hexbite_loader, hexbite_teller")


def grant_that(refused: StoreError) -> str:
    """The first statement that the error names."""
    found = re.search(r"(GRANT|ALTER SCHEMA) .*?(?=, or[: ,]|;|$)", str(refused))
    assert found is not None, refused
    return found[0]


async def test_where_a_right_is_missing_the_error_names_the_grant_that_gives_it(shop: str, tmp_path: Path) -> None:
    owner, reader, loader = (as_user(shop, name, "shop") for name in ("ann", "bea", "cy"))
    folder = write_town(tmp_path / "data")

    def mend(refused: pytest.ExceptionInfo[StoreError], expected: str) -> None:
        statement = grant_that(refused.value)
        assert statement == expected
        run(shop, statement)

    with pytest.raises(StoreMisconfigured) as refused:
        migrate.upgrade(owner)
    mend(refused, "GRANT CREATE ON DATABASE shop TO ann")
    migrate.upgrade(owner)

    # Who reads: not a member, then a schema that is closed, then a table.
    with pytest.raises(StoreMisconfigured) as refused:
        await read(reader)
    mend(refused, 'GRANT hexbite_reader TO "bea"')
    run(shop, "REVOKE USAGE ON SCHEMA hexbite FROM hexbite_reader")
    with pytest.raises(StoreMisconfigured) as refused:
        await read(reader)
    mend(refused, 'GRANT USAGE ON SCHEMA "hexbite" TO hexbite_reader')
    run(shop, "REVOKE SELECT ON hexbite.users, hexbite.restaurants FROM hexbite_reader")
    with pytest.raises(StoreMisconfigured) as refused:
        await read(reader)
    mend(refused, 'GRANT SELECT ON "hexbite".restaurants, "hexbite".users TO hexbite_reader')
    run(shop, "REVOKE CONNECT ON DATABASE shop FROM PUBLIC", "GRANT CONNECT ON DATABASE shop TO cy")
    with pytest.raises(StoreMisconfigured) as refused:
        status(reader)
    assert grant_that(refused.value) == 'GRANT CONNECT ON DATABASE "shop" TO "bea"'
    with pytest.raises(StoreMisconfigured) as refused:
        await read(reader)
    mend(refused, 'GRANT CONNECT ON DATABASE "shop" TO "bea"')
    with pytest.raises(SchemaError, match="db load"):
        await read(reader)

    # Who loads: sees nothing, and then may not write.
    for command in (lambda: load(loader, folder), lambda: status(loader), lambda: migrate.current(loader)):
        with pytest.raises(StoreMisconfigured) as refused:
            command()
        assert grant_that(refused.value) == 'GRANT hexbite_loader TO "cy"'
    with pytest.raises(StoreMisconfigured) as refused:
        status(reader)
    assert grant_that(refused.value) == "GRANT hexbite_loader TO bea"
    with pytest.raises(StoreMisconfigured) as refused:
        load(reader, folder)
    assert grant_that(refused.value) == "GRANT hexbite_loader TO bea"
    run(shop, 'GRANT hexbite_loader TO "cy"')
    with pytest.raises(StoreMisconfigured) as refused:
        load(loader, folder)
    mend(refused, "GRANT TEMPORARY ON DATABASE shop TO hexbite_loader")
    run(shop, "REVOKE INSERT ON hexbite.users FROM hexbite_loader")
    with pytest.raises(StoreMisconfigured) as refused:
        load(loader, folder)
    for statement in str(refused.value).partition("run, as the owner: ")[2].split(";"):
        run(shop, statement)
    load(loader, folder)
    run(shop, "REVOKE EXECUTE ON FUNCTION hexbite.analyse_features() FROM hexbite_loader")
    with pytest.raises(StoreMisconfigured) as refused:
        load(loader, folder)
    mend(refused, "GRANT EXECUTE ON FUNCTION hexbite.analyse_features() TO hexbite_loader")
    load(loader, folder)
    # At the newest revision there is nothing to be made, whoever asks.
    migrate.upgrade(loader)
    await read(reader)


def test_a_schema_that_a_dba_has_made_is_taken_and_one_that_is_closed_is_named(shop: str) -> None:
    owner = as_user(shop, "ann", "shop")
    run(shop, "CREATE SCHEMA hexbite", "GRANT USAGE ON SCHEMA hexbite TO ann")
    with pytest.raises(StoreMisconfigured) as refused:
        migrate.upgrade(owner)
    assert grant_that(refused.value) == 'ALTER SCHEMA "hexbite" OWNER TO ann'
    # Or all that is needed of it.
    run(shop, "CREATE ROLE hexbite_reader", "CREATE ROLE hexbite_loader", "GRANT hexbite_reader TO ann")
    run(
        shop, "GRANT CREATE ON SCHEMA hexbite TO ann", "GRANT USAGE ON SCHEMA hexbite TO hexbite_reader, hexbite_loader"
    )
    with pytest.raises(StoreError) as closed:
        migrate.upgrade(owner)
    assert grant_that(closed.value) == "GRANT USAGE ON SCHEMA hexbite TO hexbite_teller"
    run(shop, "CREATE ROLE hexbite_teller", "GRANT hexbite_teller TO ann", grant_that(closed.value))
    migrate.upgrade(owner)
    assert one(owner, "SELECT to_regclass('hexbite.restaurants') IS NOT NULL")


async def test_rows_that_a_policy_hides_are_an_error_and_never_an_empty_answer(shop: str, tmp_path: Path) -> None:
    owner, reader, loader = (as_user(shop, name, "shop") for name in ("ann", "bea", "cy"))
    run(shop, "GRANT CREATE ON DATABASE shop TO ann")
    migrate.upgrade(owner)
    run(shop, "GRANT hexbite_reader TO bea", "GRANT hexbite_loader TO cy")
    run(shop, "GRANT TEMPORARY ON DATABASE shop TO hexbite_loader")
    load(loader, write_town(tmp_path / "data"))
    memory = ("user_states", "arrival_states", "pending_events")
    for table in ("feature_schemas", "users", "restaurants", *memory):
        run(shop, f"ALTER TABLE hexbite.{table} ENABLE ROW LEVEL SECURITY")
        for login in (reader, owner):
            with pytest.raises(StoreMisconfigured, match=r"row-level security.*DISABLE ROW LEVEL SECURITY"):
                await read(login)
        if table in memory:  # a load of a schema without counters has nothing to do with them
            run(shop, f"ALTER TABLE hexbite.{table} DISABLE ROW LEVEL SECURITY")
            continue
        with pytest.raises(StoreMisconfigured, match="row-level security"):
            load(loader, tmp_path / "data")
        run(shop, f"ALTER TABLE hexbite.{table} DISABLE ROW LEVEL SECURITY")
    await read(reader)
