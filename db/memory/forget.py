"""A person out of the store, wherever it stands there."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from db.access.driver import opened
from db.access.session import SCHEMA
from db.memory.turn import turn
from db.statements import SQL
from hexbite.errors import StoreError
from hexbite.ids import text_fault, text_to_id

_INTEGER: Final = re.compile(r"-?[0-9]{1,30}", re.ASCII)
_INT64: Final = range(-(2**63), 2**63)


class Forgotten(NamedTuple):
    """What was removed: rows of `users`, events with their ids, those of them that were pending, and states."""

    rows: int
    events: int
    event_ids: int
    pending: int
    states: int


def forget(dsn: str, user_id: int | str, *, schema: str = SCHEMA) -> Forgotten:
    """Remove a person from every schema; what it did stays counted at places, without the person.

    The id is text as it stands and, where it reads as a 64-bit integer, that integer too, as `move` takes it. Raises
    StoreError where the id is none or nothing is known of it, StoreUnavailable.
    """
    text = str(user_id)
    if fault := text_fault(text):
        raise StoreError(f"user {text!a} cannot be forgotten: its id {fault}")
    integer = int(text) if _INTEGER.fullmatch(text) else _INT64.stop
    parameters = {
        "user_id": integer if integer in _INT64 else None,
        "hash": text_to_id(text),
        "user_key": text,
    }
    with opened(dsn, schema, autocommit=True) as connection, turn(connection):
        # Who is just being told of, too: whoever tells waits for a moment.
        connection.execute("LOCK TABLE pending_events IN SHARE ROW EXCLUSIVE MODE")
        row = connection.execute(SQL["forget_user"], parameters).fetchone()
        assert row is not None
    forgotten = Forgotten(*row)
    if not any(forgotten):
        raise StoreError(f"nothing is known of user {user_id}")
    return forgotten
