"""Events a second of a backfill into a store that counts, states included; the figures are in the last line.

python -m tests.benchmarks.bench_events_load [--events N] [--users N] [--restaurants N]

People and places are drawn unevenly, over half a year. The same file once more finds that all of it is known.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
import psycopg

from db.embedded import EmbeddedServer
from db.loading.load import load
from db.migrate import upgrade
from hexbite.counters.definitions import Counters, default_counters
from hexbite.features import FeatureSchema
from hexbite.folder import RESTAURANTS, SCHEMA, USERS
from tests.benchmarks.programs import run

_FIRST_US = 1_760_000_000_000_000
_DAYS_US = 180 * 86_400_000_000


def draw_events(path: Path, events: int, users: int, restaurants: int) -> None:
    """A log in the order of time, as Parquet."""
    draws = np.random.default_rng(0)
    moments = np.sort(draws.integers(_FIRST_US, _FIRST_US + _DAYS_US, events))
    pl.DataFrame(
        {
            "user_id": (users * draws.random(events) ** 2).astype(np.int64),
            "restaurant_id": (restaurants * draws.random(events) ** 3).astype(np.int64),
            "event": pl.Series(["visit"]).new_from_index(0, events),
            "event_ts": pl.Series(moments).cast(pl.Datetime("us", "UTC")),
        }
    ).write_parquet(path)


def write_places(folder: Path, restaurants: int) -> Path:
    """A data folder of restaurants and one user, whose schema has the default counters."""
    folder.mkdir()
    ids = np.arange(restaurants)
    places = {"latitude": 13.5 + ids % 1_000 / 2_000, "longitude": 100.3 + ids // 1_000 / 500}
    columns = {"restaurant_id": ids, **places, "b": ids / 2, "time_zone": ["Asia/Bangkok"] * restaurants}
    pl.DataFrame(columns).write_parquet(folder / RESTAURANTS)
    pl.DataFrame({"user_id": [0], "a": [1.0]}).write_parquet(folder / USERS)
    counters = Counters(default_counters(["visit"]), 60.0)
    schema = FeatureSchema.from_names(["a"], ["b"], ["distance_m"]).with_counters(counters)
    (folder / SCHEMA).write_text(json.dumps(schema.to_json()))
    return folder


def measure(dsn: str, scratch: Path, events: int, users: int, restaurants: int) -> str:
    """Load, fill, and fill again; the last line."""
    upgrade(dsn)
    load(dsn, write_places(scratch / "places", restaurants))
    path = scratch / "events.parquet"
    draw_events(path, events, users, restaurants)
    command, environment = [sys.executable, "-m", "db", "events", str(path)], os.environ | {"DATABASE_URL": dsn}
    figures = {}
    peak = 0.0
    for name, said in (("new", f"{events:,} new"), ("again", f"{events:,} known already")):
        started = time.perf_counter()
        done = run(command, environment)
        figures[name] = events / (time.perf_counter() - started)
        peak = max(peak, done.peak_rss_gib)
        if said not in done.printed:
            raise SystemExit(f"the backfill said: {done.printed}")
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT pg_total_relation_size('hexbite.event_ids') + (SELECT sum(pg_total_relation_size(inhrelid))"
            " FROM pg_inherits WHERE inhparent = 'hexbite.events'::regclass)"
        ).fetchone()
    assert row is not None
    print(f"{events:,} events of {users:,} people at {restaurants:,} places, {events / figures['new']:.1f} s")
    return (
        f"events {events} events_per_s {figures['new']:.0f} known_per_s {figures['again']:.0f} "
        f"bytes_an_event {float(row[0]) / events:.0f} peak_gib {peak:.2f}"
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--events", type=int, default=10_000_000)
    arguments.add_argument("--users", type=int, default=500_000)
    arguments.add_argument("--restaurants", type=int, default=100_000)
    asked = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="hexbite-bench-") as scratch:
        server = EmbeddedServer(Path(scratch) / "home")
        try:
            print(measure(server.ensure_running(), Path(scratch), asked.events, asked.users, asked.restaurants))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
