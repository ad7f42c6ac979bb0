"""What a data folder knows of its test time, in order: who asks from where, where they went, what else happened."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from data.folder.clicks import find_places
from data.folder.columns import NO_EVENT, series_to_event_us, series_to_ids
from data.folder.files import File, Unreadable
from data.folder.requests import MOMENTS, VISITED, Requests
from data.folder.tables import Table
from data.folder.verdict import Verdict, judge, look
from data.output import SOURCE
from hexbite.counters.definitions import Counters
from hexbite.errors import DataError
from hexbite.folder import EVENT_TS, EVENTS, REQUESTS, RESTAURANTS, USERS
from hexbite.geo import Degrees, Ids
from hexbite.ids import event_id_to_uuid

Moments = npt.NDArray[np.int64]
Rows = npt.NDArray[np.int64]

_LAST_US: Final = np.iinfo(np.int64).max

# What an event may tell beside who did what, where and when.
_MORE: Final = ("latitude", "longitude", "position", "value")


class Asks(NamedTuple):
    """N visits in the order of their moments, each ``(N,)``: who, as the data has it and as 64 bits; where they stood
    (degrees), how far they looked, the row of the place that they went to, and when, microseconds since 1970.
    """

    users: Sequence[int | str]
    user_ids: Ids
    lats_deg: Degrees
    lngs_deg: Degrees
    max_dist_m: npt.NDArray[np.float64]
    visited: Rows
    at_us: Moments


class Places(NamedTuple):
    """R restaurants by ascending 64-bit ids ``(R,)``; ``names`` are the ids as the data has them; degrees ``(R,)``."""

    ids: Ids
    names: Sequence[int | str]
    lats_deg: Degrees
    lngs_deg: Degrees


class Happened(NamedTuple):
    """M events in order ``(M,)``: as they are told, and as 64 bits who, the row of the place or -1, when, and whether
    each is a visit: of a kind that makes a restaurant the previous one, or of any where none does.
    """

    told: pl.DataFrame
    user_ids: Ids
    places: Rows
    time_us: Moments
    is_visit: npt.NDArray[np.bool_]

    def to_bodies(self, first: int, last: int) -> list[dict[str, Any]]:
        """Events from one to before another as `POST /events` takes them; the same ones have the same ids."""
        return [_to_body(row) for row in self.told.slice(first, last - first).iter_rows(named=True)]


@dataclass(frozen=True, slots=True)
class Journal:
    """``left_out`` visits went to a place that has no row. From ``split_us`` on, microseconds since 1970, is test time:
    that of the import, else that of the first visit; ``before_split`` events happened earlier.
    """

    asks: Asks
    places: Places
    happened: Happened
    left_out: int
    split_us: int
    before_split: int


def read_journal(folder: Path, limit: int | None = None) -> Journal:
    """Read what is to be replayed: the first ``limit`` visits. Without counters nothing happened that counts.

    Raises FolderError where the folder cannot be used, DataError where it tells no visits, or not when they were.
    """
    verdict = judge(look(folder, wanted=(USERS, RESTAURANTS, REQUESTS)), unknown="skip", defer_train=True)
    verdict.refuse()
    requests, table, schema = verdict.requests, verdict.restaurants, verdict.contents.schema
    assert table is not None
    assert schema is not None
    if requests is None or not requests.tells_visits:
        raise DataError(f"tells no visits: a replay wants {VISITED} in it", path=folder / REQUESTS)
    places = _read_places(table)
    asks, left_out = _read_asks(folder, requests, table, limit)
    happened = _read_happened(folder, verdict, schema.counters, table)
    split_us = min(_read_split(folder), int(asks.at_us[0]))
    before_split = int(np.searchsorted(happened.time_us, split_us))
    return Journal(asks, places, happened, left_out, split_us, before_split)


def _read_split(folder: Path) -> int:
    """Where an import split its log; past every moment where it does not say."""
    try:
        split = json.loads((folder / SOURCE).read_text(encoding="utf-8"))["split"]
        return _LAST_US if split is None else round(datetime.fromisoformat(split).timestamp() * 1e6)
    except FileNotFoundError:
        return _LAST_US
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError("is not what an import writes; import anew, or remove it", path=folder / SOURCE) from error


def _read_places(table: Table) -> Places:
    assert table.known is not None
    ids = table.known.ids
    lats, lngs = np.empty(len(ids)), np.empty(len(ids))
    texts: list[str] = [""] * len(ids) if table.has_texts else []
    for _, batch in table.batches():
        rows, _ = table.known.find(batch.ids)
        lats[rows], lngs[rows] = batch.lats_deg, batch.lngs_deg
        for row, text in zip(rows.tolist(), batch.texts, strict=False):
            texts[row] = text
    return Places(ids, texts or ids.tolist(), lats, lngs)


def _read_asks(folder: Path, requests: Requests, table: Table, limit: int | None) -> tuple[Asks, int]:
    moment = next((name for name in MOMENTS if all(file.dtype(name) is not None for file in requests.files)), None)
    if moment is None:
        raise DataError(f"tells no moments: a replay wants {' or '.join(MOMENTS)} in it", path=folder / REQUESTS)
    columns = dict.fromkeys((*requests.columns, moment))
    frame = pl.concat([_read(file, list(columns)) for file in requests.files], how="vertical_relaxed")
    (visited, known), _ = find_places(frame[VISITED], table.id_kind, table.known, "skip")
    at_us, faults = series_to_event_us(frame[moment])
    if faults or (at_us[known] == NO_EVENT).any():
        raise DataError("is not told of every visit", path=folder / REQUESTS, column=moment)
    rows = np.flatnonzero(known)
    rows = rows[np.argsort(at_us[rows], kind="stable")][:limit]
    if not len(rows):
        raise DataError(f"holds no visit of a place that is in {RESTAURANTS}", path=folder / REQUESTS)
    frame = frame[rows]
    user_ids, _ = series_to_ids(frame["user_id"], requests.ids.user)
    lats, lngs, max_dist_m = (frame[name].cast(pl.Float64).to_numpy() for name in ("latitude", "longitude", "max_dist"))
    users = _named(frame["user_id"])
    asks = Asks(users, user_ids, lats, lngs, max_dist_m, visited[rows].astype(np.int64), at_us[rows])
    return asks, int(np.count_nonzero(~known))


def _read_happened(folder: Path, verdict: Verdict, counters: Counters, table: Table) -> Happened:
    assert table.known is not None
    nothing = np.empty(0, dtype=np.int64)
    if not counters:
        return Happened(pl.DataFrame(), nothing, nothing, nothing, np.empty(0, dtype=np.bool_))
    if verdict.events is None:
        raise DataError("no events in it, and the schema has counters of them", path=folder / EVENTS)
    parts = []
    for file in verdict.events.files:
        more = [name for name in _MORE if file.dtype(name) is not None]
        parts.append(_read(file, [*verdict.events.columns, *more]))
    # The same once more is one event, as in training and in the store.
    frame = pl.concat(parts, how="diagonal_relaxed").unique(list(verdict.events.columns), maintain_order=True)
    time_us, _ = series_to_event_us(frame[EVENT_TS])
    order = np.argsort(time_us, kind="stable")
    frame, time_us = frame[order], time_us[order]
    frame = frame.with_columns(
        pl.Series("user_id", _named(frame["user_id"])), pl.Series("restaurant_id", _named(frame["restaurant_id"]))
    )
    user_ids, _ = series_to_ids(frame["user_id"], verdict.events.ids.user)
    (places, known), _ = find_places(frame["restaurant_id"], table.id_kind, table.known, "skip")
    visits = counters.visits or counters.kinds
    return Happened(
        frame.with_columns(pl.Series(EVENT_TS, time_us).cast(pl.Datetime("us", "UTC"))),
        user_ids,
        np.where(known, places, -1).astype(np.int64),
        time_us,
        frame["event"].cast(pl.String).is_in(visits).to_numpy(),
    )


def _named(ids: pl.Series) -> list[int | str]:
    """Ids as JSON takes them."""
    return list(chain(ids.cast(pl.Int64 if ids.dtype.is_integer() else pl.String)))


def _read(file: File, columns: Sequence[str]) -> pl.DataFrame:
    try:
        return file.read(columns)
    except Unreadable as error:
        raise DataError(str(error), path=file.path) from error


def _to_body(row: Mapping[str, Any]) -> dict[str, Any]:
    at = row[EVENT_TS].isoformat()
    # Of what happened: told once more, it is the same event.
    happened = json.dumps([row["user_id"], row["event"], row["restaurant_id"], at])
    event_id = str(event_id_to_uuid(happened))
    named = {"event_id": event_id, "event_ts": at} | {name: row[name] for name in ("user_id", "restaurant_id", "event")}
    return named | {name: row[name] for name in _MORE if row.get(name) is not None}
