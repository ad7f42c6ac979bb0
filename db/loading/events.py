"""Events to the binary form of COPY, whole columns at a time."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from data.told import OPTIONAL, ToldEvents
from db.access.copying import EPOCH_US, Field, to_records

# The types of the columns of `OPTIONAL`; request_id is a text.
_TYPES: Final = {"latitude": ">f8", "longitude": ">f8", "position": ">i4", "value": ">f8"}


def columns_of(events: ToldEvents) -> list[str]:
    """The columns of `events` that `events_to_records` writes, in order."""
    return ["event_id", "user_id", "restaurant_id", "event_ts", "kind", *(n for n in OPTIONAL if n in events.more)]


def events_to_records(events: ToldEvents) -> npt.NDArray[Any]:
    """Rows of `columns_of`. Those of one form (kind, what is told, lengths of texts) are laid out at once."""
    form = events.kind.copy()
    texts = events.more.get("request_id")
    lengths = np.zeros(len(form), dtype=np.int64) if texts is None else np.char.str_len(texts.data)
    for values in events.more.values():
        form = form * 2 + np.ma.getmaskarray(values)
    form = form * (int(lengths.max(initial=0)) + 1) + lengths
    forms, which = np.unique(form, return_inverse=True)
    if len(forms) == 1:
        return _records(events, int(lengths[0]))
    parts = []
    sizes = np.zeros(len(form), dtype=np.int64)
    for number in range(len(forms)):
        rows = np.flatnonzero(which == number)
        records = _records(events.take(rows), int(lengths[rows[0]]))
        parts.append((rows, records))
        sizes[rows] = records.itemsize
    ends = np.cumsum(sizes)
    written = np.empty(int(ends[-1]), dtype=np.uint8)
    for rows, records in parts:
        starts = ends[rows] - records.itemsize
        written[starts[:, None] + np.arange(records.itemsize)] = records.view(np.uint8).reshape(len(rows), -1)
    return written


def _records(events: ToldEvents, length: int) -> npt.NDArray[np.void]:
    """Events of one form, ``(M,)``; their request ids, where they have one, are of ``length`` bytes."""
    kind = events.kinds[int(events.kind[0])].encode()
    told = {name: values for name, values in events.more.items() if not np.ma.getmaskarray(values)[0]}
    fields: list[Field] = [("event_id", "V16"), ("user_id", ">i8"), ("restaurant_id", ">i8"), ("event_ts", ">i8")]
    fields.append(("kind", f"S{len(kind)}"))
    fields += [
        (name, _TYPES.get(name, f"S{length}") if name in told else None) for name in OPTIONAL if name in events.more
    ]
    columns: dict[str, Any] = {
        "event_id": events.ids,
        "user_id": events.user,
        "restaurant_id": events.restaurant,
        "event_ts": events.time_us - EPOCH_US,
        "kind": kind,
    }
    return to_records(fields, columns | {name: values.data for name, values in told.items()}, len(events.user))
