"""Feature tables, some rows at a time: every row is either of use or rejected with a reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from data.folder.columns import (
    NO_EVENT,
    Fault,
    Holding,
    Mask,
    count_exchanged,
    counted,
    feature_to_floats,
    series_to_degrees,
    series_to_event_us,
    series_to_ids,
    series_to_zones,
)
from data.folder.files import File, Unreadable
from hexbite.console import Advance
from hexbite.errors import DataError, Problem
from hexbite.features import TIME_ZONE, Feature, Matrix
from hexbite.folder import EVENT_TS, RESTAURANT_KEYS, USER_KEYS
from hexbite.geo import Degrees, Ids
from hexbite.ids import IdKind

#: Share of a table's rows that may be left out before the folder is refused.
MAX_REJECTED: Final = 0.01

_BATCH_ROWS: Final = 131_072

_LATITUDE, _LONGITUDE = RESTAURANT_KEYS[1:]


class Rejection(NamedTuple):
    """A row that cannot be used: its file, its place there from 0, its id where it has one, and why."""

    file: str
    row: int
    id: int | str | None
    reason: str


class Batch(NamedTuple):
    """N usable rows: ``ids``, ``features`` ``(N, W)``, ``event_us`` microseconds since 1970, UTC, or `NO_EVENT`.

    ``lats_deg`` and ``lngs_deg`` are empty where the table has no positions, ``zones`` where no zone is wanted.
    ``texts`` are the ids as the company has them, where they are text.
    """

    ids: Ids
    features: Matrix
    event_us: npt.NDArray[np.int64]
    lats_deg: Degrees
    lngs_deg: Degrees
    zones: npt.NDArray[np.float32] = np.empty(0, dtype=np.float32)
    texts: Sequence[str] = ()


class Known(NamedTuple):
    """The ids of a table: ``ids`` of usable rows ``(N,)``, ascending, and those that only ``rejected`` rows have."""

    ids: Ids
    rejected: Ids

    def find(self, ids: Ids) -> tuple[npt.NDArray[np.int32], Mask]:
        """The place in ``ids`` of each of M ids, and whether it has one; where not, the place means nothing."""
        first, last = self.ids[0], self.ids[-1]
        # As Python's integers: hashes lie further apart than 64 bits can tell.
        if int(last) - int(first) + 1 == len(self.ids):
            known = (ids >= first) & (ids <= last)
            return np.where(known, ids - first, 0).astype(np.int32), known
        rows = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return rows.astype(np.int32), self.ids[rows] == ids


@dataclass
class Table:
    """A feature table of a data folder, in one file or in parts that hold rows; ``name`` is that within the folder.

    ``positioned`` tables have latitude and longitude, ``zoned`` ones a time zone. Of no use before `judge` was called.
    """

    name: str
    files: Sequence[File]
    id_kind: IdKind
    features: Sequence[Feature]
    positioned: bool
    zoned: bool
    known: Known | None = None
    rejected: int = 0
    rejections: list[Rejection] = field(default_factory=list)
    faults: Counter[tuple[str, str]] = field(default_factory=Counter)
    filled: Counter[str] = field(default_factory=Counter)
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Of all files."""
        return sum(file.rows for file in self.files)

    @property
    def id_column(self) -> str:
        """The column of the ids."""
        return (RESTAURANT_KEYS if self.positioned else USER_KEYS)[0]

    @property
    def columns(self) -> dict[str, Holding]:
        """What the table has to hold, and of what kind; an event time only where any file tells it."""
        wanted: dict[str, Holding] = {self.id_column: self.id_kind}
        if self.positioned:
            wanted |= {_LATITUDE: "degrees", _LONGITUDE: "degrees"}
        if self.zoned:
            wanted[TIME_ZONE] = "zones"
        wanted |= {feature.name: "numbers" for feature in self.features}
        if self._has_events:
            wanted[EVENT_TS] = "times"
        return wanted

    @property
    def _has_events(self) -> bool:
        return any(file.dtype(EVENT_TS) is not None for file in self.files)

    def judge(self, max_rejected: float, advance: Advance) -> list[Problem]:
        """Read every row once, and say why the table cannot be used; its columns must be there and of their kinds.

        Sets ``rejected``, ``faults``, which counts the rows of every fault by column and reason, and ``known``; and
        ``rejections``, which are all unless they are too many. For who wants to know: ``filled`` counts the nulls that
        take a fill, ``ranges`` are the least and greatest id, position and event time (microseconds) of usable rows.
        """
        problems: list[Problem] = []
        self._listed = max_rejected * self.rows
        ids, events, usable, has_id, exchanged = [], [], [], [], 0
        for file in self.files:
            try:
                for start, frame in self._frames(file):
                    batch, faults = self._read(frame)
                    bad = self._reject(file, start, frame[self.id_column], faults)
                    ids.append(batch.ids)
                    events.append(batch.event_us)
                    usable.append(~bad)
                    self._measure(frame, batch, ~bad)
                    has_id.append(~_any(faults, len(frame), self.id_column))
                    exchanged += count_exchanged(batch.lats_deg, batch.lngs_deg)
                    advance(len(frame))
            except Unreadable as error:
                problems.append(Problem(file.name, "", str(error)))
        if problems:
            return problems
        self._ids, self._usable = np.concatenate(ids), np.concatenate(usable)
        problems += self._repeated(np.concatenate(events))
        # In the order of the rows: those that yield to another of their id were found last.
        places = {file.name: place for place, file in enumerate(self.files)}
        self.rejections.sort(key=lambda row: (places[row.file], row.row))
        rejected = self._ids[~self._usable & np.concatenate(has_id)]
        kept = np.sort(self._ids[self._usable])
        self.known = Known(kept, np.unique(rejected[~np.isin(rejected, kept)]) if len(rejected) else rejected)
        return problems + self._too_many(max_rejected, exchanged)

    def batches(self) -> Iterator[tuple[Mask, Batch]]:
        """Of each run of rows, which are usable, and these; in the order of the files.

        Raises DataError where a file is no longer as it was judged.
        """
        first = 0
        for file in self.files:
            try:
                for _, frame in self._frames(file):
                    good = self._usable[first : first + len(frame)]
                    first += len(frame)
                    batch, faults = self._read(frame)
                    if len(good) < len(frame) or _any(faults, len(frame))[good].any():
                        raise DataError("has changed while it was read", path=file.path)
                    texts = frame[self.id_column].cast(pl.String).filter(good).to_list() if self.has_texts else ()
                    yield good, _usable(batch, good)._replace(texts=texts)
            except Unreadable as error:
                raise DataError(str(error), path=file.path) from error

    @property
    def kept(self) -> int:
        """How many rows are usable."""
        return self.rows - self.rejected

    @property
    def has_texts(self) -> bool:
        """Whether its ids are text."""
        return self.id_kind == "text"

    def _frames(self, file: File) -> Iterator[tuple[int, pl.DataFrame]]:
        for start in range(0, file.rows, _BATCH_ROWS):
            yield start, file.read(list(self.columns), start, _BATCH_ROWS)

    def _read(self, frame: pl.DataFrame) -> tuple[Batch, list[Fault]]:
        """All rows, and what is wrong with some."""
        ids, faults = series_to_ids(frame[self.id_column], self.id_kind)
        lats = lngs = np.empty(0)
        if self.positioned:
            lats, of_lats = series_to_degrees(frame[_LATITUDE], 90)
            lngs, of_lngs = series_to_degrees(frame[_LONGITUDE], 180)
            faults += of_lats + of_lngs
        zones = np.empty(0, dtype=np.float32)
        if self.zoned:
            zones, found = series_to_zones(frame[TIME_ZONE])
            faults += found
        features = np.empty((len(frame), len(self.features)), dtype=np.float32)
        for number, feature in enumerate(self.features):
            features[:, number], found = feature_to_floats(frame[feature.name], feature)
            faults += found
        times = frame[EVENT_TS] if EVENT_TS in frame.columns else pl.repeat(None, len(frame), dtype=pl.Null, eager=True)
        events, found = series_to_event_us(times)
        return Batch(ids, features, events, lats, lngs, zones), faults + found

    def _reject(self, file: File, start: int, ids: pl.Series, faults: Sequence[Fault]) -> Mask:
        """Note the rows that cannot be used, each with its first fault; which they are ``(N,)``."""
        bad = np.zeros(len(ids), dtype=np.bool_)
        for fault in faults:
            self.faults[fault.column, fault.what] += int(np.count_nonzero(fault.rows))
            first = np.flatnonzero(fault.rows & ~bad)
            bad |= fault.rows
            self.rejected += len(first)
            if self.rejected <= self._listed:
                self.rejections += [
                    Rejection(file.name, start + row, id_, f"{fault.column}: {fault.what}")
                    for row, id_ in zip(first.tolist(), ids[first].to_list(), strict=True)
                ]
        return bad

    def _measure(self, frame: pl.DataFrame, batch: Batch, usable: Mask) -> None:
        for feature in self.features:
            if feature.fill is not None:
                self.filled[feature.name] += frame[feature.name].null_count()
        told = batch.event_us != NO_EVENT
        if self._has_events:
            self.filled[EVENT_TS] += int(np.count_nonzero(~told))
        columns = {self.id_column: batch.ids[usable], EVENT_TS: batch.event_us[usable & told]}
        if self.positioned:
            columns |= {_LATITUDE: batch.lats_deg[usable], _LONGITUDE: batch.lngs_deg[usable]}
        for name, values in columns.items():
            if len(values):
                least, greatest = values.min().item(), values.max().item()
                known = self.ranges.get(name, (least, greatest))
                self.ranges[name] = min(least, known[0]), max(greatest, known[1])

    def _repeated(self, event_us: npt.NDArray[np.int64]) -> list[Problem]:
        """Reject usable rows that yield to another of their id: the newest stays, and of equally old ones the first."""
        rows = np.flatnonzero(self._usable)
        # ~ turns the order of times around: the newest first, and those without one last.
        rows = rows[np.lexsort((rows, ~event_us[rows], self._ids[rows]))]
        repeats = np.diff(self._ids[rows], prepend=self._ids[rows[:1]] - 1) == 0
        if not repeats.any():
            return []
        lost = np.sort(rows[repeats])
        self._usable[lost] = False
        wanted = np.flatnonzero(np.isin(self._ids, self._ids[lost]))
        try:
            ids = pl.concat([file.read([self.id_column])[self.id_column].cast(self._id_type) for file in self.files])
        except Unreadable as error:
            return [Problem(self.name, "", str(error))]
        what = "occurs more than once, another row of it stays"
        self.faults[self.id_column, what] += len(lost)
        self.rejected += len(lost)
        if self.rejected <= self._listed:
            self.rejections += self._lost(lost, ids, what)
        return self._collisions(ids[wanted].to_list(), self._ids[wanted]) if self.has_texts else []

    def _lost(self, rows: npt.NDArray[np.int64], ids: pl.Series, what: str) -> Iterator[Rejection]:
        ends = np.cumsum([file.rows for file in self.files])
        for row, id_ in zip(rows.tolist(), ids[rows].to_list(), strict=True):
            place = int(np.searchsorted(ends, row, side="right"))
            at = row - int(ends[place]) + self.files[place].rows
            yield Rejection(self.files[place].name, at, id_, f"{self.id_column}: {what}")

    @property
    def _id_type(self) -> type[pl.DataType]:
        return pl.String if self.has_texts else pl.Int128

    def _collisions(self, texts: Sequence[str | None], ids: Ids) -> list[Problem]:
        """A problem for each two texts with one hash."""
        known: dict[int, str] = {}
        problems = []
        for text, id_ in zip(texts, ids.tolist(), strict=True):
            if text is not None and known.setdefault(id_, text) != text:
                what = f"{known[id_]!r} and {text!r} share one 64-bit hash; one of them needs another id"
                problems.append(Problem(self.name, self.id_column, what))
        return list(dict.fromkeys(problems))

    def _too_many(self, max_rejected: float, exchanged: int) -> list[Problem]:
        if self.rejected <= max_rejected * self.rows and self.kept and exchanged * 2 <= self.rows:
            return []
        share = f"{self.rejected:,} of {self.rows:,} rows cannot be used"
        if self.kept:
            share += f", more than the share of {max_rejected:g} that --max-rejected allows"
        return [*counted(self.name, self.faults, exchanged, self.rows), Problem(self.name, "", share)]


def _usable(batch: Batch, rows: Mask) -> Batch:
    return Batch(
        batch.ids[rows],
        batch.features[rows],
        batch.event_us[rows],
        # What the table has not is empty.
        batch.lats_deg[rows[: len(batch.lats_deg)]],
        batch.lngs_deg[rows[: len(batch.lngs_deg)]],
        batch.zones[rows[: len(batch.zones)]],
    )


def _any(faults: Sequence[Fault], rows: int, column: str | None = None) -> Mask:
    """Rows ``(rows,)`` with a fault, of one column where it is named."""
    bad = np.zeros(rows, dtype=np.bool_)
    for fault in faults:
        if column in (None, fault.column):
            bad |= fault.rows
    return bad
