"""Events that somebody has as files into the store: all of them or none, and each once, however often it is told."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg import sql

from data.told import EventFile, ToldEvents, join_told_events
from db.access.copying import EPOCH_US, HEADER, TRAILER, read_records, to_records
from db.access.driver import opened, vacuum
from db.access.session import SCHEMA
from db.loading.ahead import ahead
from db.loading.events import columns_of, events_to_records
from db.memory.counting import Counting, counting_schemas
from db.memory.places import Places, add_places, join_places, no_places
from db.memory.remember import remember
from db.memory.slices import people_to_slices
from db.memory.told import Told
from db.memory.turn import turn
from db.statements import SQL
from hexbite.console import Advance, progress
from hexbite.errors import StoreError
from hexbite.ids import IdKind

# Events that are held at once, of some 100 bytes with what is made of them.
_CHUNK_ROWS: Final = 5_000_000

# Records that are encoded at once.
_RECORD_ROWS: Final = 100_000

# A sort or a hash of the server, for this transaction.
_WORK_MEM: Final = "256MB"


class Backfilled(NamedTuple):
    """What became of the events of files: ``new`` ones, ``known`` before or told twice, ``left_out`` by their time."""

    new: int
    known: int
    left_out: int


def backfill(
    dsn: str,
    paths: list[str],
    *,
    schema: str = SCHEMA,
    since: datetime | None = None,
    before: datetime | None = None,
    chunk_rows: int = _CHUNK_ROWS,
) -> Backfilled:
    """Tell the store the events of files (of `EventFile`) that happened in a time, and bring the states up to them.

    Readers see all of the old or all of the new; who tells events meanwhile does not wait. Raises DataError with the
    first row that cannot be used, StoreError or StoreUnavailable where the store refuses: then nothing is changed.
    """
    with (
        tempfile.TemporaryDirectory(prefix="hexbite-events-") as scratch,
        opened(dsn, schema, autocommit=True) as connection,
    ):
        files = _open(connection, paths, Path(scratch))
        done = Backfilled(0, 0, 0)
        try:
            with turn(connection), opened(dsn, schema, autocommit=True) as aside:
                filling = _Filling(connection, aside)
                total = sum(file.rows() for file in files)
                with progress("events", total) as advance:
                    for read, told, events in ahead(_chunks(files, since, before, chunk_rows, advance)):
                        new = filling.add(events)
                        done = Backfilled(done.new + new, done.known + told - new, done.left_out + read - told)
                filling.finish()
        except (psycopg.errors.UniqueViolation, psycopg.errors.SerializationFailure) as error:
            raise StoreError(
                "other sessions told some of these events at the same time; nothing was changed: run it again"
            ) from error
    if done.new:
        vacuum(dsn, schema)
    return done


def _open(connection: psycopg.Connection[Any], paths: list[str], scratch: Path) -> list[EventFile]:
    row = connection.execute(SQL["id_kinds"]).fetchone()
    assert row is not None
    kinds: list[IdKind | None] = [None if is_text is None else "text" if is_text else "integer" for is_text in row]
    files: list[EventFile] = []
    for path in paths:
        file = EventFile(path, (kinds[0], kinds[1]), scratch=scratch)
        # The store says nothing: the first file does.
        kinds = list(file.ids)
        files.append(file)
    return files


def _chunks(
    files: list[EventFile], since: datetime | None, before: datetime | None, chunk_rows: int, advance: Advance
) -> Iterator[tuple[int, int, ToldEvents]]:
    """How many rows were read, how many of them are meant, and these each once in the order of ids; many at a time."""
    read, held, rows = 0, [], 0
    for file in files:
        done = 0
        for row, events in file.batches(since=since, before=before):
            advance(row - done)
            read, rows, done = read + row - done, rows + len(events.user), row
            held.append(events)
            if rows >= chunk_rows:
                yield read, rows, _each_once(join_told_events(held))
                read, held, rows = 0, [], 0
    if held:
        yield read, rows, _each_once(join_told_events(held))


def _each_once(events: ToldEvents) -> ToldEvents:
    keys = events.ids.view(">u8").reshape(-1, 2).astype(np.uint64)
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    sorted_ = keys[order]
    is_first = np.ones(len(order), dtype=np.bool_)
    is_first[1:] = (sorted_[1:] != sorted_[:-1]).any(axis=1)
    return events.take(order[is_first])


class _Filling:
    """One transaction of ``connection``; ``aside`` is for what others must not wait for until it ends."""

    def __init__(self, connection: psycopg.Connection[Any], aside: psycopg.Connection[Any]) -> None:
        self._connection, self._aside = connection, aside
        connection.execute(sql.SQL("SET LOCAL work_mem = {}").format(_WORK_MEM))
        connection.execute(SQL["stage_ids"])
        row = connection.execute(SQL["kept_since"]).fetchone()
        assert row is not None
        self._kept_us: int | None = row[0]
        self._places: dict[int, Places] = {}
        # A schema whose states are not made yet is made from the archive, by a refresh.
        self._schemas = [counting for counting in counting_schemas(connection) if counting.is_made]
        self._months: set[np.datetime64] = set()

    def add(self, events: ToldEvents) -> int:
        """Add those of M events, each once in the order of ids, that are not known; how many they are."""
        self._refuse_gone(events)
        events = self._only_new(events)
        if len(events.user):
            self._make_months(events)
            with ThreadPoolExecutor(1) as beside:
                # The server takes the one in while the others are sorted.
                copied = beside.submit(self._copy, "event_ids", ["event_id", "event_ts"], _ids_to_records, events)
                by_user = events.take(np.argsort(events.user, kind="stable"))
                months = by_user.time_us.astype("M8[us]").astype("M8[M]").astype(np.int64)
                in_place = by_user.take(np.lexsort((by_user.time_us, by_user.user, months)))
                copied.result()
            # States first: what the archive holds by then is in them.
            for counting in self._schemas:
                self._remember(counting, by_user)
            self._copy("events", columns_of(events), events_to_records, in_place)
        return len(events.user)

    def finish(self) -> None:
        """Bring what belongs to places up to all that was added."""
        for counting in self._schemas:
            add_places(self._connection, counting, self._places.get(counting.schema_id, no_places(counting)))
        self._connection.execute(SQL["remembered"], {"ids": [counting.schema_id for counting in self._schemas]})

    def _refuse_gone(self, events: ToldEvents) -> None:
        if self._kept_us is not None and (events.time_us < self._kept_us).any():
            bound = datetime.fromtimestamp(self._kept_us / 1e6, UTC)
            gone = int((events.time_us < self._kept_us).sum())
            raise StoreError(
                f"{gone:,} events are from before {bound:%Y-%m-%d %H:%M:%S %Z}, and what happened before is not kept "
                f"any more; leave them out: --since {bound:%Y-%m-%dT%H:%M:%SZ}"
            )

    def _only_new(self, events: ToldEvents) -> ToldEvents:
        """Without those that are known."""
        if self._connection.execute("SELECT FROM event_ids LIMIT 1").fetchone() is None:
            return events
        self._connection.execute("TRUNCATE staged_ids")
        self._copy("staged_ids", ["event_id", "event_ts"], _ids_to_records, events)
        self._connection.execute("ANALYZE staged_ids")
        known = read_records(self._connection, SQL["known_ids"], {}, [("event_id", "V16")])["event_id"]
        # Both in the order of bytes, which is that of such texts.
        return events.take(~np.isin(events.ids.view("S16"), np.ascontiguousarray(known).view("S16")))

    def _make_months(self, events: ToldEvents) -> None:
        months = set(np.unique(events.time_us.astype("M8[us]").astype("M8[M]"))) - self._months
        for month in sorted(months):
            self._aside.execute("SELECT make_month(%s)", (month.astype("M8[us]").item().replace(tzinfo=UTC),))
        self._months |= months

    def _copy(self, table: str, columns: list[str], encode: Any, events: ToldEvents) -> None:
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        copy = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(sql.Identifier(table), names)
        with self._connection.cursor().copy(copy) as stream:
            stream.write(HEADER)
            for start in range(0, len(events.user), _RECORD_ROWS):
                part = events.take(slice(start, start + _RECORD_ROWS))
                stream.write(encode(part).tobytes())
            stream.write(TRAILER)

    def _remember(self, counting: Counting, events: ToldEvents) -> None:
        told = Told(events.kinds, events.user, events.restaurant, events.kind, events.time_us)
        ids, counts = np.unique(events.user, return_counts=True)
        held = np.zeros(len(ids), dtype=np.int64)
        rows = self._connection.execute(SQL["people_bytes"], {"ids": ids}).fetchall()
        if rows:
            known, held_bytes = np.array(rows, dtype=np.int64).T
            held[np.searchsorted(ids, known)] = held_bytes
        places = self._places.get(counting.schema_id, no_places(counting))
        for part in people_to_slices(ids, counts, held):
            rows_of = np.arange(*np.searchsorted(events.user, (part.low, part.high + 1)))
            places = join_places(counting, places, remember(self._connection, counting, told.take(rows_of)))
        self._places[counting.schema_id] = places


def _ids_to_records(events: ToldEvents) -> npt.NDArray[np.void]:
    columns = {"event_id": events.ids, "event_ts": events.time_us - EPOCH_US}
    return to_records([("event_id", "V16"), ("event_ts", ">i8")], columns, len(events.user))
