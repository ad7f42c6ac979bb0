"""A log that knows only what was chosen: where the person stood before each choice, and others in reach, drawn.

An event carries its restaurant's own place, so it says nothing about where the person came from. Here a person stands
where the log says, else at home where the users' table tells it, else where their previous choice was, at another
restaurant and not too long ago.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from data.log.rows.lists import changes
from data.log.rows.negatives import Draw, Neighbourhood
from data.log.rows.world import FROM_HOME, HOUR_US, Listed, Numbers, World
from data.log.rules import Outcome, Tally
from hexbite.features import DISTANCE_M
from hexbite.geo import Degrees, distances_m

#: An event further than this from its restaurant's place is told of; the restaurant's place is used.
WANDER_M: Final = 500.0

# One random stream each; the numbers are part of what a seed means.
_STREAMS: Final = {Outcome.TRAIN: 0, Outcome.TEST: 1}


def find_visits(events: pl.DataFrame, world: World, tally: Tally) -> pl.DataFrame:
    """The choices of one bucket that something can be learned from: every row is counted under what it ends as.

    ``user``, ``restaurant``, ``time``, ``latitude``, ``longitude`` (where the person stood), ``distance_m`` from there,
    ``part``: what `Split.of_visits` says.
    """
    rows = events.sort(
        "user", "time", "restaurant", *(n for n in events.columns if n not in ("user", "time", "restaurant"))
    )
    same = rows.select(pl.all_horizontal(pl.all().eq_missing(pl.all().shift(1)))).to_series().to_numpy().copy()
    same[:1] = False
    user, restaurant, time = (rows[name].to_numpy() for name in ("user", "restaurant", "time"))
    outcomes = world.start(user, restaurant, time)
    outcomes[same & (outcomes != Outcome.FAR_TIME)] = Outcome.REPEATED
    is_usable = (outcomes != Outcome.FAR_TIME) & (outcomes != Outcome.REPEATED)
    tally.add(outcomes[~is_usable])
    rows, outcomes = rows.filter(pl.Series(is_usable)), outcomes[is_usable]
    user, restaurant, time = user[is_usable], restaurant[is_usable], time[is_usable]

    def column(name: str) -> Degrees:
        return rows[name].fill_null(np.nan).to_numpy() if name in rows.columns else np.full(len(rows), np.nan)

    place_lats, place_lngs = world.lats[restaurant], world.lngs[restaurant]
    told = column("restaurant_latitude"), column("restaurant_longitude")
    away_m = distances_m(*told, place_lats, place_lngs)
    tally.note(
        f"events more than {WANDER_M:g} m from their restaurant's place", int(np.sum(away_m > WANDER_M)), dirty=True
    )
    # A restaurant without a place of its own was at least where this event says.
    is_known = ~np.isnan(place_lats)
    spots = np.where(is_known, place_lats, told[0]), np.where(is_known, place_lngs, told[1])

    lats, lngs = column("latitude").copy(), column("longitude").copy()
    is_home = np.isnan(lats) & ~np.isnan(world.home_lats[user])
    lats[is_home], lngs[is_home] = world.home_lats[user[is_home]], world.home_lngs[user[is_home]]
    is_own = ~np.isnan(lats)
    is_first = changes(user)
    before = np.arange(len(rows)) - 1
    # Without times nobody knows which choice came before.
    is_young = (
        ~is_first
        & (world.asked.events.time is not None)
        & (time - time[before] <= world.asked.standing.max_age_h * HOUR_US)
    )
    lats[~is_own], lngs[~is_own] = (spot[before][~is_own] for spot in spots)
    metres = distances_m(lats, lngs, place_lats, place_lngs)
    is_open = outcomes == Outcome.OPEN
    faults = (
        (Outcome.OUT_OF_REACH, ~(metres <= world.asked.negatives.radius_m)),
        (Outcome.STAYED, ~is_own & (restaurant == restaurant[before])),
        (Outcome.STANDING_UNKNOWN, ~is_own & (~is_young | np.isnan(lats))),
    )
    part = world.split.of_visits(user, restaurant, time)
    outcomes[is_open] = part[is_open]
    for fault, is_so in faults:
        outcomes[is_open & is_so] = fault
    tally.add(outcomes)
    tally.note(FROM_HOME, int(np.count_nonzero(is_home & (outcomes >= Outcome.TRAIN))))
    visits = rows.select("user", "restaurant", "time").with_columns(
        latitude=pl.Series(lats),
        longitude=pl.Series(lngs),
        distance_m=pl.Series(metres),
        part=pl.Series(part),
    )
    return visits.filter(pl.Series(outcomes >= Outcome.HISTORY))


class Reach:
    """The restaurants that have a row, by place; ``popularity`` ``(R,)`` are the choices of each that are known."""

    def __init__(self, world: World, popularity: npt.NDArray[np.float64]) -> None:
        self._of = np.flatnonzero(world.restaurant_has_row).astype(np.int32)
        self._near = Neighbourhood(
            world.lats[self._of], world.lngs[self._of], popularity[self._of], world.asked.negatives.radius_m
        )

    def draw(self, lats: Degrees, lngs: Degrees, visited: Numbers, count: int, draws: np.random.Generator) -> Draw:
        """As `Neighbourhood.draw`, of restaurants' numbers."""
        left = self._near.draw(lats, lngs, np.searchsorted(self._of, visited), count, draws)
        return left._replace(place=self._of[left.place].astype(np.int64))


def draw_lists(visits: pl.DataFrame, part: Outcome, reach: Reach, world: World) -> Listed:
    """Visits of `Outcome.TRAIN` or `Outcome.TEST`, shuffled, each a list with others in reach that are drawn for it."""
    asked = world.asked
    draws = np.random.default_rng(np.random.SeedSequence(asked.seed, spawn_key=(_STREAMS[part],)))
    # Shuffled, so that each file holds visits of all times and people; a trainer mixes rows within a window only.
    shuffled = visits[draws.permutation(len(visits))]
    user, restaurant, time, lat, lng, metres = (
        shuffled[name].to_numpy() for name in ("user", "restaurant", "time", "latitude", "longitude", DISTANCE_M)
    )
    left = reach.draw(lat, lng, restaurant, asked.negatives.count, draws)
    of = np.concatenate((np.arange(len(user)), left.visit))
    # Within a list in no order: the choice is nowhere by its place.
    order = np.lexsort((draws.random(len(of)), of))
    of = of[order]
    rows = pl.DataFrame(
        {
            "user": user[of],
            "restaurant": np.concatenate((restaurant, left.place)).astype(np.int32)[order],
            "click": np.repeat(np.array([1, 0], dtype=np.int8), (len(user), len(left.visit)))[order],
            DISTANCE_M: np.concatenate((metres, left.distance_m)).astype(np.float32)[order],
            "list": of,
            "time": time[of],
            "part": np.full(len(of), part, dtype=np.uint8),
        }
    )
    requests = shuffled.select("user", "restaurant", "latitude", "longitude", at="time", visited_at="time")
    return Listed(rows, requests, visits.select("user", DISTANCE_M, "part"), np.empty(0, dtype=np.int64))
