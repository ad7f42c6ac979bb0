"""The feature tables of people and places, from the check-ins before the split and from nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from data.log.features.taste import Taste, factorize_taste
from hexbite.features import DISTANCE_M, HOUR, LOG_DISTANCE_M, WEEKDAY, Feature, FeatureSchema

Values = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

#: Numbers a person's and a place's taste is told in.
TASTE_WIDTH: Final = 32

#: Days after which a check-in counts half in ``log_recent_visits``.
HALF_LIFE_DAYS: Final = 30.0

_METRES_PER_DEGREE: Final = 111_195.0
_US_PER_DAY: Final = 86_400_000_000
_US_PER_HOUR: Final = 3_600_000_000
_NEVER: Final = np.iinfo(np.int64).min

# Parts of the day by the sun's hour, so that no time zones are needed: name, first hour, end.
_DAY_PARTS: Final = (
    ("night", 0, 5),
    ("morning", 5, 11),
    ("midday", 11, 15),
    ("afternoon", 15, 19),
    ("evening", 19, 24),
)

# Shares lean on an even spread as if that many check-ins had shown it: one check-in says little about a place's hours.
_PRIOR_CHECKINS: Final = 2.0


# What only times tell; a table has them all.
_TIMED: Final = ("log_recent_visits", "weekend_share", *(f"{name}_share" for name, *_ in _DAY_PARTS[1:]), "event_ts")

# What rows with counters are ranked worse with (docs/features.md): counters tell hours as of each row's moment, and who
# went where is learned by heart from factors.
_UNCOUNTED: Final = (
    "weekend_share",
    *(f"{name}_share" for name, *_ in _DAY_PARTS[1:]),
    *(f"taste_{number:02}" for number in range(TASTE_WIDTH)),
)


class Tables(NamedTuple):
    """The features of users and of restaurants, and ``event_ts``, the time of the last choice where times are known."""

    users: pl.DataFrame
    restaurants: pl.DataFrame


def _day_part_features(of: str) -> tuple[Feature, ...]:
    return tuple(
        Feature(f"{name}_share", None, f"share of {of} check-ins from {start} to {end} o'clock by the sun, smoothed")
        for name, start, end in _DAY_PARTS[1:]
    )


def _taste_features(description: str) -> tuple[Feature, ...]:
    return tuple(Feature(f"taste_{number:02}", 0.0, description) for number in range(TASTE_WIDTH))


#: What every train row of an imported log tells of a moment.
CONTEXT: Final = (
    Feature(DISTANCE_M, None, "great-circle metres from where the person stands to the place"),
    Feature(LOG_DISTANCE_M, None, "log(100 + those metres)"),
    Feature(HOUR, None, "hour of the day by the place's clock, 0 to 23"),
    Feature(WEEKDAY, None, "day of the week by the place's clock, 0 (Monday) to 6"),
)

SCHEMA: Final = FeatureSchema(
    user=(
        Feature("log_visits", None, "log(1 + check-ins)"),
        Feature("log_places", None, "log(1 + distinct places)"),
        Feature("log_recent_visits", None, "log(1 + check-ins, each halved for every 30 days before the split)"),
        Feature("log_repeat", None, "log(check-ins / distinct places)"),
        Feature("mean_latitude", None, "mean latitude of their check-ins' places, degrees"),
        Feature("mean_longitude", None, "mean longitude of their check-ins' places, degrees"),
        Feature("log_gyration_m", None, "log(100 + root mean square metres of check-ins from that mean)"),
        Feature("mean_log_popularity", None, "mean log(1 + check-ins of the place) over their check-ins"),
        Feature("log_hop_m", 6.5, "mean log(100 + metres from where they stood) over their visits; null without any"),
        Feature("weekend_share", None, "share of their check-ins on Saturday and Sunday, smoothed"),
        *_day_part_features("their"),
        *_taste_features("what they go back to: unit vector of a truncated SVD; null where they never went back"),
    ),
    restaurant=(
        Feature("log_visits", None, "log(1 + check-ins)"),
        Feature("log_recent_visits", None, "log(1 + check-ins, each halved for every 30 days before the split)"),
        Feature("log_visitors", None, "log(1 + distinct visitors)"),
        Feature("log_repeat", None, "log(check-ins / distinct visitors)"),
        Feature("latitude_deg", None, "its latitude, degrees"),
        Feature("longitude_deg", None, "its longitude, degrees"),
        Feature("weekend_share", None, "share of its check-ins on Saturday and Sunday, smoothed"),
        *_day_part_features("its"),
        *_taste_features("who goes back there: unit vector of a truncated SVD; null where nobody ever did"),
    ),
    context=CONTEXT,
)


def make_tables(
    before: pl.DataFrame,
    clicks: pl.DataFrame,
    lats: Values,
    lngs: Values,
    *,
    users: int,
    split_us: int | None,
    seed: int,
    is_counted: bool = False,
) -> Tables:
    """Both tables from what happened before the split; a row for every user and every restaurant, by number.

    ``before`` are the choices: ``user`` and ``restaurant``, numbers, and ``time``, microseconds; ``clicks`` those whose
    person's place is known: ``user``, ``distance_m``. ``lats`` and ``lngs`` ``(R,)`` are where restaurants are.
    Every value is finite or null; of who has a choice, null only where its feature declares a fill. Without
    ``split_us`` the choices have no times, and what only times tell is left out, ``event_ts`` too. Where the rows have
    counters, taste and hours are left out.
    """
    user, restaurant, time_us = (before[name].to_numpy() for name in ("user", "restaurant", "time"))
    user, restaurant = user.astype(np.int64), restaurant.astype(np.int64)
    sizes = users, len(lats)
    hopper = clicks["user"].to_numpy()
    log_hop = np.log(100 + clicks["distance_m"].to_numpy().astype(np.float64))

    pairs, counts = np.unique(user * sizes[1] + restaurant, return_counts=True)
    pair_user, pair_restaurant = pairs // sizes[1], pairs % sizes[1]
    taste = _factorize(pair_user, pair_restaurant, counts, sizes, seed)

    age_days = ((split_us or 0) - time_us) / _US_PER_DAY
    solar_us = time_us + lngs[restaurant] / 15 * _US_PER_HOUR
    hour = np.floor(solar_us / _US_PER_HOUR).astype(np.int64) % 24
    # The first day of the epoch was a Thursday.
    is_weekend = (np.floor(solar_us / _US_PER_DAY).astype(np.int64) + 3) % 7 >= 5

    def history(index: Indices, size: int, distinct: Indices) -> dict[str, Values]:
        total = np.bincount(index, minlength=size)
        shares = {"weekend_share": _share(index, is_weekend, total, 2 / 7)} | {
            f"{name}_share": _share(index, (hour >= start) & (hour < end), total, (end - start) / 24)
            for name, start, end in _DAY_PARTS[1:]
        }
        with np.errstate(invalid="ignore"):  # of who has no choice nothing is known
            repeat = np.log(total / np.bincount(distinct, minlength=size))
        return {
            "log_visits": np.log1p(total),
            "log_recent_visits": np.log1p(np.bincount(index, 0.5 ** (age_days / HALF_LIFE_DAYS), size)),
            "log_repeat": repeat,
        } | shares

    of_users, of_restaurants = history(user, sizes[0], pair_user), history(restaurant, sizes[1], pair_restaurant)
    of_users |= {
        "log_places": np.log1p(np.bincount(pair_user, minlength=sizes[0])),
        "mean_log_popularity": _mean(user, of_restaurants["log_visits"][restaurant], sizes[0]),
        "log_hop_m": _mean(hopper, log_hop, sizes[0]),
    } | _whereabouts(user, lats[restaurant], lngs[restaurant], sizes[0])
    of_restaurants |= {
        "log_visitors": np.log1p(np.bincount(pair_restaurant, minlength=sizes[1])),
        "latitude_deg": lats,
        "longitude_deg": lngs,
    }
    for columns, factors in ((of_users, taste.users), (of_restaurants, taste.places)):
        columns |= {f"taste_{number:02}": values for number, values in enumerate(factors.T)}
    tables = Tables(
        _table(of_users, SCHEMA.names("user"), user, time_us),
        _table(of_restaurants, SCHEMA.names("restaurant"), restaurant, time_us),
    )
    left_out = (*(_UNCOUNTED if is_counted else ()), *(() if split_us is not None else _TIMED))
    return Tables(*(table.drop(left_out) for table in tables))


def _factorize(user: Indices, place: Indices, visits: Indices, sizes: tuple[int, int], seed: int) -> Taste:
    """Taste of all, from those who have a choice alone: the others must not change a digit of it."""
    (users, user), (places, place) = (np.unique(numbers, return_inverse=True) for numbers in (user, place))
    found = factorize_taste(user, place, visits, users=len(users), places=len(places), width=TASTE_WIDTH, seed=seed)
    taste = Taste(*(np.full((size, TASTE_WIDTH), np.nan) for size in sizes))
    taste.users[users], taste.places[places] = found
    return taste


def declare_fills(features: tuple[Feature, ...], table: pl.DataFrame) -> tuple[Feature, ...]:
    """Those features of `SCHEMA` that the table has, with a fill for each: the mean of its column where it has none.

    No value of who has a choice is missing; a row that somebody adds may not know all of them.
    """
    features = tuple(feature for feature in features if feature.name in table.columns)
    means = table.select(pl.col(feature.name).cast(pl.Float64).mean() for feature in features).row(0, named=True)
    return tuple(
        feature if feature.fill is not None else replace(feature, fill=float(np.float32(means[feature.name])))
        for feature in features
    )


def _mean(index: Indices, values: Values, size: int) -> Values:
    """The mean of each of ``size`` groups; NaN where a group is empty."""
    total = np.bincount(index, minlength=size)
    mean: Values = np.divide(np.bincount(index, values, size), total, out=np.full(size, np.nan), where=total > 0)
    return mean


def _share(index: Indices, is_so: npt.NDArray[np.bool_], total: Indices, prior: float) -> Values:
    counted = np.bincount(index, is_so, len(total))
    share: Values = (counted + prior * _PRIOR_CHECKINS) / (total + _PRIOR_CHECKINS)
    return share


def _whereabouts(user: Indices, lat: Values, lng: Values, size: int) -> dict[str, Values]:
    mean_lat, mean_lng = _mean(user, lat, size), _mean(user, lng, size)
    north_m = (lat - mean_lat[user]) * _METRES_PER_DEGREE
    east_m = (lng - mean_lng[user]) * _METRES_PER_DEGREE * np.cos(np.radians(lat))
    spread = _mean(user, north_m**2 + east_m**2, size)
    return {
        "mean_latitude": mean_lat,
        "mean_longitude": mean_lng,
        "log_gyration_m": np.log(100 + np.sqrt(spread)),
    }


def _table(columns: dict[str, Values], names: tuple[str, ...], index: Indices, time_us: Indices) -> pl.DataFrame:
    features = {name: pl.Series(columns[name].astype(np.float32)).fill_nan(None) for name in names}
    last_us = np.full(len(columns[names[0]]), _NEVER)
    np.maximum.at(last_us, index, time_us)
    last = pl.Series(last_us).cast(pl.Datetime("us", "UTC"))
    return pl.DataFrame(features).with_columns(event_ts=pl.when(pl.Series(last_us) != _NEVER).then(last))
