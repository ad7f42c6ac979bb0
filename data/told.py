"""Events that somebody has as files, as ``python -m db events`` takes them: arrays, or the first bad row by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from data.log.map import Clock
from data.log.reading.columns import Sheet, samples_to_text
from data.log.reading.ids import id_expression, infer_kind
from data.log.reading.times import time_expression
from data.sources.scan import scan
from data.sources.source import Source
from hexbite.errors import DataError
from hexbite.geo import Ids
from hexbite.ids import MAX_TEXT_BYTES, IdKind, IdKinds, events_to_uuids, texts_to_uuids, utf8_to_ids

_BATCH_ROWS: Final = 500_000
_MAX_INT4: Final = 2**31 - 1

_IDS: Final = ("user_id", "restaurant_id")

#: Columns that an event may have, in the order of `ToldEvents`.
OPTIONAL: Final = ("latitude", "longitude", "request_id", "position", "value")

# What each column must hold, in the words of an error.
_WANTED: Final = {
    "user_id": "an id, {}",
    "restaurant_id": "an id, {}",
    "event": f"the kind of event, a text of 1 to {MAX_TEXT_BYTES} bytes",
    "event_ts": "a time in the years 1 to 9999",
    "event_id": f"an id of the event, 1 to {MAX_TEXT_BYTES} bytes, or nothing",
    "latitude": "degrees from -90 to 90, or nothing",
    "longitude": "degrees from -180 to 180, or nothing",
    "request_id": f"a text of 1 to {MAX_TEXT_BYTES} bytes, or nothing",
    "position": "a whole number from 0 on, or nothing",
    "value": "a finite number, or nothing",
}


class ToldEvents(NamedTuple):
    """M events: ``ids`` ``(M,)`` of 16 bytes, ``user`` and ``restaurant`` ``(M,)`` int64, ``time_us`` since 1970.

    ``kind`` is the number of each one's kind among ``kinds``. ``more`` has of the columns `OPTIONAL` those that are
    there: ``(M,)``, masked where an event does not say; ``request_id`` is bytes.
    """

    ids: npt.NDArray[np.void]
    user: Ids
    restaurant: Ids
    time_us: npt.NDArray[np.int64]
    kinds: tuple[str, ...]
    kind: npt.NDArray[np.int64]
    more: dict[str, np.ma.MaskedArray[Any, Any]]

    def take(self, rows: npt.NDArray[np.integer] | npt.NDArray[np.bool_] | slice) -> ToldEvents:
        """Some of them."""
        return ToldEvents(
            self.ids[rows],
            self.user[rows],
            self.restaurant[rows],
            self.time_us[rows],
            self.kinds,
            self.kind[rows],
            {name: values[rows] for name, values in self.more.items()},
        )


class EventFile:
    """A source of events: a path of a file or folder, a pattern or an address, as `scan` reads them.

    Ids are of ``ids``, each None where the file is to say it by itself. Raises DataError where it cannot be read or
    lacks a column.
    """

    def __init__(self, path: str, ids: tuple[IdKind | None, IdKind | None], *, scratch: Path) -> None:
        source = Source(path=path)
        frame = scan(source, base=Path.cwd(), scratch=scratch, ragged=Counter())
        self._sheet = sheet = Sheet("events", path, frame, dict(frame.collect_schema()), ("",))
        for name in (*_IDS, "event", "event_ts"):
            sheet.require(name, name)
        found = [kind or infer_kind(sheet, name, name) for kind, name in zip(ids, _IDS, strict=True)]
        self.ids = IdKinds(*found)
        self.path = path

    def rows(self) -> int:
        """How many events it has."""
        return int(self._sheet.frame.select(pl.len()).collect(engine="streaming").item())

    def batches(
        self, *, since: datetime | None = None, before: datetime | None = None
    ) -> Iterator[tuple[int, ToldEvents]]:
        """Rows read, and of them the events that happened in a time, in the order of the file.

        Raises DataError with the first row that is no event, its column, and how many of the batch are so.
        """
        columns = self._columns()
        raw = [pl.col(name).alias(f"{name} as told") for name in columns]
        query = self._sheet.frame.select(*raw, **columns)
        low, high = (None if moment is None else round(moment.timestamp() * 1e6) for moment in (since, before))
        start = 1
        for batch in query.collect_batches(chunk_size=_BATCH_ROWS, maintain_order=True, engine="streaming"):
            self._refuse_faults(batch, start)
            start += len(batch)
            if low is not None or high is not None:
                time_us = pl.col("event_ts").to_physical()
                batch = batch.filter(
                    pl.lit(value=True) if low is None else time_us >= low,
                    pl.lit(value=True) if high is None else time_us < high,
                )
            yield start - 1, _told(batch, self.ids)

    def _columns(self) -> dict[str, pl.Expr]:
        """Each column of ours that the file has, null where it holds nothing that it may hold."""
        sheet = self._sheet
        columns = {name: id_expression(sheet, name, name, kind) for name, kind in zip(_IDS, self.ids, strict=True)}
        columns["event"] = id_expression(sheet, "event", "event", "text")
        columns["event_ts"] = time_expression(sheet, "event_ts", "event_ts", Clock())
        for name in ("event_id", "request_id"):
            if name in sheet.dtypes:
                columns[name] = id_expression(sheet, name, name, "text")
        for name, limit in (("latitude", 90), ("longitude", 180)):
            if name in sheet.dtypes:
                values = sheet.number(name)
                columns[name] = pl.when(values.abs() <= limit).then(values)
        if "position" in sheet.dtypes:
            values = sheet.number("position")
            columns["position"] = pl.when((values >= 0) & (values <= _MAX_INT4) & (values.round() == values)).then(
                values
            )
        if "value" in sheet.dtypes:
            values = sheet.number("value")
            columns["value"] = pl.when(values.is_finite()).then(values)
        return columns

    def _refuse_faults(self, batch: pl.DataFrame, start: int) -> None:
        for name in _WANTED:
            if name not in batch.columns:
                continue
            # What is empty is nothing, where there may be nothing.
            told = batch[f"{name} as told"]
            is_empty = told.is_null() | (told == "" if told.dtype == pl.String else False)
            wrong = batch[name].is_null() if name in (*_IDS, "event", "event_ts") else batch[name].is_null() & ~is_empty
            self._refuse(name, told, wrong, start, _WANTED[name])
        if "latitude" in batch.columns and "longitude" in batch.columns:
            wrong = batch["latitude"].is_null() != batch["longitude"].is_null()
            self._refuse(
                "longitude", batch["longitude as told"], wrong, start, "told where the latitude is, and only there"
            )
        elif "latitude" in batch.columns or "longitude" in batch.columns:
            name = "latitude" if "latitude" in batch.columns else "longitude"
            raise DataError(
                "latitude and longitude come together: add the other, or leave this one out",
                path=self.path,
                column=name,
            )

    def _refuse(self, name: str, told: pl.Series, wrong: pl.Series, start: int, wanted: str) -> None:
        if not wrong.any():
            return
        rows = wrong.arg_true()
        kind = dict(zip(_IDS, self.ids, strict=True)).get(name, "")
        raise DataError(
            f"row {start + rows[0]:,} holds {samples_to_text(told.gather(rows[:1]))}; it must be "
            f"{wanted.format(kind)}. Mend or leave out such rows; nothing was changed",
            path=self.path,
            column=name,
            count=len(rows),
        )


def _told(batch: pl.DataFrame, ids: IdKinds) -> ToldEvents:
    user, restaurant = (
        batch[name].to_numpy().astype(np.int64) if kind == "integer" else _hashed(batch[name])
        for name, kind in zip(_IDS, ids, strict=True)
    )
    kinds = tuple(batch["event"].unique().sort().to_list())
    kind = batch["event"].replace_strict(list(kinds), list(range(len(kinds))), return_dtype=pl.Int64).to_numpy()
    time_us = batch["event_ts"].to_physical().to_numpy()
    events = events_to_uuids(user, restaurant, time_us, kind, kinds)
    if "event_id" in batch.columns:
        has_own = batch["event_id"].is_not_null().to_numpy()
        events[has_own] = texts_to_uuids(batch["event_id"].drop_nulls().to_list())
    more: dict[str, np.ma.MaskedArray[Any, Any]] = {}
    for name in OPTIONAL:
        if name in batch.columns and batch[name].null_count() < len(batch):
            nulls = batch[name].is_null().to_numpy()
            values = (
                np.array([text.encode() for text in batch[name].fill_null("").to_list()])
                if name == "request_id"
                else batch[name].fill_null(0).to_numpy().astype(np.float64)
            )
            more[name] = np.ma.MaskedArray(values, nulls)
    return ToldEvents(events, user, restaurant, time_us, kinds, kind, more)


def _hashed(texts: pl.Series) -> Ids:
    """What stands for N texts: each different one is hashed once."""
    different = texts.unique()
    known = pl.DataFrame({"text": different, "id": utf8_to_ids([text.encode() for text in different.to_list()])})
    return pl.DataFrame({"text": texts}).join(known, on="text", how="left", maintain_order="left")["id"].to_numpy()


def join_told_events(parts: list[ToldEvents]) -> ToldEvents:
    """All of them, one part behind the other."""
    kinds = tuple(sorted({kind for part in parts for kind in part.kinds}))
    codes = [np.array([kinds.index(kind) for kind in part.kinds], dtype=np.int64) for part in parts]
    names = [name for name in OPTIONAL if any(name in part.more for part in parts)]
    more = {}
    for name in names:
        absent = b"" if name == "request_id" else 0.0
        columns = [part.more.get(name, np.ma.MaskedArray(np.full(len(part.user), absent), True)) for part in parts]
        more[name] = np.ma.MaskedArray(
            np.concatenate([values.data for values in columns]),
            np.concatenate([np.ma.getmaskarray(v) for v in columns]),
        )
    return ToldEvents(
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.user for part in parts]),
        np.concatenate([part.restaurant for part in parts]),
        np.concatenate([part.time_us for part in parts]),
        kinds,
        np.concatenate([code[part.kind] for code, part in zip(codes, parts, strict=True)]),
        more,
    )
