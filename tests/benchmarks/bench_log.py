"""Events a second of an import, beside the same joins written in DuckDB, in turn; the last line has the figures.

    python -m tests.benchmarks.bench_log [--events N] [--users N] [--restaurants N] [--pairs N]

Both read the same parquet log and write train and test rows with distance, hour and weekday. Ours checks and counts
besides, in bounded memory; DuckDB gets 4 GB and may spill. Memory is the peak of all processes of a run.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb

from tests.benchmarks.draw_log import draw_log
from tests.benchmarks.programs import Finished, run

_SQL = """
SET memory_limit = '4GB';
SET preserve_insertion_order = false;
SET temp_directory = '{scratch}';
CREATE TEMP TABLE restaurants AS SELECT restaurant, lat, lng FROM '{folder}/restaurants.parquet';
CREATE TEMP TABLE events AS
    SELECT events.* FROM '{folder}/events/*.parquet' events
    JOIN '{folder}/users.parquet' users USING (user) JOIN restaurants USING (restaurant);
CREATE TEMP TABLE split AS SELECT quantile_disc(ts, 0.8) AS moment FROM events WHERE event = 'order';
CREATE TEMP TABLE pairs AS
    SELECT user, request, restaurant, min(ts) FILTER (event = 'impression') AS ts, any_value(rank) AS rank,
           any_value(lat) AS lat, any_value(lng) AS lng,
           bool_or(event = 'order') AS click
    FROM (SELECT DISTINCT * FROM events) GROUP BY user, request, restaurant
    HAVING bool_or(event = 'impression');
CREATE TEMP TABLE lists AS
    SELECT user, request, min(ts) AS moment, bool_or(click) AS chosen, count(*) AS items
    FROM pairs GROUP BY user, request;
CREATE TEMP TABLE rows AS
    SELECT pairs.user AS user_id, restaurant AS restaurant_id, pairs.click::TINYINT AS click, pairs.request AS list,
           lists.moment AS time, rank AS position,
           (2 * 6371008.8 * asin(least(1, sqrt(
               sin(radians(restaurants.lat - pairs.lat) / 2) ** 2
               + cos(radians(restaurants.lat)) * cos(radians(pairs.lat))
               * sin(radians(restaurants.lng - pairs.lng) / 2) ** 2))))::FLOAT AS distance_m,
           hour(lists.moment)::TINYINT AS hour, (isodow(lists.moment) - 1)::TINYINT AS weekday,
           lists.moment >= (SELECT moment FROM split) AS is_test
    FROM pairs JOIN lists ON lists.user = pairs.user AND lists.request = pairs.request
    JOIN restaurants USING (restaurant) WHERE lists.chosen AND lists.items > 1;
COPY (SELECT * EXCLUDE is_test FROM rows WHERE NOT is_test ORDER BY list)
    TO '{out}/train.parquet' (FORMAT parquet, COMPRESSION zstd);
COPY (SELECT * EXCLUDE is_test FROM rows WHERE is_test ORDER BY list)
    TO '{out}/test.parquet' (FORMAT parquet, COMPRESSION zstd);
"""


def join_in_duckdb(folder: Path, out: Path) -> None:
    """The whole of it as one SQL script; prints its seconds and rows."""
    out.mkdir()
    started = time.monotonic()
    connection = duckdb.connect()
    connection.execute(_SQL.format(folder=folder, out=out, scratch=out))
    row = connection.execute("SELECT count(*), count(*) FILTER (is_test) FROM rows").fetchone()
    assert row is not None
    print(json.dumps({"seconds": time.monotonic() - started, "rows": row[0], "test": row[1]}))


def import_by_map(folder: Path, out: Path) -> None:
    """Our import; prints the seconds of reading and of all, and its rows."""
    from data.log import write
    from data.log.mapfile import read_map

    seconds: dict[str, float] = {}

    def timed(name: str, function: Any) -> Any:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            started = time.monotonic()
            result = function(*arguments, **named)
            seconds[name] = time.monotonic() - started
            return result

        return wrapped

    vars(write)["read_log"] = timed("reading", vars(write)["read_log"])
    vars(write)["_write_clicks"] = timed("rest", vars(write)["_write_clicks"])
    started = time.monotonic()
    source = write.write_log(read_map(folder / "map.toml"), out, path=folder / "map.toml")
    rows = source["clicks"]
    whole = {"seconds": time.monotonic() - started, "rows": sum(rows.values()), "test": rows["test"]}
    print(json.dumps(seconds | whole))


def measure(events: int, *, users: int, restaurants: int, pairs: int) -> str:
    """Draw, run both in turn, and say the medians in one line."""
    with tempfile.TemporaryDirectory(prefix="hexbite-bench-") as scratch:
        folder = Path(scratch) / "log"
        drawn = draw_log(folder, events, users=users, restaurants=restaurants)
        ours: list[dict[str, float]] = []
        theirs: list[dict[str, float]] = []
        for pair in range(1, pairs + 1):
            for name, found in (("ours", ours), ("duckdb", theirs)):
                out = Path(scratch) / name
                finished = _run(name, folder, out)
                found.append(json.loads(finished.printed.splitlines()[-1]) | {"peak_gib": finished.peak_rss_gib})
                subprocess.run(["rm", "-rf", str(out)], check=True)
            if ours[-1]["rows"] != theirs[-1]["rows"]:
                raise SystemExit(f"the two disagree: {ours[-1]} and {theirs[-1]}")
            told = f"{drawn / ours[-1]['seconds']:,.0f} events/s, DuckDB {drawn / theirs[-1]['seconds']:,.0f}"
            print(f"pair {pair}: {told}, load {os.getloadavg()[0]:.1f}", flush=True)
    middle = {key: statistics.median(one[key] for one in ours) for key in ours[0]}
    ratio = statistics.median(b["seconds"] / a["seconds"] for a, b in zip(ours, theirs, strict=True))
    return (
        f"events {drawn} read_events_per_s {drawn / middle['reading']:.0f} "
        f"rest_events_per_s {drawn / middle['rest']:.0f} "
        f"events_per_s {drawn / middle['seconds']:.0f} peak_rss_gib {middle['peak_gib']:.2f} "
        f"duckdb_peak_rss_gib {statistics.median(one['peak_gib'] for one in theirs):.2f} duckdb_ratio {ratio:.2f}"
    )


def _run(name: str, folder: Path, out: Path) -> Finished:
    command = [sys.executable, "-m", "tests.benchmarks.bench_log", "--only", name, str(folder), str(out)]
    return run(command, os.environ)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--events", type=int, default=50_000_000)
    arguments.add_argument("--users", type=int, default=1_000_000)
    arguments.add_argument("--restaurants", type=int, default=100_000)
    arguments.add_argument("--pairs", type=int, default=1)
    arguments.add_argument("--only", nargs=3, metavar=("WHO", "FOLDER", "OUT"), help="one run on a log that is drawn")
    asked = arguments.parse_args()
    if asked.only:
        who, folder, out = asked.only
        (import_by_map if who == "ours" else join_in_duckdb)(Path(folder), Path(out))
        return
    print(measure(asked.events, users=asked.users, restaurants=asked.restaurants, pairs=asked.pairs))


if __name__ == "__main__":
    main()
