"""Which registered schemas count what."""

from __future__ import annotations

from typing import Any, NamedTuple

import psycopg

from db.statements import SQL
from hexbite.counters.definitions import By, Counters
from hexbite.counters.states import Layout
from hexbite.errors import SchemaError, StoreError


class Counting(NamedTuple):
    """A schema that counts: ``is_zoned`` where its restaurants have a zone, ``is_made`` where its states are made."""

    schema_id: int
    fingerprint: str
    counters: Counters
    layouts: dict[By, Layout]
    is_zoned: bool
    is_made: bool


def counting_schemas(connection: psycopg.Connection[Any]) -> list[Counting]:
    """Every registered schema with counters. Raises StoreError where one counts what this version does not know."""
    found = []
    for schema_id, fingerprint, document, is_zoned, is_made in connection.execute(SQL["counting"]):
        try:
            counters = Counters.from_json(document)
        except SchemaError as error:
            raise StoreError(
                f"schema {fingerprint[:12]} counts in a way that this version does not know ({error}); "
                "refresh with the version that loaded it"
            ) from error
        layouts = {by: Layout.of(counters, by) for by in By}
        found.append(Counting(schema_id, fingerprint, counters, layouts, is_zoned, is_made))
    return found
