"""Rows of users and restaurants to the binary form of COPY.

Without NULLs every row is as long as the next; a text id, which is longer or shorter than the next, is put behind each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from data.folder.columns import NO_EVENT
from data.folder.tables import Batch
from db.access.copying import EPOCH_US
from hexbite.geo import Ids

_FLOAT4_OID: Final = 700


def batch_to_records(batch: Batch, cells: Ids | None) -> bytes:
    """Rows of ``(id, features, event_ts)``, with ``cells`` of ``(id, latitude, longitude, cell, features, event_ts)``.

    A missing event time is written as ``-infinity``. Where the batch has texts, they are one more field at the end.
    """
    width = batch.features.shape[1]
    fixed = [("id", ">i8")]
    if cells is not None:
        fixed += [("latitude", ">f8"), ("longitude", ">f8"), ("cell", ">i8")]
    layout: list[Any] = [("fields", ">i2")]
    for name, kind in fixed:
        layout += [(f"{name} length", ">i4"), (name, kind)]
    array = [("dimensions", ">i4"), ("has nulls", ">i4"), ("oid", ">i4"), ("width", ">i4"), ("first", ">i4")]
    layout += [("features length", ">i4"), *array, ("features", [("length", ">i4"), ("value", ">f4")], (width,))]
    layout += [("event length", ">i4"), ("event", ">i8")]

    rows = np.zeros(len(batch.ids), dtype=layout)
    rows["fields"] = len(fixed) + 2 + (len(batch.texts) > 0)
    columns: dict[str, npt.NDArray[Any]] = {"id": batch.ids}
    if cells is not None:
        columns |= {"latitude": batch.lats_deg, "longitude": batch.lngs_deg, "cell": cells}
    for name, values in columns.items():
        rows[f"{name} length"], rows[name] = 8, values
    rows["features length"] = 20 + 8 * width
    rows["dimensions"], rows["oid"], rows["width"], rows["first"] = 1, _FLOAT4_OID, width, 1
    rows["features"]["length"], rows["features"]["value"] = 4, batch.features
    rows["event length"] = 8
    rows["event"] = np.where(batch.event_us == NO_EVENT, NO_EVENT, batch.event_us - EPOCH_US)
    return _with_texts(rows.tobytes(), rows.itemsize, batch.texts) if batch.texts else rows.tobytes()


def _with_texts(records: bytes, size: int, texts: Sequence[str]) -> bytes:
    parts: list[bytes] = []
    for start, text in zip(range(0, len(records), size), texts, strict=True):
        encoded = text.encode()
        parts += (records[start : start + size], len(encoded).to_bytes(4), encoded)
    return b"".join(parts)
