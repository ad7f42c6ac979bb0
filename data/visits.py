"""A drawn past: people who return, places that rise and fall, by the hour of the day; the best ranking is known.

A log of visits as a company has it, with its map, to try what counters tell. Each visit is drawn from a score of every
place in reach, and so who knew the scores would rank best. What they are made of can be counted: what this person did
here, what all did here lately and at what hour; the rest stands in the two tables.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from data.output import VISITS, whole_folder, write_json, write_table
from data.positions import around
from hexbite.console import Advance, progress
from hexbite.counters.clocks import CLOCKS, PART_OF_DAY, slots
from hexbite.errors import DataError
from hexbite.geo import Degrees, distances_m
from hexbite.rankings import rank_to_hit, rank_to_ndcg

#: Bangkok, degrees; no clock is put forward there, and none back.
CENTRE: Final = (13.75, 100.52)
TIME_ZONE: Final = "Asia/Bangkok"
_AHEAD_S: Final = 7 * 3_600

#: How far people go, metres, and so what a visit is chosen from.
REACH_M: Final = 2_000

#: Of the days, the share at the end that the map makes the test time.
TEST_SHARE: Final = 0.15

#: The cuts of the rankings.
CUTS: Final = (1, 5, 10)

# A square has about so many places around it.
_PLACES_PER_SQUARE: Final = 40
_SQUARE_SPREAD_M: Final = 2_500.0
_SPREAD_M: Final = 700.0
_STROLL_M: Final = 400.0

_CUISINES: Final = ("thai", "noodles", "grill", "sushi", "pizza", "bakery")
_SEGMENTS: Final = ("student", "family", "office", "night owl")

# What a score is made of.
_TASTE_SPREAD: Final = 0.7
_APPEAL_SPREAD: Final = 0.8
_HABIT: Final = 0.8
_METRES_PER_UNIT: Final = 600.0
_IN_TIME, _OUT_OF_TIME = 0.8, -0.8

# Appeal is drawn for every so many days, like the one before by so much, and changes evenly between them.
_DAYS_PER_TURN: Final = 20
_LASTS: Final = 0.8

# Of the places, the shares that open and that close within the time.
_OPENING, _CLOSING = 0.15, 0.1

# When people go out: the middle and the spread of five hours of the day, and how many go then.
_OUTINGS: Final = ((8.0, 1.0, 0.15), (12.7, 0.9, 0.3), (16.0, 1.2, 0.1), (19.8, 1.3, 0.35), (23.2, 1.0, 0.1))

# One random stream each; the numbers are part of what a seed means.
_PEOPLE, _PLACES, _TURNS, _VISITS = range(4)

_US_PER_DAY: Final = 86_400_000_000

_MAP: Final = """\
# The map of this drawn log: python -m data log {place}/map.toml OUT

[users]
path = "people.parquet"
id = "person"
features = {{ segment = {{ kind = "category" }} }}

[restaurants]
path = "places.parquet"
id = "place"
latitude = "latitude"
longitude = "longitude"
time_zone = "time_zone"
features = {{ cuisine = {{ kind = "category" }} }}

[events]
path = "visits.parquet"
user = "person"
restaurant = "place"
time = "time"
latitude = "latitude"
longitude = "longitude"

[split]
at = {split}

[counters]
default = ["visit"]

[negatives]
count = 20
radius_m = {reach_m}
"""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much to draw; ``until`` is the day before which it all happened."""

    people: int = 600
    places: int = 500
    visits: int = 60_000
    days: int = 120
    until: date = date(2026, 7, 1)

    @property
    def test_days(self) -> int:
        """How many days at the end are test time."""
        return max(1, round(self.days * TEST_SHARE))

    def check(self, folder: Path) -> None:
        """Raise DataError where a size is below its least."""
        least = {"people": 1, "places": 1, "visits": 1, "days": 2}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise DataError(f"{name} must be {low} or more, not {getattr(self, name)}", path=folder)


class _People(NamedTuple):
    """Who they are, how often they go out (a share), and where they live ``(P, 2)`` degrees."""

    segment: npt.NDArray[np.int64]
    often: npt.NDArray[np.float64]
    homes: Degrees


class _Places(NamedTuple):
    """Where they are, what they offer, when people go there (the slot), and from which day to which, of all days."""

    lats_deg: Degrees
    lngs_deg: Degrees
    cuisine: npt.NDArray[np.int64]
    slot: npt.NDArray[np.int64]
    opens: npt.NDArray[np.float64]
    closes: npt.NDArray[np.float64]


class _Visits(NamedTuple):
    """N visits in the order of time: ``rank`` is that of the place by the true scores, from 1, among all in reach;
    ``is_new`` says that the person had not been there.
    """

    person: npt.NDArray[np.int64]
    place: npt.NDArray[np.int64]
    time_us: npt.NDArray[np.int64]
    stood: Degrees
    rank: npt.NDArray[np.int64]
    is_new: npt.NDArray[np.bool_]


def write_visits(folder: Path, sizes: Sizes, *, seed: int) -> dict[str, Any]:
    """Draw ``people.parquet``, ``places.parquet``, ``visits.parquet`` and ``map.toml``; what ``visits.json`` says.

    ``best`` there are the figures of the true scores on the visits of the test time. Raises DataError where a size is
    out of range, where the folder cannot be written, and where nobody has a place in reach.
    """
    sizes.check(folder)
    start_us = int(datetime.combine(sizes.until, datetime.min.time(), UTC).timestamp() * 1e6) - sizes.days * _US_PER_DAY
    split = sizes.until - timedelta(days=sizes.test_days)
    with whole_folder(folder) as partial:
        squares = _draw_squares(sizes, seed)
        people, places = _draw_people(sizes, squares, seed), _draw_places(sizes, squares, seed)
        with progress("drawing visits", sizes.visits, "visits") as advance:
            visits = _draw_visits(sizes, people, places, start_us, seed, advance)
        if not len(visits.person):
            raise DataError("nobody has a place in reach; draw more of either", path=folder)
        is_test = visits.time_us >= start_us + (sizes.days - sizes.test_days) * _US_PER_DAY
        _write_tables(partial, people, places)
        _write_log(partial, visits)
        (partial / "map.toml").write_text(
            _MAP.format(place=folder.name, split=f"{split}T00:00:00Z", reach_m=REACH_M), encoding="utf-8"
        )
        document = {
            "sizes": asdict(sizes) | {"until": sizes.until.isoformat()},
            "seed": seed,
            "split": f"{split}T00:00:00Z",
            "drawn": {"people": sizes.people, "places": sizes.places, "visits": len(visits.person)},
            "best": best_figures(visits.rank[is_test], visits.is_new[is_test]),
        }
        write_json(document, partial / VISITS)
    return document


def best_figures(ranks: npt.NDArray[np.int64], is_new: npt.NDArray[np.bool_]) -> dict[str, float | None]:
    """What the true scores reach: figures of all visits and of those of new places; None where there are none."""
    found: dict[str, float | None] = {"visits": float(len(ranks)), "new_places": float(np.count_nonzero(is_new))}
    for where, some in (("", ranks), (" new", ranks[is_new])):
        for k in CUTS:
            found[f"hit@{k}{where}"] = float(rank_to_hit(some, k).mean()) if len(some) else None
        found[f"ndcg@{CUTS[-1]}{where}"] = float(rank_to_ndcg(some, CUTS[-1]).mean()) if len(some) else None
    return found


def _draw_squares(sizes: Sizes, seed: int) -> Degrees:
    count = -(-sizes.places // _PLACES_PER_SQUARE)
    return around(np.random.default_rng([seed, _PLACES, 1]), np.array([CENTRE] * count), _SQUARE_SPREAD_M)


def _draw_people(sizes: Sizes, squares: Degrees, seed: int) -> _People:
    draws, count = np.random.default_rng([seed, _PEOPLE]), sizes.people
    often = draws.gamma(1.5, 1.0, count)
    homes = around(draws, squares[draws.integers(len(squares), size=count)], _SPREAD_M)
    return _People(draws.integers(len(_SEGMENTS), size=count), often / often.sum(), homes)


def _draw_places(sizes: Sizes, squares: Degrees, seed: int) -> _Places:
    draws, count = np.random.default_rng([seed, _PLACES]), sizes.places
    lats_deg, lngs_deg = around(draws, squares[draws.integers(len(squares), size=count)], _SPREAD_M).T
    day = draws.uniform(0, sizes.days, (2, count))
    return _Places(
        lats_deg,
        lngs_deg,
        draws.integers(len(_CUISINES), size=count),
        draws.integers(len(CLOCKS[PART_OF_DAY]), size=count),
        np.where(draws.random(count) < _OPENING, day[0], -np.inf),
        np.where(draws.random(count) < _CLOSING, day[1], np.inf),
    )


def _draw_appeal(sizes: Sizes, seed: int) -> npt.NDArray[np.float64]:
    """The appeal of every place on every day ``(days, R)``."""
    draws = np.random.default_rng([seed, _TURNS])
    turns = -(-sizes.days // _DAYS_PER_TURN) + 1
    appeal = draws.normal(0, _APPEAL_SPREAD, (turns, sizes.places))
    for turn in range(1, turns):
        appeal[turn] = _LASTS * appeal[turn - 1] + np.sqrt(1 - _LASTS**2) * appeal[turn]
    before, days = np.divmod(np.arange(sizes.days), _DAYS_PER_TURN)
    part = days[:, None] / _DAYS_PER_TURN
    return np.asarray(appeal[before] * (1 - part) + appeal[before + 1] * part)


def _draw_visits(sizes: Sizes, people: _People, places: _Places, start_us: int, seed: int, advance: Advance) -> _Visits:
    draws, count = np.random.default_rng([seed, _VISITS]), sizes.visits
    time_us = _draw_times(draws, sizes, start_us)
    day = (time_us - start_us) // _US_PER_DAY
    local_s = time_us // 1_000_000 + _AHEAD_S
    slot = slots(PART_OF_DAY, local_s % 86_400 // 3_600, np.zeros(count))
    person = draws.choice(sizes.people, count, p=people.often)
    stood = around(draws, people.homes[person], _STROLL_M)
    taste = draws.normal(0, _TASTE_SPREAD, (len(_SEGMENTS), len(_CUISINES)))[:, places.cuisine]
    in_time = np.where(places.slot == np.arange(len(CLOCKS[PART_OF_DAY]))[:, None], _IN_TIME, _OUT_OF_TIME)
    appeal = _draw_appeal(sizes, seed)
    own = np.zeros((sizes.people, sizes.places), dtype=np.float32)
    place, rank, is_new = np.full(count, -1), np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.bool_)
    for visit in range(count):
        who, today = person[visit], day[visit]
        metres = distances_m(stood[visit, 0], stood[visit, 1], places.lats_deg, places.lngs_deg)
        scores = taste[people.segment[who]] + appeal[today] + in_time[slot[visit]] + _HABIT * np.log1p(own[who])
        scores -= metres / _METRES_PER_UNIT
        scores[(metres > REACH_M) | (today < places.opens) | (today >= places.closes)] = -np.inf
        # The greatest of the scores, each with a Gumbel draw, is one drawn by their softmax.
        chosen = int(np.argmax(scores + draws.gumbel(size=sizes.places)))
        advance()
        if np.isneginf(scores[chosen]):
            continue  # everything in reach is closed
        place[visit], rank[visit] = chosen, 1 + np.count_nonzero(scores > scores[chosen])
        is_new[visit] = own[who, chosen] == 0
        own[who, chosen] += 1
    some = place >= 0
    return _Visits(person[some], place[some], time_us[some], stood[some], rank[some], is_new[some])


def _draw_times(draws: np.random.Generator, sizes: Sizes, start_us: int) -> npt.NDArray[np.int64]:
    """N moments in order, microseconds since 1970, UTC; no two are one but by chance."""
    middle, spread, often = (np.array(column) for column in zip(*_OUTINGS, strict=True))
    outing = draws.choice(len(_OUTINGS), sizes.visits, p=often)
    local_h = draws.normal(middle[outing], spread[outing])
    day = draws.integers(sizes.days, size=sizes.visits)
    # What falls before the first day or after the last is on the other end of the same day.
    of_day_us = ((local_h * 3_600 - _AHEAD_S) * 1e6).astype(np.int64) % _US_PER_DAY
    return np.sort(start_us + day * _US_PER_DAY + of_day_us)


def _write_tables(folder: Path, people: _People, places: _Places) -> None:
    segments = np.array(_SEGMENTS)[people.segment]
    write_table(pl.DataFrame({"person": np.arange(len(segments)), "segment": segments}), folder / "people.parquet")
    write_table(
        pl.DataFrame(
            {
                "place": np.arange(len(places.cuisine)),
                "latitude": places.lats_deg,
                "longitude": places.lngs_deg,
                "time_zone": pl.repeat(TIME_ZONE, len(places.cuisine), eager=True),
                "cuisine": np.array(_CUISINES)[places.cuisine],
            }
        ),
        folder / "places.parquet",
    )


def _write_log(folder: Path, visits: _Visits) -> None:
    write_table(
        pl.DataFrame(
            {
                "person": visits.person,
                "place": visits.place,
                "time": pl.Series(visits.time_us).cast(pl.Datetime("us", "UTC")),
                "latitude": visits.stood[:, 0],
                "longitude": visits.stood[:, 1],
            }
        ),
        folder / "visits.parquet",
    )
