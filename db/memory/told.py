"""Events that the store holds, as arrays, read by COPY in its binary form."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import psycopg

from db.access.copying import EPOCH_US, read_records
from db.statements import SQL
from hexbite.counters.definitions import Counters
from hexbite.geo import Ids

_FIELDS: Final = (("user", ">i8"), ("restaurant", ">i8"), ("time", ">i8"), ("kind", ">i4"))


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
    rows = read_records(connection, SQL[statement], parameters | {"kinds": list(kinds)}, _FIELDS)
    native = {name: rows[name].astype(np.int64) for name, _ in _FIELDS}
    return Told(kinds, native["user"], native["restaurant"], native["kind"], native["time"] + EPOCH_US)


def join_told(one: Told, other: Told) -> Told:
    """Both, of the same kinds, one behind the other."""
    columns = zip(one[1:], other[1:], strict=True)
    return Told(one.kinds, *(np.concatenate(pair) for pair in columns))
