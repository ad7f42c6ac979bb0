"""The log, read once: ids to numbers, times to microseconds, and what cannot be used counted by its first fault."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from data.log.map import Events, Map
from data.log.reading.buckets import Buckets
from data.log.reading.columns import Sheet, samples_to_text
from data.log.reading.counted import CountedEvents, Told
from data.log.reading.entities import Entities, nowhere, outside
from data.log.reading.exchanged import fits_exchanged
from data.log.reading.ids import id_expression
from data.log.reading.near import NearIds
from data.log.reading.says import SHOWN, code_expression, kind_faults, says_expression
from data.log.reading.times import time_expression
from data.log.rules import WORDS, Outcome, Tally
from hexbite.console import progress
from hexbite.errors import DataError

Times = npt.NDArray[np.int64]

_KEPT: Final = (
    "user",
    "restaurant",
    "time",
    "says",
    "list",
    "position",
    "latitude",
    "longitude",
    "restaurant_latitude",
    "restaurant_longitude",
)

_CHOICE: Final = ("user", "restaurant", "time")

_BATCH_ROWS: Final = 500_000
_DAY_US: Final = 86_400_000_000

# What lies so far from all else is a typo in the year, or a clock that is wrong.
_FAR_DAYS: Final = 365
_FAR_SHARE: Final = 0.01
_FEW_ROWS: Final = 10

# So few rows are no season that begins after a pause.
_LONELY_DAYS: Final = 90
_LONELY_SHARE: Final = 0.001


# Columns of degrees that an event may tell, and what is noted of those that are none.
_PLACES: Final = {
    "": "events whose latitude, longitude are out of range",
    "restaurant_": "events whose restaurant_latitude, restaurant_longitude are none",
}
_EXCHANGED: Final = "events with latitude and longitude exchanged"


class Log(NamedTuple):
    """What the log holds, its usable events in ``buckets``.

    ``choices`` are those of them that say that something was chosen, each once: ``user``, ``restaurant`` (numbers),
    ``time`` (microseconds), and where the map names them the restaurant's coordinates and ``list``.
    ``places`` are all coordinates that the log tells of restaurants, each once. ``told`` are the events that counters
    count, where there are counters. ``first_us`` to ``last_us`` are the
    times that are not far from all others. ``kinds`` counts rows by kind; ``seen`` says of every user and restaurant
    whether an event is theirs.
    """

    buckets: Buckets
    choices: pl.DataFrame
    places: pl.DataFrame
    told: Told | None
    first_us: int
    last_us: int
    kinds: Counter[str]
    seen: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]
    rows: int


def read_log(asked: Map, sheet: Sheet, users: Entities, restaurants: Entities, tally: Tally, scratch: Path) -> Log:
    """Stream the events into buckets by user.

    These have ``user``, ``restaurant`` (int32 numbers), ``time`` (int64 microseconds; 0 where the log tells none),
    ``says`` (`SHOWN`, `CHOSEN`, `BOTH`), and as the map names them ``list`` (int64, an even hash), ``position``
    (int32), ``latitude``, ``longitude``, ``restaurant_latitude``, ``restaurant_longitude`` (float64, null where they
    are none).
    """
    events = asked.events
    kinds = [*events.label, *events.shown, *events.ignored, *events.chosen_is]
    query = _query(asked, sheet, users, restaurants)
    counted = CountedEvents(users, restaurants)
    buckets = Buckets(scratch)
    choices: list[pl.DataFrame] = []
    days: Counter[int] = Counter()
    by_kind: Counter[str] = Counter()
    seen = np.zeros(len(users), np.bool_), np.zeros(len(restaurants), np.bool_)
    places: list[pl.DataFrame] = []
    told = [f"restaurant_{name}" for name in ("latitude", "longitude") if events.restaurant_latitude is not None]
    of_choices = [*_CHOICE, *told, *(("list",) if events.list is not None else ())]
    near_ids = [
        NearIds("user", Outcome.USER_WITHOUT_ROW, users),
        NearIds("restaurant", Outcome.RESTAURANT_WITHOUT_ROW, restaurants),
    ]
    total = 0
    with progress("reading events", None) as advance:
        for batch in query.collect_batches(chunk_size=_BATCH_ROWS, maintain_order=False, engine="streaming"):
            total += len(batch)
            faulty = batch.filter(pl.col("outcome") != Outcome.OPEN)
            tally.add(faulty["outcome"].to_numpy())
            for near in near_ids:
                near.note(faulty, tally)
            if "kind" in batch.columns:
                by_kind.update(dict(batch["kind"].value_counts().iter_rows()))
            for prefix, note in _PLACES.items():
                if f"{prefix}fault" in batch.columns:
                    tally.note(note, int(batch[f"{prefix}fault"].sum()), dirty=True)
            if "exchanged" in batch.columns:
                tally.note(_EXCHANGED, int(batch["exchanged"].sum()), dirty=True)
            rows = batch.filter(pl.col("outcome") == Outcome.OPEN).select(
                name for name in batch.columns if name in _KEPT
            )
            for mask, name in zip(seen, ("user", "restaurant"), strict=True):
                mask[rows[name].to_numpy()] = True
            days.update(dict((rows["time"] // _DAY_US).value_counts().iter_rows()))
            choices.append(rows.filter(pl.col("says") != SHOWN).select(of_choices))
            if told:
                places.append(rows.select("restaurant", *told).unique())
            if asked.counted:
                counted.add(batch)
            buckets.add(rows)
            advance(len(batch), f"{total:,}")
    if not days:
        raise DataError(_nothing_left(tally, total), path=sheet.place)
    first, last = _usual_days(days)
    chosen = (
        pl.concat(choices)
        .unique()
        .filter(pl.col("time").is_between(first * _DAY_US, (last + 1) * _DAY_US, closed="left"))
    )
    _check_kinds(events, sheet, kinds, by_kind)
    _check_counted(asked, sheet, by_kind)
    if chosen.is_empty():
        raise DataError("[events] no usable row says that something was chosen", path=sheet.place)
    all_places = pl.concat(places).unique() if places else pl.DataFrame()
    first_us, last_us = first * _DAY_US, (last + 1) * _DAY_US - 1
    events_told = counted.between(first_us, last_us) if asked.counted else None
    return Log(buckets, chosen, all_places, events_told, first_us, last_us, by_kind, seen, total)


def _query(asked: Map, sheet: Sheet, users: Entities, restaurants: Entities) -> pl.LazyFrame:
    events = asked.events
    columns = {
        "user key": id_expression(sheet, "user", events.user, users.kind),
        "restaurant key": id_expression(sheet, "restaurant", events.restaurant, restaurants.kind),
        "time": _time(events, sheet),
        "says": says_expression(events, sheet),
    }
    told = events.chosen if events.chosen_is else events.kind
    if told is not None:
        columns["kind"] = sheet.text(told).str.strip_chars()
    if events.list is not None:
        sheet.require("list", events.list)
        columns["list"] = pl.when(sheet.text(events.list).is_not_null()).then(
            pl.col(events.list).hash().reinterpret(signed=True) & -2
        )
    if events.position is not None:
        sheet.require("position", events.position)
        columns["position"] = sheet.number(events.position).cast(pl.Int32, strict=False)
    for prefix in _PLACES:
        columns |= _place(events, sheet, prefix, restaurants)
    faults = (
        (Outcome.NO_USER, pl.col("user key").is_null()),
        (Outcome.NO_RESTAURANT, pl.col("restaurant key").is_null()),
        (Outcome.NO_TIME, pl.col("time").is_null()),
        *kind_faults(events),
        (Outcome.USER_WITHOUT_ROW, pl.col("user").is_null()),
        (
            Outcome.RESTAURANT_WITHOUT_PLACE,
            pl.col("restaurant").is_null() & pl.col("restaurant key").is_in(restaurants.unplaced.implode()),
        ),
        (Outcome.RESTAURANT_WITHOUT_ROW, pl.col("restaurant").is_null()),
    )
    outcome = pl.coalesce(
        *(pl.when(is_so).then(pl.lit(int(fault), pl.UInt8)) for fault, is_so in faults),
        pl.lit(int(Outcome.OPEN), pl.UInt8),
    )
    query = sheet.frame.select(**columns).with_columns(code=code_expression(events, asked.counted))
    for name, entities in (("user", users), ("restaurant", restaurants)):
        numbers = pl.DataFrame({f"{name} key": entities.ids, name: np.arange(len(entities), dtype=np.int32)})
        query = query.join(numbers.lazy(), on=f"{name} key", how="left", maintain_order="none")
    return query.with_columns(outcome=outcome)


def _time(events: Events, sheet: Sheet) -> pl.Expr:
    """Microseconds since 1970; of a log without times all rows are of one moment."""
    if events.time is None:
        return pl.lit(0, pl.Int64)
    return time_expression(sheet, "time", events.time, events).to_physical()


def _place(events: Events, sheet: Sheet, prefix: str, restaurants: Entities) -> dict[str, pl.Expr]:
    names = f"{prefix}latitude", f"{prefix}longitude"
    columns = [getattr(events, name) for name in names]
    if columns[0] is None:
        return {}
    for name, column in zip(names, columns, strict=True):
        sheet.require(name, column)
    lat, lng = (sheet.number(column) for column in columns)
    # Where a person was is often not known; where a restaurant is should be.
    is_fault = outside(lat, lng) | nowhere(lat, lng) if prefix else outside(lat, lng)
    is_good = ~(outside(lat, lng) | nowhere(lat, lng))
    exchanged = {}
    if not prefix:
        exchanged["exchanged"] = fits_exchanged(lat, lng, pl.Series(restaurants.lats), pl.Series(restaurants.lngs))
        is_good &= ~exchanged["exchanged"]
        is_fault &= ~exchanged["exchanged"]
    return exchanged | {
        names[0]: pl.when(is_good).then(lat),
        names[1]: pl.when(is_good).then(lng),
        f"{prefix}fault": is_fault,
    }


def _usual_days(days: Counter[int]) -> tuple[int, int]:
    """The first and the last day that are not far from all others.

    Days beyond a gap that is longer than all that lies on this side of it are far where the gap is of more than a year
    and they hold no more than one row in a hundred (one row may always be, of ten or more), or where it is of more than
    90 days and they hold no more than one row in a thousand.
    """
    usual = sorted(days)
    total = sum(days.values())
    while True:
        # A typo at one end hides the gap at the other: begin again after each that was found.
        cuts = [cut for is_end in (True, False) if (cut := _far_cut(usual, days, total, is_end=is_end)) is not None]
        if not cuts:
            return usual[0], usual[-1]
        usual = usual[cuts[0]]


def _far_cut(usual: list[int], days: Counter[int], total: int, *, is_end: bool) -> slice | None:
    """What is left of sorted days without those beyond a gap, at the end or at the beginning; None without one."""
    beyond = 0
    for cut in range(len(usual) - 1, 0, -1) if is_end else range(1, len(usual)):
        beyond += days[usual[cut] if is_end else usual[cut - 1]]
        inside = usual[cut - 1] - usual[0] if is_end else usual[-1] - usual[cut]
        gap = usual[cut] - usual[cut - 1]
        far_days = _least_gap_days(beyond, total)
        if far_days is None:
            return None
        if gap > max(far_days, inside):
            return slice(cut) if is_end else slice(cut, None)
    return None


def _least_gap_days(beyond: int, total: int) -> int | None:
    """How long a gap has to be for so many rows beyond it to be far; None where they are too many for any."""
    if beyond <= total * _LONELY_SHARE:
        return _LONELY_DAYS
    return _FAR_DAYS if beyond <= max(total * _FAR_SHARE, 1 if total >= _FEW_ROWS else 0) else None


def _check_kinds(events: Events, sheet: Sheet, kinds: list[str], by_kind: Counter[str]) -> None:
    absent = [kind for kind in kinds if not by_kind[kind]]
    if absent:
        found = ", ".join(f"{kind} ({count:,})" for kind, count in by_kind.most_common(10))
        key, column = ("chosen_is", events.chosen) if events.chosen_is else ("kind", events.kind)
        raise sheet.fault(
            key, str(column), f"{samples_to_text(absent)} never occurs; the column holds {found or 'nothing'}"
        )


def _check_counted(asked: Map, sheet: Sheet, by_kind: Counter[str]) -> None:
    absent = [kind for kind in asked.counted.kinds if not by_kind[kind]] if asked.events.kind is not None else []
    if absent:
        found = ", ".join(f"{kind} ({count:,})" for kind, count in by_kind.most_common(10))
        raise DataError(
            f"[counters] counts {samples_to_text(absent)}, which never occurs; the column holds {found}",
            path=sheet.place,
            column=asked.events.kind,
        )


def _nothing_left(tally: Tally, total: int) -> str:
    if not total:
        return "[events] holds no row"
    found = ", ".join(f"{count:,} {WORDS[outcome]}" for outcome, count in tally.rows.items())
    return f"[events] no row of {total:,} can be used: {found}"
