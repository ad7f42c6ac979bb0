"""A log becomes a data folder: read once, split by time, bucket by bucket to rows; whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl

from data.log.features.history import Tables, make_tables
from data.log.features.like import COLUMNS, Columns, Earlier, read_earlier
from data.log.features.tables import make_schema, make_table
from data.log.map import Map
from data.log.reading.columns import open_sheet
from data.log.reading.entities import Entities, read_restaurants, read_users
from data.log.reading.events import Log, read_log
from data.log.reading.sides import Sides, read_sides
from data.log.rows.choices import Reach, draw_lists, find_visits
from data.log.rows.clicks import ClickWriter
from data.log.rows.counts import Counts, sort_events, write_events
from data.log.rows.lists import make_lists
from data.log.rows.places import make_world
from data.log.rows.requests import make_requests
from data.log.rows.world import World
from data.log.rules import Outcome, Tally
from data.output import SOURCE, whole_folder, write_json, write_schema, write_table
from hexbite.console import progress
from hexbite.errors import DataError
from hexbite.features import DISTANCE_M, TIME_ZONE
from hexbite.folder import REQUESTS, RESTAURANTS, TEST, TRAIN, USERS
from hexbite.ids import IdKinds

_In = TypeVar("_In")
_Out = TypeVar("_Out")


def write_log(
    asked: Map, folder: Path, *, path: Path, strict: bool = False, like: Path | None = None
) -> dict[str, Any]:
    """Import what the map at ``path`` names into a data folder, and return what its ``source.json`` says.

    Raises DataError where a file cannot be read or used as the map says, where no train or no test list is found, and
    with ``strict`` where any row is dirty. With ``like`` the columns are those of that earlier output; then also where
    it is none, or where the map's features are others.
    """
    earlier = None if like is None else read_earlier(like)
    if earlier is not None:
        earlier.check_map(asked)
    with whole_folder(folder) as partial, _scratch(folder) as scratch:
        tally, base = Tally.start(), path.parent
        sheets = {
            name: open_sheet(name, source, tally=tally, base=base, scratch=scratch)
            for name in ("users", "restaurants", "events")
            if (source := getattr(asked, name)) is not None
        }
        with progress("reading users and restaurants"):
            users = read_users(asked, sheets.get("users"), sheets["events"])
            restaurants = read_restaurants(asked, sheets.get("restaurants"), sheets["events"])
            sides = {
                name: read_sides(name, getattr(asked, name), entities.ids, entities.kind, tally, base, scratch)
                for name, entities in (("users", users), ("restaurants", restaurants))
            }
        log = read_log(asked, sheets["events"], users, restaurants, tally, scratch / "buckets")
        world, before, zones = make_world(asked, log, users, restaurants)
        counts = _count(log, world, partial)
        writer = ClickWriter(partial, users, restaurants, world, counts)
        clicks, requests = _write_clicks(log, world, before, writer, tally, path)
        with progress("making features"):
            history = _make_history(world, before, clicks, len(users)) if asked.history else None
            document = _write_tables(partial, asked, users, restaurants, sides, world, zones, history, writer, earlier)
            write_table(make_requests(requests, clicks, users, restaurants, world, tally), partial / REQUESTS)
        _note_absent(asked, users, restaurants, log, tally)
        document = {
            "map": path.name,
            "read": {name: sheet.place for name, sheet in sheets.items()},
            "split": None if world.split.at is None else world.split.at.isoformat(),
            "events": log.rows,
            "rows": tally.told(),
            "tables": {name: dict(faults) for name, faults in tally.tables.items()},
            "notes": {note: count for note, count in tally.notes.items() if count},
            "dirty": tally.dirt(),
            "kinds": dict(log.kinds.most_common(50)),
            "clicks": writer.rows,
            **document,
        }
        if strict and tally.dirt():
            found = ", ".join(f"{count:,} {what}" for what, count in tally.dirt().items())
            raise DataError(f"--strict, and not all rows are clean ({found})", path=path)
        write_json(document, partial / SOURCE)
    return document


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A folder for what does not fit in memory, beside the output, where there is room; gone at the end."""
    place = folder.resolve()
    scratch = Path(tempfile.mkdtemp(prefix=f".{place.name}.scratch-", dir=place.parent))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _count(log: Log, world: World, folder: Path) -> Counts | None:
    """What tells rows the counters of the map, whose events are written; None where it has none."""
    if log.told is None:
        return None
    with progress("counting events"):
        told = sort_events(log.told, log.buckets.each)
        write_events(told, world, folder)
        return Counts(told, world)


def _write_clicks(
    log: Log, world: World, before: pl.DataFrame, writer: ClickWriter, tally: Tally, path: Path
) -> tuple[pl.DataFrame, pl.DataFrame]:
    clicks, requests, visits, ids = [], [], [], []
    with progress("making rows", log.rows, "events") as advance:
        if world.asked.events.shows:
            for rows, listed in _ahead(
                lambda events: (len(events), make_lists(events, world, tally)), log.buckets.take()
            ):
                writer.add(listed)
                clicks.append(listed.clicks)
                requests.append(listed.requests)
                ids.append(listed.ids[listed.ids % 2 == 0])
                advance(rows)
        else:
            for rows, found in _ahead(
                lambda events: (len(events), find_visits(events, world, tally)), log.buckets.take()
            ):
                visits.append(found)
                advance(rows)
    if visits:
        known = before.filter("is_known") if world.asked.history else before
        popularity = np.bincount(known["restaurant"].to_numpy(), minlength=len(world.lats)).astype(np.float64)
        reach = Reach(world, popularity)
        every = pl.concat(visits).sort("user", "time", "restaurant")
        for name, part in ((TRAIN, Outcome.TRAIN), (TEST, Outcome.TEST)):
            listed = draw_lists(every.filter(pl.col("part") == part), part, reach, world)
            tally.note(f"{name} lists", len(listed.requests))
            writer.add(listed)
        clicks.append(every.filter(pl.col("part") != Outcome.TEST).select("user", DISTANCE_M, "part"))
        requests.append(listed.requests)
    writer.close()
    if ids:
        all_ids = np.sort(np.concatenate(ids))
        shared = np.unique(all_ids[1:][all_ids[1:] == all_ids[:-1]])
        tally.note("list ids that two people share", len(shared), dirty=True)
    for name in (TRAIN, TEST):
        if not writer.rows[name]:
            found_ = ", ".join(f"{count:,} {what}" for what, count in tally.told().items())
            raise DataError(
                f"no {name} list, {_when(name, world)}, is left ({found_}); choose another split, or look at what was "
                "left out",
                path=path,
            )
    return pl.concat(clicks), pl.concat(requests)


def _when(name: str, world: World) -> str:
    if world.split.at is None:
        return f"of those that the seed draws for [split] test = {world.split.test:g}"
    return f"{'before' if name == TRAIN else 'at or after'} the split time {world.split.at.isoformat()}"


def _ahead(make: Callable[[_In], _Out], items: Iterable[_In]) -> Iterator[_Out]:
    """Make one thing of each item, in order, a step ahead of who takes them: the next bucket while this is written."""
    with ThreadPoolExecutor(max_workers=1) as worker:
        coming: Future[_Out] | None = None
        for item in items:
            waiting, coming = coming, worker.submit(make, item)
            if waiting is not None:
                yield waiting.result()
        if coming is not None:
            yield coming.result()


def _make_history(world: World, before: pl.DataFrame, clicks: pl.DataFrame, users: int) -> Tables:
    known = clicks.filter(pl.col(DISTANCE_M).is_not_null(), pl.col("part") == Outcome.HISTORY)
    before = before.filter("is_known")
    placed = before.filter(pl.Series(world.restaurant_has_row[before["restaurant"].to_numpy()]))
    return make_tables(
        placed,
        known,
        world.lats,
        world.lngs,
        users=users,
        split_us=world.split.history_us,
        seed=world.asked.seed,
        is_counted=bool(world.asked.counted),
    )


def _write_tables(
    folder: Path,
    asked: Map,
    users: Entities,
    restaurants: Entities,
    sides: dict[str, Sides],
    world: World,
    zones: list[str],
    history: Tables | None,
    writer: ClickWriter,
    earlier: Earlier | None,
) -> dict[str, Any]:
    at = world.split.at
    of_users = make_table(
        "user", asked.users, users, sides["users"], history, world.user_has_row, at=at, like=_like(earlier, "users")
    )
    of_restaurants = make_table(
        "restaurant",
        asked.restaurants,
        restaurants,
        sides["restaurants"],
        history,
        world.restaurant_has_row,
        at=at,
        like=_like(earlier, "restaurants"),
    )
    told = [*of_users.told, *of_restaurants.told]
    fill = writer.distance_sum_m / writer.distances if writer.distances else None
    if fill is None:
        told.append(f"nothing tells where the person was: there is no {DISTANCE_M}")
    elif not asked.events.shows:
        fill = float(asked.negatives.radius_m)
    schema = make_schema(
        of_users.features,
        of_restaurants.features,
        IdKinds(users.kind, restaurants.kind),
        distance_fill=fill,
        is_timed=asked.events.time is not None,
        counters=asked.counted,
    )
    if earlier is not None:
        earlier.check_schema(schema)
        schema = earlier.schema
    write_schema(schema, folder)
    has_row = pl.Series(world.user_has_row)
    write_table(of_users.columns.insert_column(0, users.ids.filter(has_row).alias("user_id")), folder / USERS)
    keys = pl.DataFrame(
        {
            "restaurant_id": restaurants.ids,
            "latitude": world.lats,
            "longitude": world.lngs,
            TIME_ZONE: pl.Series(zones, dtype=pl.String),
        }
    ).filter(pl.Series(world.restaurant_has_row))
    write_table(pl.concat([keys, of_restaurants.columns], how="horizontal"), folder / RESTAURANTS)
    return {
        "users": len(of_users.columns),
        "restaurants": len(of_restaurants.columns),
        "categories": of_users.values | of_restaurants.values,
        "told": told,
        COLUMNS: {
            f"{table}.{key}": one._asdict()
            for table, featured in (("users", of_users), ("restaurants", of_restaurants))
            for key, one in featured.made.items()
        },
    }


def _like(earlier: Earlier | None, table: str) -> dict[str, Columns] | None:
    return None if earlier is None else earlier.of_table(table)


def _note_absent(asked: Map, users: Entities, restaurants: Entities, log: Log, tally: Tally) -> None:
    for name, entities, seen in zip(("users", "restaurants"), (users, restaurants), log.seen, strict=True):
        if getattr(asked, name) is not None:
            tally.tables[name] = +entities.faults
            tally.note(f"{name} without any event", int(np.count_nonzero(~seen)))
    if asked.users is not None and asked.users.latitude is not None:
        tally.note("users without a home", int(np.count_nonzero(np.isnan(users.lats))))
