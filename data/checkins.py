"""Check-ins become a data folder: features from before the split, visits as clicks, and requests to rank for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl

from data.history import declare_fills, make_tables
from data.negatives import Neighbourhood
from data.output import SOURCE, whole_folder, write_json, write_schema, write_table
from data.parse import Dirt, dirt_to_text, read_checkins, read_venues
from data.visits import count_wandering, find_visits, locate_places, split_time
from hexbite.console import Advance, progress
from hexbite.errors import DataError
from hexbite.features import DISTANCE_M
from hexbite.folder import REQUESTS, RESTAURANTS, TEST, TRAIN, USERS

#: How many places a request of a test visit asks for.
REQUEST_SIZE: Final = 10

#: The farthest that a request may ask for, as in the service.
MAX_RADIUS_M: Final = 50_000

# Rows of a click file, about: what is drawn and shuffled at once.
_ROWS_PER_FILE: Final = 600_000

# One random stream each; the numbers are part of what a seed means.
_TRAIN, _TEST = range(2)


@dataclass(frozen=True, slots=True)
class Protocol:
    """How check-ins become visits and clicks.

    ``split``: a UTC time, or the fraction (0..1, exclusive) of the check-ins that come before it. A person's previous
    check-in tells where they stand for ``max_age_h`` hours; a visit lies within ``radius_m`` metres of there, and gets
    up to ``negatives`` rows of places left alone.
    """

    split: datetime | float = 0.8
    max_age_h: float = 24.0
    radius_m: int = 2_000
    negatives: int = 20
    seed: int = 0

    def check(self, path: Path) -> None:
        """Raise DataError, naming the setting, where one is out of range."""
        faults = {
            "a split given as a fraction must lie between 0 and 1": isinstance(self.split, float)
            and not 0 < self.split < 1,
            "max-age-h must be above 0 and at most 8760": not 0 < self.max_age_h <= 8_760,
            f"radius-m must be 1..{MAX_RADIUS_M}": not 1 <= self.radius_m <= MAX_RADIUS_M,
            "negatives must be 1..1000": not 1 <= self.negatives <= 1_000,
            "seed must be 0 or more": self.seed < 0,
        }
        for fault, found in faults.items():
            if found:
                raise DataError(fault, path=path)


class _Clean(NamedTuple):
    checkins: pl.DataFrame
    venues: pl.DataFrame | None
    dirt: dict[str, Dirt]


def write_checkins(
    checkins: Path, folder: Path, *, venues: Path | None, protocol: Protocol, strict: bool = False
) -> dict[str, Any]:
    """Import check-ins (and venues) into a data folder and return what its ``source.json`` says.

    Raises DataError where a file cannot be read, where no training or no test visit is found, and with ``strict`` where
    any row is dirty.
    """
    protocol.check(checkins)
    with whole_folder(folder) as partial:
        with progress("reading check-ins"):
            clean = _read(checkins, venues)
        if strict:
            _refuse_dirt(clean.dirt, checkins)
        with progress("finding visits"):
            split = protocol.split
            at = split if isinstance(split, datetime) else split_time(clean.checkins, split)
            before = clean.checkins.filter(pl.col("time") < at)
            places = locate_places(before, clean.venues)
            visits = find_visits(
                clean.checkins,
                places,
                clean.venues,
                max_age=timedelta(hours=protocol.max_age_h),
                radius_m=protocol.radius_m,
            )
            train = visits.filter(pl.col("time") < at)
            test = visits.filter(pl.col("time") >= at).join(before, on="user_id", how="semi", maintain_order="left")
        for when, found in (("before", train), ("at or after", test)):
            if found.is_empty():
                raise DataError(
                    f"no visit {when} the split time {at.isoformat()} that follows another check-in within "
                    f"{protocol.max_age_h:g} h and {protocol.radius_m} m; choose another --split, or more check-ins",
                    path=checkins,
                )
        with progress("making features"):
            tables = make_tables(before, train, places, split=at, seed=protocol.seed)
            write_schema(declare_fills(tables, radius_m=protocol.radius_m), partial)
            write_table(tables.users, partial / USERS)
            write_table(tables.restaurants, partial / RESTAURANTS)
        with progress("drawing clicks", len(train) + len(test), "visits") as advance:
            near = _neighbourhood(before, places, protocol.radius_m)
            rows = {
                name: _write_clicks(partial / name, found, places, near, protocol, stream, advance)
                for name, found, stream in ((TRAIN, train, _TRAIN), (TEST, test, _TEST))
            }
        write_table(_requests(test, protocol.radius_m), partial / REQUESTS)
        document = {
            "files": {"checkins": checkins.name, "venues": None if venues is None else venues.name},
            "protocol": asdict(protocol) | {"split": at.isoformat()},
            "dirty": {
                file: {kind: count for kind, count in dirt.items() if count} for file, dirt in clean.dirt.items()
            },
            "rows": {
                "checkins": len(clean.checkins),
                "checkins before the split": len(before),
                "users": len(tables.users),
                "restaurants": len(tables.restaurants),
                "train visits": len(train),
                "test visits": len(test),
                "train clicks": rows[TRAIN],
                "test clicks": rows[TEST],
            },
        }
        write_json(document, partial / SOURCE)
    return document


def _read(checkins: Path, venues: Path | None) -> _Clean:
    rows, dirt = read_checkins(checkins)
    named = {"checkins": dirt}
    places = None
    if venues is not None:
        places, named["venues"] = read_venues(venues)
    dirt.update(count_wandering(rows, places))
    return _Clean(rows, places, named)


def _refuse_dirt(dirt: dict[str, Dirt], path: Path) -> None:
    found = {file: counts for file, counts in dirt.items() if counts.total()}
    if found:
        text = "; ".join(f"{file}: {dirt_to_text(counts)}" for file, counts in found.items())
        raise DataError(f"--strict, and not all rows are clean ({text})", path=path)


def _neighbourhood(before: pl.DataFrame, places: pl.DataFrame, radius_m: int) -> Neighbourhood:
    popularity = before.group_by("venue_id").len().sort("venue_id")["len"].cast(pl.Float64)
    return Neighbourhood(places["latitude"].to_numpy(), places["longitude"].to_numpy(), popularity.to_numpy(), radius_m)


def _write_clicks(
    folder: Path,
    visits: pl.DataFrame,
    places: pl.DataFrame,
    near: Neighbourhood,
    protocol: Protocol,
    stream: int,
    advance: Advance,
) -> int:
    folder.mkdir()
    draws = np.random.default_rng(np.random.SeedSequence(protocol.seed, spawn_key=(stream,)))
    ids = places["restaurant_id"].to_numpy()
    # Shuffled, so that each file holds visits of all times and people; a trainer mixes rows within a file only.
    shuffled = visits[draws.permutation(len(visits))]
    files = -(-len(visits) * (protocol.negatives + 1) // _ROWS_PER_FILE)
    visits_per_file = -(-len(visits) // files)
    written = 0
    for file, chunk in enumerate(shuffled.iter_slices(visits_per_file)):
        user, restaurant, lat, lng, metres = (
            chunk[name].to_numpy() for name in ("user_id", "restaurant_id", "latitude", "longitude", DISTANCE_M)
        )
        visited = np.searchsorted(ids, restaurant)
        left = near.draw(lat, lng, visited, protocol.negatives, draws)
        clicks = pl.DataFrame(
            {
                "user_id": np.concatenate((user, user[left.visit])),
                "restaurant_id": np.concatenate((restaurant, ids[left.place])),
                "click": np.repeat(np.array([1, 0]), (len(user), len(left.visit))),
                DISTANCE_M: np.concatenate((metres, left.distance_m)).astype(np.float32),
            }
        )
        write_table(clicks[draws.permutation(len(clicks))], folder / f"{folder.name}_{file:02}.parquet")
        written += len(clicks)
        advance(len(chunk))
    return written


def _requests(test: pl.DataFrame, radius_m: int) -> pl.DataFrame:
    return test.sort("time", "user_id", "restaurant_id").select(
        "user_id",
        "latitude",
        "longitude",
        pl.lit(None, pl.List(pl.Int64)).alias("candidate_restaurant_ids"),
        pl.lit(REQUEST_SIZE, pl.Int64).alias("size"),
        pl.lit(radius_m, pl.Int64).alias("max_dist"),
        pl.lit(value=False).alias("sort_dist"),
        visited_restaurant_id="restaurant_id",
        visited_at="time",
    )
