"""What is remembered of one person, decoded from the rows that a read brings beside the restaurants."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hexbite.counters.clocks import Slots, slots
from hexbite.counters.definitions import By
from hexbite.counters.packing import place_dtype
from hexbite.counters.people import People
from hexbite.counters.states import NEVER, Events, Indices, Layout, Values
from hexbite.errors import StoreMisconfigured
from hexbite.features import FeatureSchema
from hexbite.geo import Ids
from hexbite.zones import are_zones, local_times_of_moments

#: What keeps a schema with counters from being served, and what to do.
NOT_MADE: Final = "what people did is not counted yet for the model's counters; run: python -m db refresh"

_US_PER_S: Final = 1_000_000

# The store's wire counts from 2000 on; what is counted does from 1970 on, and so do the states that the store keeps.
_EPOCH_US: Final = round(datetime(2000, 1, 1, tzinfo=UTC).timestamp()) * _US_PER_S

# '-infinity' of a timestamptz: for never.
_NEVER: Final = -(2**63)

# What the first byte of a mark says, see db/sql/reading/memory.sql.
_OF_USER, _PLACES, _PENDING, _ARRIVALS = b"spea"

_USER: Final = struct.Struct(">xqqq")
_EVENT: Final = np.dtype([("restaurant", ">i8"), ("time_us", ">i8"), ("zone", ">f4")])


class Memory(NamedTuple):
    """``people`` is the one person, in whom the ``pending`` events that no refresh has moved yet are counted.

    ``arrivals`` are the ids ``(A,)`` and states ``(A, C)`` of the restaurants that people went to from the one that
    this person was at last. ``refreshed_us``, since 1970, is when what belongs to places alone was brought up to date.
    """

    people: People
    arrivals: tuple[Ids, Values]
    pending: int
    refreshed_us: int


class MemoryForm:
    """The form of the memory of a schema that has counters."""

    def __init__(self, schema: FeatureSchema) -> None:
        self._counters = schema.counters
        layouts = {by: Layout.of(schema.counters, by) for by in By}
        # Of somebody who never did anything.
        self._state = layouts[By.USER].empty()[0]
        self._known, self._arrivals = (
            np.empty(0, dtype=place_dtype(layouts[by].width)) for by in (By.PAIR, By.PREVIOUS)
        )
        self._codes = {kind: code for code, kind in enumerate(schema.counters.kinds)}

    def decode(self, user_id: int, rows: Iterable[tuple[bytes | None, bytes]]) -> Memory:
        """The memory of a user, from what is packed in rows of db/sql/reading/memory.sql and their marks.

        Raises StoreMisconfigured where the states of the schema are not made yet.
        """
        refreshed_us, previous, last_us = _NEVER, 0, NEVER
        state, known, arrivals = self._state, self._known, self._arrivals
        told: list[tuple[str, bytes]] = []
        for packed, mark in rows:
            if mark[0] == _OF_USER:
                refreshed_us, previous, previous_us = _USER.unpack(mark)
                if packed is not None:
                    state = np.frombuffer(packed, dtype="<f8")
                if previous_us != _NEVER:
                    last_us = previous_us + _EPOCH_US
            elif packed is None:
                continue
            elif mark[0] == _PLACES:
                known = np.frombuffer(packed, dtype=known.dtype)
            elif mark[0] == _PENDING:
                told.append((mark[1:].decode(), packed))
            elif mark[0] == _ARRIVALS:
                arrivals = np.frombuffer(packed, dtype=arrivals.dtype)
        if refreshed_us == _NEVER:
            raise StoreMisconfigured(NOT_MADE)
        people = People(
            np.array([user_id]),
            state[np.newaxis],
            np.array([previous]),
            np.array([last_us], dtype=np.float64),
            np.zeros(len(known), dtype=np.int64),
            known["id"].astype(np.int64),
            known["state"],
        )
        pending = sum(len(packed) for _, packed in told) // _EVENT.itemsize
        counted = [(self._codes[kind], packed) for kind, packed in told if kind in self._codes]
        if counted:
            people = self._remember(people, counted)
        return Memory(people, (arrivals["id"].astype(np.int64), arrivals["state"]), pending, refreshed_us + _EPOCH_US)

    def _remember(self, people: People, told: list[tuple[int, bytes]]) -> People:
        """The person with what was told of it since the last refresh: events, packed, of each kind by its code."""
        events = np.frombuffer(b"".join(packed for _, packed in told), dtype=_EVENT)
        kind = np.repeat([code for code, _ in told], [len(packed) // _EVENT.itemsize for _, packed in told])
        time_us = events["time_us"].astype(np.int64) + _EPOCH_US
        by_clock = self._slots(events["zone"].astype(np.float32), time_us)
        user = np.full(len(events), people.ids[0])
        return people.remember(
            self._counters, user, events["restaurant"].astype(np.int64), Events(kind, time_us, by_clock)
        )[0]

    def _slots(self, zones: npt.NDArray[np.float32], time_us: Indices) -> dict[str, Slots]:
        """By each clock the slot of M moments ``(M,)`` where the restaurants are, -1 where nobody knows their zone."""
        found = {clock: np.full(len(zones), -1) for clock in self._counters.clocks}
        if not found:
            return found
        known = are_zones(zones)
        local = local_times_of_moments(zones[known], time_us[known] / _US_PER_S)
        for clock, slot in found.items():
            slot[known] = slots(clock, *local)
        return found
