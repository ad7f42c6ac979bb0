"""Events that the store holds, as arrays, read by COPY in its binary form."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import psycopg

from db.statements import SQL
from hexbite.counters.definitions import Counters
from hexbite.geo import Ids

# The form is in Postgres's manual, under COPY: header and extension, rows, a last word.
_HEAD_BYTES: Final = 19
_TAIL_BYTES: Final = 2

_EIGHT: Final = ("user", "restaurant", "time")
_ROW: Final = np.dtype(
    [("fields", ">i2")]
    + [(f"{name}{part}", kind) for name in _EIGHT for part, kind in ((" bytes", ">i4"), ("", ">i8"))]
    + [("kind bytes", ">i4"), ("kind", ">i4")]
)

# Postgres counts microseconds from 2000-01-01.
_EPOCH_US: Final = 946_684_800_000_000


class Told(NamedTuple):
    """M events: ids ``(M,)`` of users and restaurants, each one's kind, time in microseconds since 1970.

    A kind is a number among ``kinds``, below 0 for another.
    """

    kinds: tuple[str, ...]
    user: Ids
    restaurant: Ids
    kind: npt.NDArray[np.int64]
    time_us: npt.NDArray[np.int64]

    def counted(self, counters: Counters) -> Told:
        """Those that some counter counts, kinds numbered as its counters have them."""
        codes = np.array(
            [counters.kinds.index(kind) if kind in counters.kinds else -1 for kind in self.kinds] + [-1], dtype=np.int64
        )
        kind = codes[self.kind]
        return Told(counters.kinds, self.user, self.restaurant, kind, self.time_us).take(kind >= 0)

    def take(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.integer]) -> Told:
        """Some of them."""
        return Told(self.kinds, self.user[rows], self.restaurant[rows], self.kind[rows], self.time_us[rows])


def read_told(connection: psycopg.Connection[Any], statement: str, kinds: tuple[str, ...], **parameters: Any) -> Told:
    """The events of a statement of ``db/sql/`` that has user_id, restaurant_id, event_ts and the kind's number."""
    with connection.cursor() as cursor:
        query = psycopg.ClientCursor(connection).mogrify(SQL[statement], parameters | {"kinds": list(kinds)})
        with cursor.copy(f"COPY ({query}) TO STDOUT (FORMAT binary)".encode()) as stream:
            packed = b"".join(stream)
    rows = np.frombuffer(
        packed, dtype=_ROW, count=(len(packed) - _HEAD_BYTES - _TAIL_BYTES) // _ROW.itemsize, offset=_HEAD_BYTES
    )
    native = {name: rows[name].astype(np.int64) for name in ("user", "restaurant", "kind", "time")}
    return Told(kinds, native["user"], native["restaurant"], native["kind"], native["time"] + _EPOCH_US)


def join_told(one: Told, other: Told) -> Told:
    """Both, of the same kinds, one behind the other."""
    columns = zip(one[1:], other[1:], strict=True)
    return Told(one.kinds, *(np.concatenate(pair) for pair in columns))
