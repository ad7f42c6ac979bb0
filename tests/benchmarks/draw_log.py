"""A drawn log: impressions in lists, choices of some of them, users and restaurants, all parquet, and its map."""

import sys
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

LIST_ITEMS = 10
_CHOSEN_SHARE = 0.5
_EVENTS_A_LIST = LIST_ITEMS + _CHOSEN_SHARE
_ROWS_PER_FILE = 5_000_000
_START_US = 1_704_067_200_000_000  # 2024-01-01
_SPAN_US = 180 * 86_400_000_000
_TOWNS = ((52.5, 13.4), (48.9, 2.35), (40.7, -74.0), (13.75, 100.5))

MAP = """
[users]
path = "users.parquet"
id = "user"
[users.features]
age = { kind = "number", fill = "mean" }
segment = { kind = "category" }

[restaurants]
path = "restaurants.parquet"
id = "restaurant"
latitude = "lat"
longitude = "lng"
[restaurants.features]
price = { kind = "number" }

[events]
path = "events"
user = "user"
restaurant = "restaurant"
time = "ts"
kind = "event"
label = ["order"]
shown = ["impression"]
list = "request"
position = "rank"
latitude = "lat"
longitude = "lng"
"""


def draw_log(folder: Path, events: int, *, users: int, restaurants: int, seed: int = 0) -> int:
    """Write ``map.toml`` and what it names; returns the number of events, about as many as asked for."""
    draws = np.random.default_rng(seed)
    (folder / "events").mkdir(parents=True)
    (folder / "map.toml").write_text(MAP)
    ages = pl.Series(draws.integers(18, 80, users).astype(np.float32))
    pl.DataFrame(
        {
            "user": np.arange(users) * 7 + 3,
            "age": pl.select(pl.when(pl.Series(draws.random(users) > 0.1)).then(ages)).to_series(),
            "segment": pl.Series(np.array(["new", "old", "gone"])[draws.integers(3, size=users)]),
        }
    ).write_parquet(folder / "users.parquet")
    lats, lngs = _near_towns(draws, draws.integers(len(_TOWNS), size=restaurants))
    pl.DataFrame(
        {
            "restaurant": np.arange(restaurants) * 3 + 1,
            "lat": lats,
            "lng": lngs,
            "price": draws.integers(1, 5, restaurants).astype(np.float32),
        }
    ).write_parquet(folder / "restaurants.parquet")
    lists = max(round(events / _EVENTS_A_LIST), 1)
    lists_a_file = max(_ROWS_PER_FILE // LIST_ITEMS, 1)
    written = 0
    for file, first in enumerate(range(0, lists, lists_a_file)):
        rows = _events(draws, first, min(lists_a_file, lists - first), lists, users, restaurants)
        rows.write_parquet(folder / "events" / f"part-{file:04}.parquet", compression="zstd", compression_level=1)
        written += len(rows)
    return written


def _near_towns(draws: np.random.Generator, town: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    centres = np.array(_TOWNS)[town]
    return (
        centres[:, 0] + draws.normal(0, 0.03, len(town)),
        centres[:, 1] + draws.normal(0, 0.04, len(town)),
    )


def _events(
    draws: np.random.Generator, first: int, lists: int, all_lists: int, users: int, restaurants: int
) -> pl.DataFrame:
    """Lists of consecutive numbers, in the order of their times."""
    number = np.repeat(np.arange(lists), LIST_ITEMS)
    user = draws.integers(users, size=lists) * 7 + 3
    time = _START_US + ((first + np.arange(lists)) * (_SPAN_US / all_lists)).astype(np.int64)
    lats, lngs = _near_towns(draws, draws.integers(len(_TOWNS), size=lists))
    restaurant = draws.integers(restaurants, size=lists * LIST_ITEMS) * 3 + 1
    chosen = np.flatnonzero(draws.random(lists) < _CHOSEN_SHARE)
    picked = chosen * LIST_ITEMS + draws.integers(LIST_ITEMS, size=len(chosen))
    shown = pl.DataFrame(
        {
            "user": user[number],
            "restaurant": restaurant,
            "ts": time[number],
            "event": pl.repeat("impression", len(number), eager=True),
            "request": number + first,
            "rank": np.tile(np.arange(1, LIST_ITEMS + 1, dtype=np.int32), lists),
            "lat": lats[number],
            "lng": lngs[number],
        }
    )
    orders = shown[picked].with_columns(
        ts=pl.Series(time[chosen] + 120_000_000), event=pl.lit("order"), rank=pl.lit(None, pl.Int32)
    )
    return pl.concat([shown, orders]).sort("ts").with_columns(pl.col("ts").cast(pl.Datetime("us", "UTC")))


if __name__ == "__main__":
    print(draw_log(Path(sys.argv[1]), int(sys.argv[2]), users=1_000_000, restaurants=100_000))
