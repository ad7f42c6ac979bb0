"""The binary form of COPY, whole columns at a time.

The form is in Postgres's manual, under COPY: a header, then for each row a count of fields and each field's length and
bytes, big-endian. Where every row is as long as the next, numpy reads and lays out all of them at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import psycopg

HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER: Final = b"\xff\xff"

#: Postgres counts microseconds from 2000-01-01: so many after 1970.
EPOCH_US: Final = 946_684_800_000_000

_NULL: Final = -1

#: A column's name and its numpy type as it is sent; None of one that is NULL.
Field = tuple[str, str | None]


def record_dtype(fields: Sequence[Field]) -> np.dtype[np.void]:
    """What a row of some columns looks like, each with its length before it."""
    layout: list[tuple[str, str]] = [("fields", ">i2")]
    for name, kind in fields:
        layout.append((f"{name} length", ">i4"))
        if kind is not None:
            layout.append((name, kind))
    return np.dtype(layout)


def to_records(fields: Sequence[Field], columns: Mapping[str, Any], size: int) -> npt.NDArray[np.void]:
    """Rows ``(size,)`` of columns, an array or one value each."""
    rows = np.zeros(size, dtype=record_dtype(fields))
    rows["fields"] = len(fields)
    for name, kind in fields:
        rows[f"{name} length"] = _NULL if kind is None else rows.dtype[name].itemsize
        if kind is not None:
            rows[name] = columns[name]
    return rows


def read_records(
    connection: psycopg.Connection[Any], query: str, parameters: Mapping[str, Any], fields: Sequence[Field]
) -> npt.NDArray[np.void]:
    """The rows of a query, none of whose columns is NULL."""
    told = psycopg.ClientCursor(connection).mogrify(query, parameters)
    with connection.cursor() as cursor, cursor.copy(f"COPY ({told}) TO STDOUT (FORMAT binary)".encode()) as stream:
        packed = b"".join(stream)
    form = record_dtype(fields)
    size = (len(packed) - len(HEADER) - len(TRAILER)) // form.itemsize
    return np.frombuffer(packed, dtype=form, count=size, offset=len(HEADER))
