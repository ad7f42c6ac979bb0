"""A revision is two SQL files beside its Python file: what goes up and what comes down."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

from alembic import context
from sqlalchemy import Connection

from db import migrate
from db.migrations.locks import insist

Direction = Literal["up", "down"]


def run_beside(revision_file: str, direction: Direction) -> None:
    """Run ``<revision>.up.sql`` or ``.down.sql`` as it is written, or print it in offline mode.

    It is one transaction, tried again for as long as another session holds one of its locks.
    """
    sql = _read(revision_file, direction)
    if context.is_offline_mode():
        context.get_context().impl.static_output(sql)
    else:
        insist(context.get_bind(), partial(_send_in_savepoint, context.get_bind(), sql))


def run_online_beside(revision_file: str, direction: Direction) -> None:
    """Run or print such a file outside a transaction, as CONCURRENTLY must be, a paragraph at a time.

    A paragraph ends at an empty line. It is one statement with CONCURRENTLY, which may wait long because nobody waits
    for it, or a short transaction. Nothing undoes one when the next fails: the file has to begin by dropping whatever
    an earlier run of it can have left.
    """
    paragraphs = _read(revision_file, direction).split("\n\n")
    statements = {paragraph: _without_comments(paragraph) for paragraph in paragraphs}
    with context.get_context().autocommit_block():
        for paragraph, statement in statements.items():
            if context.is_offline_mode():
                _print(paragraph, statement)
            elif "CONCURRENTLY" in statement:
                _send_patiently(context.get_bind(), statement)
            elif statement:
                insist(context.get_bind(), partial(_send, context.get_bind(), statement))


def _read(revision_file: str, direction: Direction) -> str:
    return Path(revision_file).with_suffix(f".{direction}.sql").read_text(encoding="utf-8")


def _without_comments(paragraph: str) -> str:
    return "\n".join(line for line in paragraph.splitlines() if not line.startswith("--")).strip()


def _send(connection: Connection, sql: str) -> None:
    # Not through op.execute, which reads :name as a parameter; without parameters the driver leaves % alone.
    connection.exec_driver_sql(sql, execution_options={"no_parameters": True})


def _send_in_savepoint(connection: Connection, sql: str) -> None:
    # What goes back to its savepoint gives up its locks.
    with connection.begin_nested():
        _send(connection, sql)


def _send_patiently(connection: Connection, statement: str) -> None:
    _send(connection, f"SET lock_timeout = '{migrate.CONCURRENT_WAIT}'")
    try:
        # Once: it leaves an invalid index when it fails, which only the file's beginning drops.
        insist(connection, partial(_send, connection, statement), patience_s=0)
    finally:
        _send(connection, f"SET lock_timeout = '{migrate.LOCK_TIMEOUT}'")


def _print(paragraph: str, statement: str) -> None:
    before = after = ""
    if "CONCURRENTLY" in statement:
        before = f"SET lock_timeout = '{migrate.CONCURRENT_WAIT}';\n"
        after = f"\nSET lock_timeout = '{migrate.LOCK_TIMEOUT}';"
    elif statement:
        before, after = "BEGIN;\n", "\nCOMMIT;"
    context.get_context().impl.static_output(f"{before}{paragraph.strip()}{after}\n")
