"""Requests to rank for: what people asked, from where, and what they chose."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from data.log.map import MAX_RADIUS_M, Map
from data.log.reading.entities import Entities
from data.log.rows.world import World
from data.log.rules import Tally
from hexbite.features import DISTANCE_M

#: How many places a request of a test list asks for.
REQUEST_SIZE: Final = 10

#: Requests that are written at the most, drawn by the seed: ranking each among all in reach takes its time.
MOST_REQUESTS: Final = 20_000

# How far the requests of a log that knows what was shown look: what holds so many of its choices, in steps.
_REACH_SHARE: Final = 0.99
_REACH_STEP_M: Final = 500

_REQUEST_STREAM: Final = 2


def make_requests(
    requests: pl.DataFrame, clicks: pl.DataFrame, users: Entities, restaurants: Entities, world: World, tally: Tally
) -> pl.DataFrame:
    """``requests.parquet``, out of `Listed.requests` and `Listed.clicks` of all lists; in the order of time.

    Without ``visited_at`` and ``at`` where the log tells no times.
    """
    if len(requests) > MOST_REQUESTS:
        tally.note("test choices without a request, which the seed did not draw", len(requests) - MOST_REQUESTS)
        draws = np.random.default_rng(np.random.SeedSequence(world.asked.seed, spawn_key=(_REQUEST_STREAM,)))
        requests = requests[np.sort(draws.choice(len(requests), MOST_REQUESTS, replace=False))]
    requests = requests.sort("at", "user", "restaurant")
    moments = () if world.asked.events.time is None else ("visited_at", "at")
    return requests.select(
        users.ids.gather(requests["user"]).alias("user_id"),
        "latitude",
        "longitude",
        pl.lit(None, pl.List(restaurants.ids.dtype)).alias("candidate_restaurant_ids"),
        pl.lit(REQUEST_SIZE, pl.Int64).alias("size"),
        pl.lit(_max_dist_m(clicks, world.asked), pl.Int64).alias("max_dist"),
        pl.lit(value=False).alias("sort_dist"),
        restaurants.ids.gather(requests["restaurant"]).alias("visited_restaurant_id"),
        *(pl.col(name).cast(pl.Datetime("us", "UTC")) for name in moments),
    )


def _max_dist_m(clicks: pl.DataFrame, asked: Map) -> int:
    """How far requests look: the radius that others were drawn in, else what holds nearly all train choices."""
    if not asked.events.shows:
        return asked.negatives.radius_m
    farthest = clicks[DISTANCE_M].quantile(_REACH_SHARE) or 0.0
    return min(max(-(-int(farthest) // _REACH_STEP_M), 1) * _REACH_STEP_M, MAX_RADIUS_M)
