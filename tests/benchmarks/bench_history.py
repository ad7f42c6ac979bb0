"""Rows a second that are told what was counted before them, and the memory of it; the last line has the figures.

    python -m tests.benchmarks.bench_history [--events N] [--rows N] [--users N] [--restaurants N] [--threads N]
        [--compared N] [--pairs N]

Events are drawn as people are: few make many, a few places draw the crowd, half of all visits are to a place of one's
own. Rows come in lists of 20, of one person at one moment. They are drawn, told and dropped a chunk at a time in a
fresh process; its peak memory is what the system says. Then the same figures of a smaller draw by DuckDB, in ASOF joins
and windows on as many threads, in turn with ours; both are compared.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

import duckdb
import numpy as np
import numpy.typing as npt
import polars as pl

from hexbite.counters.clocks import CLOCKS, PART_OF_DAY, WEEKEND, slots
from hexbite.counters.definitions import PREVIOUS_DAYS, Counters, default_counters
from hexbite.counters.past import Past, PastEvents
from hexbite.features import Matrix

_DAY_US: Final = 86_400_000_000
_START_US: Final = 1_700_000_000_000_000
_DAYS: Final = 365
_LIST: Final = 20
_CHUNK: Final = 500_000
_OWN_PLACES: Final = 8

# The farthest that two float32 of one figure may be apart.
_APART: Final = 1e-3

COUNTERS: Final = Counters(default_counters(["order"]), lag_s=60.0)


class Town(NamedTuple):
    """How much is drawn."""

    events: int
    users: int
    restaurants: int


class Rows(NamedTuple):
    """N rows ``(N,)``, as `Past.rows` takes them."""

    user: npt.NDArray[np.int32]
    restaurant: npt.NDArray[np.int32]
    time_us: npt.NDArray[np.int64]
    slots: dict[str, npt.NDArray[np.int64]]


def _places(draws: np.random.Generator, user: npt.NDArray[np.int32], own: float, town: Town) -> npt.NDArray[np.int32]:
    """A place for each: one of the person's own with some probability, else by popularity."""
    weights = np.cumsum(1.0 / (np.arange(town.restaurants) + 10.0))
    anywhere = np.searchsorted(weights / weights[-1], draws.random(len(user)))
    of_own = (user.astype(np.int64) * 7_919 + draws.integers(0, _OWN_PLACES, len(user))) % town.restaurants
    return np.where(draws.random(len(user)) < own, of_own, anywhere).astype(np.int32)


def _people(draws: np.random.Generator, size: int, town: Town) -> npt.NDArray[np.int32]:
    return (draws.random(size) ** 2 * town.users).astype(np.int32)


def _moments(draws: np.random.Generator, size: int) -> npt.NDArray[np.int64]:
    return _START_US + draws.integers(0, _DAYS * 86_400, size) * 1_000_000


def _slots(time_us: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.int64]]:
    hour, weekday = time_us % _DAY_US // 3_600_000_000, (time_us // _DAY_US + 3) % 7
    return {clock: slots(clock, hour, weekday) for clock in (PART_OF_DAY, WEEKEND)}


def draw_events(town: Town) -> PastEvents:
    """Orders of a year, in the order of time."""
    draws = np.random.default_rng(0)
    user, time_us = _people(draws, town.events, town), np.sort(_moments(draws, town.events))
    restaurant = _places(draws, user, 0.5, town)
    narrow = {clock: values.astype(np.int8) for clock, values in _slots(time_us).items()}
    return PastEvents(user, restaurant, np.zeros(town.events, dtype=np.int8), time_us, narrow)


def draw_rows(town: Town, rows: int) -> Iterator[Rows]:
    """Lists of 20 in chunks, each by a seed of its own."""
    for number, start in enumerate(range(0, rows, _CHUNK)):
        draws = np.random.default_rng(number + 1)
        lists = -(-min(_CHUNK, rows - start) // _LIST)
        user, time_us = _people(draws, lists, town).repeat(_LIST), _moments(draws, lists).repeat(_LIST)
        yield Rows(user, _places(draws, user, 0.1, town), time_us, _slots(time_us))


def tell(town: Town, rows: int, threads: int) -> dict[str, float]:
    """Stream rows through the past: seconds of making it, rows a second, and the peak of this process, GiB."""
    started = time.monotonic()
    past = Past(COUNTERS, draw_events(town), _ids(town))
    built = time.monotonic() - started
    told, seconds = 0, time.monotonic()
    chunks = draw_rows(town, rows)
    drawing = 0.0
    with ThreadPoolExecutor(threads) as workers:
        while True:
            before = time.monotonic()
            # As many chunks as there are threads, so that memory is theirs and not the rows'.
            coming = [chunk for _, chunk in zip(range(threads), chunks, strict=False)]
            drawing += time.monotonic() - before
            if not coming:
                break
            told += sum(workers.map(lambda chunk: len(past.rows(*chunk)), coming))
    seconds = time.monotonic() - seconds - drawing
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"built_s": built, "rows_per_s": told / seconds, "peak_gib": peak_gib}


def _ids(town: Town) -> npt.NDArray[np.int64]:
    return np.random.default_rng(9).permutation(town.restaurants).astype(np.int64)


def _clocked(name: str, keys: str, clock: str) -> str:
    """How many events there were by some keys and the slot of a clock, as of each moment of one."""
    return f"""
CREATE TEMP TABLE {name} AS SELECT {keys}, {clock} AS slot, time_us, max(n) AS n FROM (
    SELECT *, row_number() OVER (PARTITION BY {keys}, {clock} ORDER BY time_us) AS n FROM visits
) GROUP BY ALL;
"""


_SQL: Final = f"""
CREATE TEMP TABLE visits AS SELECT *,
    row_number() OVER (PARTITION BY user, restaurant ORDER BY time_us) = 1 AS is_new,
    (time_us - {_START_US}) / {_DAY_US} AS day FROM events;
CREATE TEMP TABLE place AS SELECT restaurant, time_us, max(n) AS n, max(visitors) AS visitors, max(d30) AS d30,
    max(d7) AS d7 FROM (
        SELECT restaurant, time_us, row_number() OVER w AS n, sum(is_new::INT) OVER w AS visitors,
               sum(exp(ln(2) * day / 30)) OVER w AS d30, sum(exp(ln(2) * day / 7)) OVER w AS d7
        FROM visits WINDOW w AS (PARTITION BY restaurant ORDER BY time_us ROWS UNBOUNDED PRECEDING)
    ) GROUP BY ALL;
CREATE TEMP TABLE own AS SELECT user, restaurant, time_us, max(n) AS n FROM (
    SELECT *, row_number() OVER (PARTITION BY user, restaurant ORDER BY time_us) AS n FROM visits
) GROUP BY ALL;
CREATE TEMP TABLE person AS SELECT user, time_us, max(n) AS n, max(places) AS places,
    arg_max(restaurant, id) AS last FROM (
    SELECT *, row_number() OVER w AS n, sum(is_new::INT) OVER w AS places
    FROM visits WINDOW w AS (PARTITION BY user ORDER BY time_us ROWS UNBOUNDED PRECEDING)
) GROUP BY ALL;
{_clocked("place_part", "restaurant", "part")}
{_clocked("place_weekend", "restaurant", "weekend")}
{_clocked("own_part", "user, restaurant", "part")}
CREATE TEMP TABLE hops AS SELECT origin, restaurant, time_us, max(n) AS n FROM (
    SELECT *, row_number() OVER (PARTITION BY origin, restaurant ORDER BY time_us) AS n FROM (
        SELECT p.last AS origin, v.restaurant, v.time_us FROM visits v
        ASOF JOIN person p ON v.user = p.user AND v.time_us > p.time_us
        WHERE v.time_us - p.time_us <= {round(PREVIOUS_DAYS * _DAY_US)}
    )
) GROUP BY ALL;
CREATE TEMP TABLE asked AS SELECT r.*, r.time_us // 60000000 * 60000000 AS lagged, p.n AS person_n, p.places,
    p.time_us AS person_us,
    CASE WHEN r.time_us - p.time_us <= {round(PREVIOUS_DAYS * _DAY_US)} THEN p.last END AS origin
    FROM rows r ASOF LEFT JOIN person p ON r.user = p.user AND r.time_us > p.time_us;
CREATE TEMP TABLE told AS SELECT row,
    ln(1 + coalesce(place.n, 0)) AS place_visits, ln(1 + coalesce(place.visitors, 0)) AS place_visitors,
    ln(1 + coalesce(place.d30 * exp(-ln(2) * (a.time_us - {_START_US}) / {_DAY_US} / 30), 0)) AS place_visits_30d,
    ln(1 + coalesce(place.d7 * exp(-ln(2) * (a.time_us - {_START_US}) / {_DAY_US} / 7), 0)) AS place_visits_7d,
    ln(1 + coalesce(a.time_us - place.time_us, 1000 * {_DAY_US}) / {_DAY_US} * 24) AS place_since,
    (coalesce(pp.n, 0) + 2 * a.part_prior) / (coalesce(place.n, 0) + 2) AS place_hour_share,
    (coalesce(pw.n, 0) + 2 * a.weekend_prior) / (coalesce(place.n, 0) + 2) AS place_day_share,
    ln(1 + coalesce(own.n, 0)) AS own_visits,
    ln(1 + coalesce(a.time_us - own.time_us, 1000 * {_DAY_US}) / {_DAY_US} * 24) AS own_since,
    coalesce(own.n, 0) / (coalesce(a.person_n, 0) + 2) AS own_share,
    (coalesce(op.n, 0) + 2 * a.part_prior) / (coalesce(own.n, 0) + 2) AS own_hour_share,
    ln(1 + coalesce(hops.n, 0)) AS next_visits,
    ln(1 + coalesce(a.person_n, 0)) AS person_visits, ln(1 + coalesce(a.places, 0)) AS person_places,
    ln(1 + coalesce(a.time_us - a.person_us, 1000 * {_DAY_US}) / {_DAY_US} * 24) AS person_since
    FROM asked a
    ASOF LEFT JOIN place ON a.restaurant = place.restaurant AND a.lagged > place.time_us
    ASOF LEFT JOIN place_part pp ON a.restaurant = pp.restaurant AND a.part = pp.slot AND a.lagged > pp.time_us
    ASOF LEFT JOIN place_weekend pw ON a.restaurant = pw.restaurant AND a.weekend = pw.slot AND a.lagged > pw.time_us
    ASOF LEFT JOIN own ON a.user = own.user AND a.restaurant = own.restaurant AND a.time_us > own.time_us
    ASOF LEFT JOIN own_part op ON a.user = op.user AND a.restaurant = op.restaurant AND a.part = op.slot
        AND a.time_us > op.time_us
    ASOF LEFT JOIN hops ON a.origin = hops.origin AND a.restaurant = hops.restaurant AND a.lagged > hops.time_us;
"""


def compare(town: Town, rows: int, threads: int, pairs: int) -> tuple[float, float]:
    """Seconds of ours over those of DuckDB, in turn, events and all; and the farthest that any figure is apart."""
    events, ids = draw_events(town), _ids(town)
    chunks = list(draw_rows(town, rows))
    part, weekend = (np.array(CLOCKS[clock]) for clock in (PART_OF_DAY, WEEKEND))
    asked = pl.concat(
        pl.DataFrame({"user": one.user, "restaurant": one.restaurant, "time_us": one.time_us})
        .with_columns(part=pl.Series(one.slots[PART_OF_DAY]), weekend=pl.Series(one.slots[WEEKEND]))
        .with_columns(
            part_prior=pl.Series(part[one.slots[PART_OF_DAY]]), weekend_prior=pl.Series(weekend[one.slots[WEEKEND]])
        )
        for one in chunks
    ).with_row_index("row")
    of_events = pl.DataFrame(
        {"user": events.user, "restaurant": events.restaurant, "time_us": events.time_us, "id": ids[events.restaurant]}
    ).with_columns(part=pl.Series(events.slots[PART_OF_DAY]), weekend=pl.Series(events.slots[WEEKEND]))
    ratios, apart = [], 0.0
    for pair in range(1, pairs + 1):
        started = time.monotonic()
        past = Past(COUNTERS, events, ids)
        with ThreadPoolExecutor(threads) as workers:
            ours = np.concatenate([told.result() for told in [workers.submit(past.rows, *one) for one in chunks]])
        ours_s = time.monotonic() - started
        theirs, theirs_s = _by_duckdb(of_events, asked, threads)
        ratios.append(theirs_s / ours_s)
        apart = float(np.maximum(apart, np.abs(ours - theirs).max()))  # a NaN stays one
        print(f"pair {pair}: ours {ours_s:.1f} s, DuckDB {theirs_s:.1f} s, load {os.getloadavg()[0]:.1f}", flush=True)
    return statistics.median(ratios), apart


def _by_duckdb(events: pl.DataFrame, rows: pl.DataFrame, threads: int) -> tuple[Matrix, float]:
    connection = duckdb.connect()
    connection.execute(f"SET threads = {threads}")
    with tempfile.TemporaryDirectory(prefix="hexbite-bench-") as scratch:
        for name, frame in (("events", events), ("rows", rows)):
            frame.write_parquet(f"{scratch}/{name}.parquet")
            connection.execute(f"CREATE TABLE {name} AS FROM '{scratch}/{name}.parquet'")
    started = time.monotonic()
    connection.execute(_SQL)
    seconds = time.monotonic() - started
    columns = connection.execute(f"SELECT {', '.join(COUNTERS.names)} FROM told ORDER BY row").fetchnumpy()
    return np.stack([np.asarray(columns[name], dtype=np.float32) for name in COUNTERS.names], axis=1), seconds


def measure(town: Town, rows: int, *, threads: int, compared: int, pairs: int) -> str:
    """Stream through a fresh process, then hold a part of it against DuckDB; the figures in one line."""
    words = [town.events, rows, town.users, town.restaurants, threads]
    command = [sys.executable, "-m", "tests.benchmarks.bench_history", "--only", *map(str, words)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    share = compared / rows
    small = Town(*(max(int(size * share), 1) for size in town))
    ratio, apart = compare(small, compared, threads, pairs)
    if not apart <= _APART:
        raise SystemExit(f"the two disagree by {apart:g}")
    return (
        f"events {town.events} rows {rows} built_s {found['built_s']:.1f} rows_per_s {found['rows_per_s']:.0f} "
        f"peak_gib {found['peak_gib']:.2f} compared_rows {compared} farthest_apart {apart:.1e} duckdb_ratio {ratio:.2f}"
    )


def main() -> None:
    """Read the arguments, measure, print."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--events", type=int, default=10_000_000)
    arguments.add_argument("--rows", type=int, default=50_000_000)
    arguments.add_argument("--users", type=int, default=1_000_000)
    arguments.add_argument("--restaurants", type=int, default=100_000)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--compared", type=int, default=2_000_000, help="rows that DuckDB is asked for too")
    arguments.add_argument("--pairs", type=int, default=3)
    arguments.add_argument("--only", nargs=5, type=int, metavar=("EVENTS", "ROWS", "USERS", "RESTAURANTS", "THREADS"))
    asked = arguments.parse_args()
    if asked.only:
        events, rows, users, restaurants, threads = asked.only
        print(json.dumps(tell(Town(events, users, restaurants), rows, threads)))
        return
    town = Town(asked.events, asked.users, asked.restaurants)
    print(measure(town, asked.rows, threads=asked.threads, compared=asked.compared, pairs=asked.pairs))


if __name__ == "__main__":
    main()
