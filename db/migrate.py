"""Bring the tables to a revision and back: Alembic's commands, for callers that have an address."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from db.access.driver import connect, driver_errors, vacuum
from hexbite.errors import StoreError

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


def engine(dsn: str) -> Engine:
    """What Alembic speaks through. The driver connects by itself: SQLAlchemy reads addresses in another way."""
    return create_engine("postgresql+psycopg://", creator=lambda: connect(dsn), poolclass=NullPool)


def upgrade(dsn: str, revision: str = "head") -> None:
    """Run the revisions up to one. Raises StoreError, StoreUnavailable.

    A store that a later version has brought further than ``head`` is left as it is: what a revision adds, the code
    before can live with, and an older image must start on it.
    """
    before = current(dsn)
    if revision == "head" and before is not None and is_newer(dsn, before):
        return
    with _errors():
        command.upgrade(_config(dsn), revision)
    if current(dsn) != before:
        vacuum(dsn)


def downgrade(dsn: str, revision: str) -> None:
    """Run the ways back down to a revision, ``base`` for all, ``-1`` for the last. Drops data with its tables."""
    with _errors():
        command.downgrade(_config(dsn), revision)


def upgrade_script(revision: str = "head") -> str:
    """The SQL of `upgrade` from nothing, or of ``FROM:TO``."""
    # A way back leaves Alembic's own table behind, empty.
    return _script(command.upgrade, revision).replace(
        "CREATE TABLE alembic_version", "CREATE TABLE IF NOT EXISTS alembic_version"
    )


def downgrade_script(revision: str) -> str:
    """The SQL of `downgrade` from the newest revision, or of ``FROM:TO``."""
    return _script(command.downgrade, revision if ":" in revision else f"{head()}:{revision}")


def current(dsn: str) -> str | None:
    """The revision that a store is at; None where nothing was run. Raises StoreError, StoreUnavailable."""
    with _errors(), engine(dsn).connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def is_newer(dsn: str, revision: str) -> bool:
    """Whether a store's revision is none of ours and the store is: another program's revision is not newer.

    Raises StoreError, StoreUnavailable.
    """
    if revision in {known for known, _ in history()}:
        return False
    with driver_errors(), connect(dsn) as connection:
        row = connection.execute("SELECT to_regclass('feature_schemas') IS NOT NULL").fetchone()
    return row is not None and bool(row[0])


def head() -> str:
    """The newest revision."""
    newest = ScriptDirectory(str(_MIGRATIONS)).get_current_head()
    assert newest is not None
    return newest


def history() -> list[tuple[str, str]]:
    """Every revision, newest first, and what it is for."""
    return [(script.revision, script.doc) for script in ScriptDirectory(str(_MIGRATIONS)).walk_revisions()]


def _config(dsn: str | None, output: io.StringIO | None = None) -> Config:
    config = Config(output_buffer=output, attributes={} if dsn is None else {"dsn": dsn})
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    return config


def _script(run: Callable[..., None], revision: str) -> str:
    printed = io.StringIO()
    with _errors():
        run(_config(None, printed), revision, sql=True)
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
