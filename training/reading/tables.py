"""The two feature tables in memory: one float32 matrix each, and the way from an id to its row."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from data.folder.clicks import ClickReader, Unknown
from data.folder.events import Events
from data.folder.requests import Requests
from data.folder.tables import MAX_REJECTED, Known, Table
from data.folder.verdict import judge, look
from hexbite.console import Advance, progress
from hexbite.features import FeatureSchema, Matrix
from hexbite.folder import RESTAURANTS, TRAIN, USERS
from hexbite.geo import Degrees, Ids


@dataclass(frozen=True, slots=True)
class Entities:
    """Rows of users or restaurants: ``ids`` ``(N,)`` ascending, ``features`` ``(N, F)`` float32 in that order."""

    known: Known
    features: Matrix

    @property
    def ids(self) -> Ids:
        """In the order of the rows."""
        return self.known.ids


class Tables(NamedTuple):
    """A data folder's feature tables, and where its restaurants are: degrees ``(R,)`` in the order of their rows.

    ``zones`` ``(R,)`` are the numbers of their time zones, None where the schema asks for none.
    ``rejected`` counts the rows of both tables that cannot be used; ``clicks`` are the readers of ``train`` and
    ``test``, ``requests`` and ``events`` those of the requests and of what is counted, if there are any.
    """

    schema: FeatureSchema
    users: Entities
    restaurants: Entities
    lats_deg: Degrees
    lngs_deg: Degrees
    zones: Matrix | None
    rejected: int
    clicks: dict[str, ClickReader]
    requests: Requests | None
    events: Events | None


def read_tables(
    folder: Path,
    schema: FeatureSchema | None = None,
    *,
    wanted: Collection[str] = (TRAIN,),
    unknown: Unknown = "error",
    max_rejected: float = MAX_REJECTED,
    defer_train: bool = False,
) -> Tables:
    """Judge a data folder, and read both of its tables.

    ``schema`` is that of a published model, whose fills then apply; None takes the folder's. ``wanted`` splits have to
    be there. ``defer_train`` leaves the judgement on the train rows to the `survey`, which reads them anyway. Raises
    FolderError with all that is wrong, SchemaError where the folder's features are not the model's.
    """
    contents = look(folder, wanted=(USERS, RESTAURANTS, *wanted))
    verdict = judge(contents, unknown=unknown, max_rejected=max_rejected, fills=schema, defer_train=defer_train)
    verdict.refuse()
    users, restaurants, chosen = verdict.users, verdict.restaurants, schema or contents.schema
    assert users is not None
    assert restaurants is not None
    assert chosen is not None
    with progress("reading feature tables", users.rows + restaurants.rows) as advance:
        people, _ = _read(users, advance)
        places, (lats, lngs, *zones) = _read(restaurants, advance)
    rejected = users.rejected + restaurants.rejected
    told = zones[0].astype(np.float32) if zones else None
    return Tables(chosen, people, places, lats, lngs, told, rejected, verdict.clicks, verdict.requests, verdict.events)


def _read(table: Table, advance: Advance) -> tuple[Entities, list[npt.NDArray[np.float64]]]:
    """Its usable rows in the order of their ids; latitudes, longitudes and zones ``(N,)``, as far as it has them."""
    assert table.known is not None
    ids = table.known.ids
    features = np.empty((len(ids), len(table.features)), dtype=np.float32)
    columns = [np.empty(len(ids)) for _ in range(2 * table.positioned + table.zoned)]
    # A batch at a time to its rows' places: a million users fill memory once.
    for read, batch in table.batches():
        rows = np.searchsorted(ids, batch.ids)
        features[rows] = batch.features
        of_batch: list[npt.NDArray[Any]] = [batch.lats_deg, batch.lngs_deg, batch.zones]
        for column, values in zip(columns, of_batch, strict=False):
            column[rows] = values
        advance(len(read))
    return Entities(table.known, features), columns
