"""What people did, as a data folder tells it beside its rows: the events that its counters count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from data.folder.columns import NO_EVENT, Fault, Holding, series_to_event_us, series_to_ids
from data.folder.files import File, Unreadable
from hexbite.counters.definitions import Counters
from hexbite.errors import DataError, Problem
from hexbite.folder import EVENT_TS
from hexbite.geo import Ids
from hexbite.ids import IdKinds

_KIND: Final = "event"

# Of what nothing counts.
_OTHER: Final = "other kinds"
_BATCH_ROWS: Final = 1 << 20


class EventRows(NamedTuple):
    """M events: ids of users and restaurants, those of text by their hashes; ``kind`` the place in `Counters.kinds`,
    -1 for what nothing counts; microseconds since 1970, UTC. Each ``(M,)``.
    """

    user_ids: Ids
    restaurant_ids: Ids
    kind: npt.NDArray[np.int16]
    time_us: npt.NDArray[np.int64]


@dataclass
class Events:
    """The event files of a folder that hold rows. Ids need no row in the feature tables.

    ``kinds``, the events of each kind, are set by `judge`.
    """

    files: Sequence[File]
    ids: IdKinds
    counters: Counters
    kinds: Counter[str] = field(default_factory=Counter)

    @property
    def rows(self) -> int:
        """Of all files."""
        return sum(file.rows for file in self.files)

    @property
    def columns(self) -> dict[str, Holding]:
        """What an event file has to hold, and of what kind."""
        return {"user_id": self.ids.user, "restaurant_id": self.ids.restaurant, _KIND: "text", EVENT_TS: "times"}

    def judge(self) -> list[Problem]:
        """Read every event once, and say what is wrong; its columns must be there and of their kinds."""
        problems: list[Problem] = []
        for file in self.files:
            counts: Counter[tuple[str, str]] = Counter()
            try:
                for rows, faults in self._batches(file):
                    self._count(rows)
                    for fault in faults:
                        counts[fault.column, fault.what] += int(np.count_nonzero(fault.rows))
            except Unreadable as error:
                problems.append(Problem(file.name, "", str(error)))
            problems += [Problem(file.name, *fault, count) for fault, count in counts.items()]
        return problems

    def read(self) -> EventRows:
        """All of them, in no order. Raises DataError where a file cannot be read."""
        parts = []
        for file in self.files:
            try:
                parts += [rows for rows, _ in self._batches(file)]
            except Unreadable as error:
                raise DataError(str(error), path=file.path) from error
        return EventRows(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def _count(self, rows: EventRows) -> None:
        of_codes = np.bincount(rows.kind + 1, minlength=len(self.counters.kinds) + 1).tolist()
        for kind, count in zip((_OTHER, *self.counters.kinds), of_codes, strict=True):
            self.kinds[kind] += count

    def _batches(self, file: File) -> Iterator[tuple[EventRows, list[Fault]]]:
        codes = {kind: code for code, kind in enumerate(self.counters.kinds)}
        for start in range(0, file.rows, _BATCH_ROWS):
            frame = file.read(list(self.columns), start, _BATCH_ROWS)
            users, faults = series_to_ids(frame["user_id"], self.ids.user)
            restaurants, found = series_to_ids(frame["restaurant_id"], self.ids.restaurant)
            times, outside = series_to_event_us(frame[EVENT_TS])
            nulls = {_KIND: frame[_KIND].is_null().to_numpy(), EVENT_TS: times == NO_EVENT}
            faults += found + outside + [Fault(name, "null", rows) for name, rows in nulls.items() if rows.any()]
            kinds = frame[_KIND].cast(pl.String).replace_strict(codes, default=-1, return_dtype=pl.Int16)
            yield EventRows(users, restaurants, kinds.to_numpy(), times), faults
