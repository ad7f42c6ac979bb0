"""Reads for the service: one statement a request, decoded in bulk."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from db.access.connections import Connections
from db.access.session import READER, hidden, quoted
from db.reading.keys import Keys
from db.reading.memory import NOT_MADE, Memory, MemoryForm
from db.reading.spread import Spread
from db.statements import SQL
from hexbite.counters.definitions import By
from hexbite.counters.states import Layout
from hexbite.cover import Intervals
from hexbite.errors import SchemaError, StoreMisconfigured
from hexbite.features import FeatureSchema, Matrix
from hexbite.geo import Ids

Restaurants = npt.NDArray[np.void]

# Sizes of the table of bits that candidates are looked up in: a hundred bits each, up to how many. Odd, or ids with a
# common power of two would crowd into few bits.
_FILTER_BITS: Final = ((1_000, 131_071), (10_000, 1_048_575))

# timestamptz_send counts microseconds.
_US_PER_S: Final = 1e6

# array_send: dimensions, flags, element type, length, lower bound, 4 bytes each; then each element's length and value.
_ARRAY_HEADER_BYTES: Final = 20
_ELEMENT: Final = np.dtype([("bytes", ">i4"), ("value", ">f4")])


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one request reads.

    ``user`` ``(U,)`` float32 and its event time ``user_event_us``, both None for an unknown user.
    ``restaurants`` ``(N,)`` records in no order, as they came: big-endian ``id`` int64, ``lat_deg`` and ``lng_deg``
    float64, ``features`` ``(S,)`` float32 as the schema's `stored_restaurant_names`, ``event_us`` int64. ``read_us`` is
    the store's own clock at the read; times are microseconds since 2000. ``known`` is how many candidates exist at all,
    where that was asked. Where the schema has counters, ``memory`` is what is remembered of the user, and the
    restaurants have a ``state`` ``(C,)`` float64.
    """

    user: Matrix | None
    restaurants: Restaurants
    read_us: int = 0
    user_event_us: int | None = None
    known: int | None = None
    memory: Memory | None = None

    def user_age_s(self) -> float | None:
        """Seconds since the user's event; None for an unknown user."""
        return None if self.user_event_us is None else (self.read_us - self.user_event_us) / _US_PER_S

    def ages_s(self, restaurants: Restaurants) -> npt.NDArray[np.float64]:
        """Seconds since the event that each of some restaurants ``(N,)`` tells of; below 0 for one yet to come."""
        return (self.read_us - restaurants["event_us"].astype(np.int64)) / _US_PER_S


class FeatureStore:
    """Reads the rows of one feature schema.

    Reads go over ``connections``, which several stores may share.
    """

    def __init__(self, connections: Connections, schema: FeatureSchema) -> None:
        self.connections = connections
        self._schema = schema
        self._fingerprint = schema.fingerprint
        self._packed = np.dtype(
            [
                ("id", ">i8"),
                ("lat_deg", ">f8"),
                ("lng_deg", ">f8"),
                ("features", ">f4", (len(schema.stored_restaurant_names),)),
                ("state", "<f8", (Layout.of(schema.counters, By.RESTAURANT).width,)),
                ("event_us", ">i8"),
            ]
        )
        # One statement: what is remembered of a person is of the same snapshot as all else.
        more = f"\n UNION ALL\n{SQL['memory']}" if schema.counters else ""
        self._statements = {name: SQL[name] + more for name in ("nearby", "candidates", "candidates_nearby")}
        self._memory = MemoryForm(schema) if schema.counters else None
        self.spread = Spread(0, None)
        #: When what belongs to places alone was last refreshed, as the last `check` found it.
        self.refreshed_at: datetime | None = None
        self.keys = Keys(connections, self._fingerprint)

    async def check(self, connections: Connections | None = None) -> tuple[str, ...]:
        """Return where the store can serve the schema: the features that it was loaded with another fill for.

        Asks over other ``connections`` where some are given: those of the reads may all be busy. Also learns anew how
        restaurants are spread. Raises SchemaError where the schema is not registered, StoreMisconfigured where the
        tables are not there or may not be read, or where its counters' states are not made yet, StoreUnavailable or
        StoreTimeout where the store cannot tell.
        """
        connections = connections or self.connections
        schema = connections.opener.schema
        async with connections.lend() as connection:
            # First: what may not be seen is as if it were not there.
            _require_rights(await connection.fetchrow(SQL["rights"], schema), schema)
            row = await connection.fetchrow(SQL["registered"], self._fingerprint)
            spread = await connection.fetchrow(SQL["spread"])
        if row is None:
            raise SchemaError(
                f"the store has no features of the model's schema {self._fingerprint[:12]}; load the data "
                "folder that the model was trained on: python -m db load DIR"
            )
        if self._memory is not None and row["remembered_at"] is None:
            raise StoreMisconfigured(NOT_MADE)
        self.refreshed_at = row["remembered_at"]
        self.spread = Spread(*spread)
        return tuple(
            feature.name
            for group in ("user", "restaurant")
            # Behind those of a restaurant's features comes none, for its zone.
            for feature, loaded in zip(self._schema.group(group), row[f"{group}_fills"], strict=False)
            if (None if feature.fill is None else np.float32(feature.fill)) != loaded
        )

    async def nearby(self, user_id: int, cover: Intervals) -> Snapshot:
        """The user and every restaurant whose cell lies in the cover.

        Raises StoreUnavailable, StoreTimeout or StoreError, as every read does.
        """
        return await self._read("nearby", (user_id, *_lists(cover)))

    async def candidates(self, user_id: int, asked: list[int], *, count_known: bool = False) -> Snapshot:
        """The user and those of the restaurants asked for that exist: the way to read few of them."""
        return await self._read("candidates", (user_id, list(set(asked))), asked if count_known else None)

    async def candidates_nearby(
        self, user_id: int, asked: list[int] | Ids, cover: Intervals, *, count_known: bool = False
    ) -> Snapshot:
        """The user and those of the restaurants asked for whose cell lies in the cover: the way to read many."""
        ids = np.array(asked, dtype=np.int64)
        counted = ids.tolist() if count_known else None
        bits = next((bits for most, bits in _FILTER_BITS if len(asked) <= most), _FILTER_BITS[-1][1])
        arguments = (user_id, *_lists(cover), _ids_to_bits(ids, bits), bits)
        snapshot = await self._read("candidates_nearby", arguments, counted)
        # Some that were not asked for share a bit with one that was.
        ids.sort()
        found = snapshot.restaurants["id"].astype(np.int64)
        meant = ids.take(np.searchsorted(ids, found), mode="clip") == found if len(ids) else np.zeros(0, dtype=np.bool_)
        return replace(snapshot, restaurants=snapshot.restaurants[meant])

    async def _read(self, statement: str, arguments: tuple[Any, ...], count_known: list[int] | None = None) -> Snapshot:
        known = None
        async with self.connections.lend() as connection:
            if count_known is None:
                rows = await connection.fetch(self._statements[statement], self._fingerprint, *arguments)
            else:
                # Two statements see one snapshot only inside a transaction that says so.
                async with connection.transaction(isolation="repeatable_read", readonly=True):
                    rows = await connection.fetch(self._statements[statement], self._fingerprint, *arguments)
                    known = await connection.fetchval(SQL["known"], self._fingerprint, count_known)
        snapshot = self._decode(rows, known)
        if self._memory is None:
            return snapshot
        remembered = ((row[1], row[2]) for row in rows if row[0] is None and row[2] is not None)
        return replace(snapshot, memory=self._memory.decode(arguments[0], remembered))

    def _decode(self, rows: list[Any], known: int | None) -> Snapshot:
        # The user's is the first row, but nothing says that it must be.
        user_row = next((row for row in rows if row[0] is not None), None)
        if user_row is None:
            raise SchemaError("the store has no features of the model's schema any more")
        parts = [row[1] for row in rows if row[0] is None and row[2] is None and row[1] is not None]
        restaurants = np.frombuffer(b"".join(parts), dtype=self._packed)
        read_us = int.from_bytes(user_row[2][:8], "big", signed=True)
        if user_row[1] is None:
            return Snapshot(None, restaurants, read_us, known=known)
        elements = np.frombuffer(user_row[1], dtype=_ELEMENT, offset=_ARRAY_HEADER_BYTES)
        event_us = int.from_bytes(user_row[2][8:], "big", signed=True)
        return Snapshot(elements["value"].astype(np.float32), restaurants, read_us, event_us, known)


def _require_rights(rights: Any, schema: str) -> None:
    """Raises StoreMisconfigured with what is missing for reading the tables, and the statement that gives it."""
    if rights["may_enter"] is False:
        missing = f"GRANT USAGE ON SCHEMA {quoted(schema)} TO {READER}"
    elif rights["closed"]:
        tables = ", ".join(f"{quoted(schema)}.{table}" for table in rights["closed"])
        missing = f"GRANT SELECT ON {tables} TO {READER}"
    elif rights["filtered"]:
        raise StoreMisconfigured(hidden(READER))
    else:
        return
    raise StoreMisconfigured(f"the store may not be read; run, as its owner: {missing}")


def _lists(cover: Intervals) -> tuple[list[int], list[int]]:
    return cover.lows.tolist(), cover.highs.tolist()


def _ids_to_bits(ids: Ids, size: int) -> bytes:
    """A table of ``size`` bits, lowest first, with a 1 at |id % size| for each id (the remainder has the id's sign)."""
    table = np.zeros(size, dtype=np.bool_)
    table[np.abs(np.fmod(ids, size))] = True
    return np.packbits(table, bitorder="little").tobytes()
