"""One at a time: whoever changes states, or what they are made of, takes turns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg


@contextmanager
def turn(connection: psycopg.Connection[Any], *, wait: bool = True) -> Iterator[None]:
    """A transaction in which nobody else changes states, that reads one snapshot.

    Its locks come before the snapshot, which a function (an advisory lock) could not: what the one before has changed
    is seen. Readers and tellers wait for none of them; a load is waited for, so that its rows get their states.
    Without ``wait`` raises LockNotAvailable where it is somebody else's turn.
    """
    at_once = b"" if wait else b" NOWAIT"
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute(b"LOCK TABLE retention IN EXCLUSIVE MODE" + at_once)
        connection.execute(b"LOCK TABLE restaurants IN ROW EXCLUSIVE MODE" + at_once)
        yield
