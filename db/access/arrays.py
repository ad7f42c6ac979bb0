"""Arrays of numpy as parameters: bigint[] in its binary form, without a Python object for each element."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from psycopg import pq
from psycopg.abc import Buffer
from psycopg.adapt import Dumper

_INT8_OID: Final = 20
_INT8_ARRAY_OID: Final = 1016
_ELEMENT: Final = np.dtype([("length", ">i4"), ("value", ">i8")])


class BigintArray(Dumper):
    """Dumps integers ``(N,)``, or booleans as 0 and 1."""

    format = pq.Format.BINARY
    oid = _INT8_ARRAY_OID

    def dump(self, obj: npt.NDArray[Any]) -> Buffer:
        """As array_recv() of Postgres reads it: dimensions, whether there are nulls, type, length, first, elements."""
        elements = np.empty(len(obj), dtype=_ELEMENT)
        elements["length"], elements["value"] = _ELEMENT["value"].itemsize, obj
        return np.array([1, 0, _INT8_OID, len(obj), 1], dtype=">i4").tobytes() + elements.tobytes()
