"""The world that rows are made in: the split, where restaurants are, and whom something is known of."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from data.log.map import Map
from data.log.reading.entities import Entities
from data.log.reading.events import Log
from data.log.rows.split import find_split
from data.log.rows.world import World
from data.log.rows.zones import positions_to_zones
from hexbite.clock import Clock
from hexbite.zones import available_names


def make_world(asked: Map, log: Log, users: Entities, restaurants: Entities) -> tuple[World, pl.DataFrame, list[str]]:
    """The world of a log, the choices of `Split.before`, and the zones of all restaurants by name."""
    split = find_split(asked, log, users, restaurants)
    before = split.before(log.choices, log.buckets.each, shows=asked.events.shows)
    lats, lngs = restaurants.lats.copy(), restaurants.lngs.copy()
    if asked.events.restaurant_latitude is not None:
        # Where history says where a restaurant is, what came later does not change it.
        known = before.filter("is_known")
        for places in [log.places] if asked.events.shows else [known, before]:
            _locate(lats, lngs, places)
    is_placed = ~np.isnan(lats)
    user_has_row = np.ones(len(users), dtype=np.bool_)
    if asked.users is None or not asked.users.features:
        user_has_row = _has_choice(before["user"], len(users))
    if asked.restaurants is None or not asked.restaurants.features:
        is_placed &= _has_choice(before["restaurant"], len(restaurants))
    names = _zones(asked, restaurants, lats, lngs, is_placed)
    zones = sorted(set(names))
    numbers = {name: number for number, name in enumerate(zones)}
    clock = Clock(zones, log.first_us // 1_000_000, log.last_us // 1_000_000)
    of = np.array([numbers[name] for name in names], dtype=np.int32)
    world = World(
        asked,
        split,
        log.first_us,
        log.last_us,
        lats,
        lngs,
        of,
        users.lats,
        users.lngs,
        clock,
        user_has_row,
        is_placed,
    )
    return world, before, names


def _has_choice(numbers: pl.Series, size: int) -> npt.NDArray[np.bool_]:
    has = np.zeros(size, dtype=np.bool_)
    has[numbers.to_numpy()] = True
    return has


def _locate(lats: npt.NDArray[np.float64], lngs: npt.NDArray[np.float64], places: pl.DataFrame) -> None:
    """Give restaurants without a position the (lower) median of their events': one that somebody sent."""
    median = places.group_by("restaurant").agg(
        pl.col("restaurant_latitude", "restaurant_longitude").quantile(0.5, interpolation="lower")
    )
    median = median.drop_nulls().filter(pl.Series(np.isnan(lats[median.drop_nulls()["restaurant"].to_numpy()])))
    rows = median["restaurant"].to_numpy()
    lats[rows], lngs[rows] = (median[f"restaurant_{name}"].to_numpy() for name in ("latitude", "longitude"))


def _zones(
    asked: Map,
    restaurants: Entities,
    lats: npt.NDArray[np.float64],
    lngs: npt.NDArray[np.float64],
    is_placed: npt.NDArray[np.bool_],
) -> list[str]:
    """The zone of each restaurant: what its row says, where that is one; else by its position."""
    names: list[str | None] = [None] * len(restaurants)
    if asked.restaurants is not None and asked.restaurants.time_zone is not None and restaurants.sheet is not None:
        told = restaurants.rows.select(restaurants.sheet.text(asked.restaurants.time_zone).str.strip_chars())
        known = available_names()
        texts = told.to_series().to_list()
        names = [name if name in known else None for name in texts]
        restaurants.faults["unknown zones, told by position"] = sum(
            name is None and text is not None for name, text in zip(names, texts, strict=True)
        )
    open_ = np.flatnonzero(is_placed & np.array([name is None for name in names]))
    for row, name in zip(open_.tolist(), positions_to_zones(lats[open_], lngs[open_]), strict=True):
        names[row] = name
    return [name or "Etc/UTC" for name in names]
