"""Which check-ins count as visits, and where the person stood before each: the protocol that gives no answer away.

A check-in carries the venue's own coordinates, so they say nothing about where the person came from. Here a person
stands where their previous check-in was, at another venue and not too long ago; a visit is a check-in within reach of
there, of a person and at a place that the feature tables know.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import polars as pl

from data.parse import Dirt
from hexbite.geo import distances_m

#: A check-in further than this from its venue's place is counted as wandering; the venue's place is used.
WANDER_M: Final = 500.0


def split_time(checkins: pl.DataFrame, fraction: float) -> datetime:
    """The time of the first check-in after ``fraction`` (0..1) of all, by time: rows decide, not the calendar."""
    times = checkins["time"].sort()
    at: datetime = times[min(int(fraction * len(times)), len(times) - 1)]
    return at


def locate_places(before: pl.DataFrame, venues: pl.DataFrame | None) -> pl.DataFrame:
    """The place of every venue checked in at: ``restaurant_id``, ``latitude``, ``longitude``, sorted by id.

    From ``venues`` where it names the venue, else the (lower) median of its check-ins: one that somebody sent, and
    never the middle between two of them.
    """
    medians = before.group_by("venue_id").agg(
        pl.col("latitude", "longitude").quantile(0.5, interpolation="lower").name.prefix("median_")
    )
    known = venues if venues is not None else pl.DataFrame(schema=_VENUES)
    return (
        medians.join(known, on="venue_id", how="left")
        .select(
            restaurant_id="venue_id",
            latitude=pl.coalesce("latitude", "median_latitude"),
            longitude=pl.coalesce("longitude", "median_longitude"),
        )
        .sort("restaurant_id")
    )


_VENUES: Final = {"venue_id": pl.Int64, "latitude": pl.Float64, "longitude": pl.Float64}


def count_wandering(checkins: pl.DataFrame, venues: pl.DataFrame | None) -> Dirt:
    """How many check-ins lie more than `WANDER_M` from their venue's place, as `locate_places` sees it with all."""
    places = locate_places(checkins, venues).rename({"latitude": "place_lat", "longitude": "place_lng"})
    both = checkins.join(places, left_on="venue_id", right_on="restaurant_id")
    away_m = distances_m(
        both["latitude"].to_numpy(),
        both["longitude"].to_numpy(),
        both["place_lat"].to_numpy(),
        both["place_lng"].to_numpy(),
    )
    return Dirt({"coordinates that wander": int((away_m > WANDER_M).sum())})


def find_visits(
    checkins: pl.DataFrame,
    places: pl.DataFrame,
    venues: pl.DataFrame | None,
    *,
    max_age: timedelta,
    radius_m: float,
) -> pl.DataFrame:
    """Visits ``user_id``, ``time``, ``restaurant_id``, ``latitude``, ``longitude`` (where the person stands), and
    ``distance_m`` from there to the place; in the order of ``checkins``, which is sorted by user and time.

    The person stands at the place of their previous check-in's venue; where ``places`` and ``venues`` know none, at the
    coordinates of that check-in. Visits are at ``places`` only.
    """
    previous = [pl.col(name).shift(1).over("user_id").alias(f"from_{name}") for name in checkins.columns[1:]]
    standing = checkins.with_columns(previous).filter(
        (pl.col("from_venue_id") != pl.col("venue_id")) & (pl.col("time") - pl.col("from_time") <= max_age)
    )
    spots = places.select("latitude", "longitude", venue_id="restaurant_id")
    if venues is not None:
        spots = pl.concat([spots, venues.select(spots.columns)]).unique("venue_id", keep="first")
    located = (
        standing.drop("latitude", "longitude")
        .join(spots, left_on="from_venue_id", right_on="venue_id", how="left", maintain_order="left")
        .join(
            places.rename({"latitude": "place_lat", "longitude": "place_lng"}),
            left_on="venue_id",
            right_on="restaurant_id",
            maintain_order="left",
        )
        .select(
            "user_id",
            "time",
            "place_lat",
            "place_lng",
            restaurant_id="venue_id",
            latitude=pl.coalesce("latitude", "from_latitude"),
            longitude=pl.coalesce("longitude", "from_longitude"),
        )
    )
    metres = distances_m(*(located[name].to_numpy() for name in ("latitude", "longitude", "place_lat", "place_lng")))
    return (
        located.with_columns(distance_m=pl.Series(metres))
        .filter(pl.col("distance_m") <= radius_m)
        .select("user_id", "time", "restaurant_id", "latitude", "longitude", "distance_m")
    )
