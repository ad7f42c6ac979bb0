"""An order log as a company has it: customers, merchants and what happened, in three files of three kinds.

People see lists of merchants near them, tap some and order from few. Who orders what follows from a person's taste,
price, distance and the hour, so that there is something to learn; places further up are seen more often.
"""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from data.output import ORDERS, whole_folder, write_json, write_table
from data.positions import around
from hexbite.console import progress
from hexbite.geo import distances_m

#: Lisbon, degrees; its people and merchants live around so many squares.
CENTRE: Final = (38.73, -9.15)
TIME_ZONE: Final = "Europe/Lisbon"
_SQUARES: Final = 24
_SQUARE_SPREAD_M: Final = 4_000.0
_SPREAD_M: Final = 700.0

#: Merchants in a list.
LIST_LENGTH: Final = 12

_FIRST_DAY: Final = date(2026, 3, 2)

_CUISINES: Final = ("portuguese", "sushi", "thai", "pizza", "indian", "vegan", "burger", "bakery", "chinese", "grill")
_TAGS: Final = ("halal", "family", "terrace", "late night", "new")
_SEGMENTS: Final = ("student", "family", "office", "night owl")

# How much each segment likes each cuisine more than the average, and how far a level of price puts it off.
_TASTE_SPREAD: Final = 1.3
_PRICE_AVERSION: Final = (1.0, 0.7, 0.1, 0.4)
_METRES_PER_UNIT: Final = 700.0

# Of a list's places, the share of people who look as far as the next one; and who order what they tapped.
_LOOKS_ON: Final = 0.88
_ORDER_SHARE: Final = 0.55
_TAP_AT: Final = 1.4

# One random stream each; the numbers are part of what a seed means.
_PEOPLE, _PLACES, _TASTES, _DAYS = range(4)


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much to draw."""

    customers: int = 2_000
    merchants: int = 600
    days: int = 28
    lists_a_day: int = 560


class _Customers(NamedTuple):
    ids: npt.NDArray[Any]
    segment: npt.NDArray[np.int64]
    square: npt.NDArray[np.int64]
    taste: npt.NDArray[np.float64]


class _Merchants(NamedTuple):
    """Sorted by square; ``first`` and ``many`` ``(S,)`` say where a square's merchants stand."""

    ids: npt.NDArray[Any]
    cuisine: npt.NDArray[np.int64]
    price: npt.NDArray[np.int64]
    appeal: npt.NDArray[np.float64]
    lats_deg: npt.NDArray[np.float64]
    lngs_deg: npt.NDArray[np.float64]
    first: npt.NDArray[np.int64]
    many: npt.NDArray[np.int64]


def write_orders(folder: Path, sizes: Sizes, *, seed: int) -> dict[str, Any]:
    """Draw ``customers.csv``, ``merchants.jsonl`` and ``events/day=…/part-0.parquet``, and return the counts of each.

    A square has more merchants than a list is long, or all lists would be alike. Raises DataError where the folder
    cannot be written.
    """
    with whole_folder(folder) as partial:
        squares = around(np.random.default_rng([seed, _TASTES]), np.array([CENTRE] * _SQUARES), _SQUARE_SPREAD_M)
        customers = _draw_customers(partial, sizes, seed)
        merchants = _draw_merchants(partial, sizes, squares, seed)
        events = 0
        with progress("drawing days", sizes.days, "days") as advance:
            for day in range(sizes.days):
                frame = _draw_day(day, sizes, customers, merchants, squares, np.random.default_rng([seed, _DAYS, day]))
                place = partial / "events" / f"day={_FIRST_DAY + timedelta(days=day)}"
                place.mkdir(parents=True)
                write_table(frame, place / "part-0.parquet")
                events += len(frame)
                advance()
        drawn = {"customers": sizes.customers, "merchants": sizes.merchants, "events": events}
        write_json({"sizes": asdict(sizes), "seed": seed, "drawn": drawn}, partial / ORDERS)
    return drawn


def _draw_customers(folder: Path, sizes: Sizes, seed: int) -> _Customers:
    draws, count = np.random.default_rng([seed, _PEOPLE]), sizes.customers
    ids = np.array([str(uuid.UUID(bytes=draws.bytes(16), version=4)) for _ in range(count)])
    segment, square = draws.integers(len(_SEGMENTS), size=count), draws.integers(_SQUARES, size=count)
    of_segment = draws.normal(0, _TASTE_SPREAD, (len(_SEGMENTS), len(_CUISINES)))
    signed_up = [_FIRST_DAY - timedelta(days=int(days)) for days in draws.integers(1, 900, size=count)]
    age = 18 + draws.gamma(3, 7, count).astype(np.int64)
    frame = pl.DataFrame(
        {
            "customer_id": ids,
            "signed_up": [day.isoformat() for day in signed_up],
            "segment": np.array(_SEGMENTS)[segment],
            "age": age,
            "newsletter": np.where(draws.random(count) < 0.4, "yes", "no"),
        }
    ).with_columns(_with_gaps("age", 0.2, draws, count))
    frame.write_csv(folder / "customers.csv", separator=";")
    taste = of_segment[segment] + draws.normal(0, 0.5, (count, len(_CUISINES)))
    return _Customers(ids, segment, square, taste)


def _draw_merchants(folder: Path, sizes: Sizes, squares: npt.NDArray[np.float64], seed: int) -> _Merchants:
    draws, count = np.random.default_rng([seed, _PLACES]), sizes.merchants
    square = np.sort(draws.integers(_SQUARES, size=count))
    ids = np.array([f"M-{draws.integers(16**6):06x}-{number}" for number in range(count)])
    cuisine, price = draws.integers(len(_CUISINES), size=count), draws.integers(1, 5, size=count)
    lats_deg, lngs_deg = around(draws, squares[square], _SPREAD_M).T
    appeal = draws.normal(0, 0.8, count)
    tags = [[tag for tag in _TAGS if draws.random() < 0.25] for _ in range(count)]
    frame = pl.DataFrame(
        {
            "merchant_id": ids,
            "name": [f"{_CUISINES[kind].title()} {number}" for number, kind in enumerate(cuisine)],
            "cuisine": np.array(_CUISINES)[cuisine],
            "tags": [";".join(some) for some in tags],
            "price_level": price,
            "rating": np.round(np.clip(4 + appeal / 2 + draws.normal(0, 0.2, count), 1, 5), 1),
            "opens": np.where(cuisine == _CUISINES.index("bakery"), "07:00-19:00", "11:30-23:00"),
            "lat": np.round(lats_deg, 6),
            "lng": np.round(lngs_deg, 6),
        }
    ).with_columns(_with_gaps("rating", 0.3, draws, count))
    frame.write_ndjson(folder / "merchants.jsonl")
    many = np.bincount(square, minlength=_SQUARES)
    return _Merchants(ids, cuisine, price, appeal, lats_deg, lngs_deg, np.cumsum(many) - many, many)


def _with_gaps(column: str, share: float, draws: np.random.Generator, count: int) -> pl.Expr:
    return pl.when(pl.Series(draws.random(count) >= share)).then(pl.col(column)).alias(column)


def _draw_day(
    day: int,
    sizes: Sizes,
    customers: _Customers,
    merchants: _Merchants,
    squares: npt.NDArray[np.float64],
    draws: np.random.Generator,
) -> pl.DataFrame:
    lists = sizes.lists_a_day
    who = draws.integers(sizes.customers, size=lists)
    # Lunch, dinner, and a few in between.
    hour = np.clip(
        np.where(draws.random(lists) < 0.45, draws.normal(13, 1.3, lists), draws.normal(20, 2, lists)), 7, 23.9
    )
    midnight = datetime.combine(_FIRST_DAY + timedelta(days=day), datetime.min.time(), UTC)
    shown_us = int(midnight.timestamp()) * 1_000_000 + (hour * 3.6e9).astype(np.int64)
    home = customers.square[who]
    person = around(draws, squares[home], _SPREAD_M / 2)
    length = np.minimum(LIST_LENGTH, merchants.many[home])
    # A walk through a square's merchants from a drawn one on: near, never one twice, in an order of no meaning.
    step = draws.integers(0, np.maximum(merchants.many[home], 1))
    place = np.arange(LIST_LENGTH)
    shown = merchants.first[home, None] + (step[:, None] + place) % np.maximum(merchants.many[home], 1)[:, None]
    shown = np.minimum(shown, len(merchants.ids) - 1)  # a square without any
    is_there = place < length[:, None]
    metres = distances_m(person[:, :1], person[:, 1:], merchants.lats_deg[shown], merchants.lngs_deg[shown])
    liking = (
        customers.taste[who[:, None], merchants.cuisine[shown]]
        + merchants.appeal[shown]
        - np.array(_PRICE_AVERSION)[customers.segment[who], None] * (merchants.price[shown] - 2)
        - metres / _METRES_PER_UNIT
        + np.where((merchants.cuisine[shown] == _CUISINES.index("bakery")) & (hour[:, None] > 17), -2.0, 0.0)
        + draws.gumbel(0, 0.7, shown.shape)
    )
    seen = place < draws.geometric(1 - _LOOKS_ON, lists)[:, None]
    tapped = is_there & seen & (liking > _TAP_AT)
    best = np.argmax(np.where(tapped, liking, -np.inf), axis=1)
    ordered = tapped & (place == best[:, None]) & (draws.random(lists) < _ORDER_SHARE)[:, None]
    chosen = np.concatenate([np.stack(np.nonzero(some)) for some in (is_there, tapped, ordered)], axis=1)
    row, column = chosen
    many = [int(np.count_nonzero(some)) for some in (is_there, tapped, ordered)]
    kind, after_s = np.repeat(["impression", "click", "order"], many), np.repeat([0, 20, 400], many)
    at_us = shown_us[row] + ((after_s + np.where(after_s > 0, draws.integers(0, 120, len(row)), 0)) * 1_000_000)
    return pl.DataFrame(
        {
            "event": kind,
            "ts": pl.Series(at_us).cast(pl.Datetime("us", "UTC")),
            "request_id": np.array([f"{day:03}-{number:07}" for number in range(lists)])[row],
            "customer_id": customers.ids[who[row]],
            "merchant_id": merchants.ids[shown[row, column]],
            "rank": pl.Series(np.where(kind == "impression", column + 1, -1)).replace(-1, None).cast(pl.Int32),
            "user_lat": np.round(person[row, 0], 5),
            "user_lng": np.round(person[row, 1], 5),
        }
    ).sort("ts", "request_id", "event", "rank")
