"""Bring the tables to a revision and back: Alembic's commands, for callers that have an address."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from psycopg import sql
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from db.access.driver import connect, driver_errors, vacuum
from db.access.session import SCHEMA, quoted
from db.statements import SQL
from hexbite.errors import StoreError, StoreMisconfigured

#: Key of the advisory lock that one migrator holds: "hexbite" in hexadecimal digits of ASCII.
MIGRATOR_LOCK: Final = 0x68657862697465

#: How long a migrator waits for another one, which may be building an index.
MIGRATOR_WAIT_S: Final = 600.0

#: How long a revision waits for a table: behind its request everybody else queues.
LOCK_TIMEOUT: Final = "200ms"

#: For how long it tries, and the pause before it asks again: those who queued pass meanwhile.
PATIENCE_S: Final = 60.0
ASK_EVERY_S: Final = 1.0

#: How long a statement with CONCURRENTLY waits for a session: nobody queues behind it.
CONCURRENT_WAIT: Final = "5min"

_MIGRATIONS: Final = Path(__file__).parent / "migrations"


#: The first revision that keeps to a schema of its own, and where those before it stood.
OWN_SCHEMA_SINCE: Final = "0005"
OLD_HOME: Final = "public"


def engine(dsn: str, schema: str) -> Engine:
    """What Alembic speaks through. The driver connects by itself: SQLAlchemy reads addresses in another way.

    Where the store still stands where it stood before it had a schema of its own, its tables are seen there too.
    """
    return create_engine("postgresql+psycopg://", creator=lambda: _connect(dsn, schema), poolclass=NullPool)


def _connect(dsn: str, schema: str) -> psycopg.Connection[Any]:
    connection = connect(dsn, schema)
    with connection.transaction():
        is_old = connection.execute(SQL["stands_in_old_home"], {"schema": schema, "home": OLD_HOME}).fetchone()
        # Of its alembic_version, which may be another program's, only now: it is read as a table of ours.
        if is_old is not None:
            versions = sql.SQL("SELECT version_num FROM {}.alembic_version").format(sql.Identifier(OLD_HOME))
            if any(version < OWN_SCHEMA_SINCE for (version,) in connection.execute(versions)):
                path = sql.SQL("SET search_path = {}, {}")
                connection.execute(path.format(sql.Identifier(OLD_HOME), sql.Identifier(schema)))
    return connection


def upgrade(dsn: str, revision: str = "head", *, schema: str = SCHEMA) -> None:
    """Run the revisions up to one, on tables in a schema of the database. Raises StoreError, StoreUnavailable.

    A store that a later version has brought further than ``head`` is left as it is: what a revision adds, the code
    before can live with, and an older image must start on it.
    """
    before = current(dsn, schema)
    _require_own(dsn, schema, before)
    if revision == "head" and (before == head() or is_newer(before)):
        return
    with _errors():
        command.upgrade(_config(dsn, schema), revision)
    if current(dsn, schema) != before:
        vacuum(dsn, schema)


def downgrade(dsn: str, revision: str, *, schema: str = SCHEMA) -> None:
    """Run the ways back down to a revision, ``base`` for all, ``-1`` for the last. Drops data with its tables."""
    before = current(dsn, schema)
    if before is None:
        raise StoreError(f"there is no store in schema {quoted(schema)} to bring down")
    _require_own(dsn, schema, before)
    with _errors():
        command.downgrade(_config(dsn, schema), revision)


def upgrade_script(revision: str = "head", *, schema: str = SCHEMA) -> str:
    """The SQL of `upgrade` from nothing, or of ``FROM:TO``."""
    # A way back leaves Alembic's own table behind, empty.
    return _script(command.upgrade, revision, schema).replace(
        "CREATE TABLE alembic_version", "CREATE TABLE IF NOT EXISTS alembic_version"
    )


def downgrade_script(revision: str, *, schema: str = SCHEMA) -> str:
    """The SQL of `downgrade` from the newest revision, or of ``FROM:TO``."""
    return _script(command.downgrade, revision if ":" in revision else f"{head()}:{revision}", schema)


def current(dsn: str, schema: str = SCHEMA) -> str | None:
    """The revision that a store is at; None where nothing was run. Raises StoreError, StoreUnavailable."""
    with _errors(), engine(dsn, schema).connect() as connection:
        try:
            # Several are another program's.
            return ", ".join(MigrationContext.configure(connection).get_current_heads()) or None
        except DBAPIError as error:
            if not isinstance(error.orig, psycopg.errors.InsufficientPrivilege):
                raise
            connection.rollback()
            missing = connection.exec_driver_sql(SQL["missing_grant"].replace("%", "%%")).scalar_one()
            raise StoreMisconfigured(
                f"the store's user may not see its revision; run, as the owner: {missing}"
            ) from error


def is_newer(revision: str | None) -> bool:
    """Whether a store's revision is none of ours, and so a later version's."""
    return revision is not None and revision not in {known for known, _ in history()}


def _require_own(dsn: str, schema: str, revision: str | None) -> None:
    """Raises StoreMisconfigured where the revision is another program's, which could be taken for one of ours."""
    if revision is None:
        return
    with driver_errors(), _connect(dsn, schema) as connection:
        if connection.execute("SELECT to_regclass('feature_schemas')").fetchone() == (None,):
            raise StoreMisconfigured(
                f"the table alembic_version in schema {quoted(schema)} is at revision {revision} of another program: "
                "the store wants a schema of its own, HEXBITE_STORE_SCHEMA"
            )


def make_schema(schema: str) -> str:
    """A statement that makes the schema of the store where it is missing.

    IF NOT EXISTS alone wants the right to make one even where it is there.
    """
    name = schema.replace("'", "''")
    return f"""DO $make$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = '{name}') THEN
        CREATE SCHEMA {quoted(schema)};
    END IF;
END
$make$"""


def head() -> str:
    """The newest revision."""
    newest = ScriptDirectory(str(_MIGRATIONS)).get_current_head()
    assert newest is not None
    return newest


def history() -> list[tuple[str, str]]:
    """Every revision, newest first, and what it is for."""
    return [(script.revision, script.doc) for script in ScriptDirectory(str(_MIGRATIONS)).walk_revisions()]


def _config(dsn: str | None, schema: str, output: io.StringIO | None = None) -> Config:
    config = Config(output_buffer=output, attributes={"schema": schema} | ({} if dsn is None else {"dsn": dsn}))
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    return config


def _script(run: Callable[..., None], revision: str, schema: str) -> str:
    printed = io.StringIO()
    with _errors():
        run(_config(None, schema, printed), revision, sql=True)
    return printed.getvalue()


@contextmanager
def _errors() -> Iterator[None]:
    try:
        with driver_errors():
            try:
                yield
            except DBAPIError as error:
                raise (error.orig or error) from error
    except CommandError as error:
        raise StoreError(str(error)) from error
