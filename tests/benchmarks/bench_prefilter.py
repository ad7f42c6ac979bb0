"""Restaurants of a circle with their features: ours beside PostGIS and Redis in turn; ratios in the last line.

    python -m tests.benchmarks.bench_prefilter [--quick]

The same circles are asked of each in turn, on one connection, in one process; ours reads the user's row besides, as a
request does. Before that, each answer is compared with the distances to all restaurants. PostGIS and Redis are
Debian's; what is not installed is left out with a word.
"""

import argparse
import gc
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Final, NamedTuple, Self

import numpy as np
import psycopg
import torch
import uvloop
from rich.console import Console
from rich.table import Table

from bento.contract.models import RecommendRequest
from bento.ranking.recommend import Recommender
from bento.telemetry.laps import Clock
from db.access.connections import Connections
from db.embedded import EmbeddedServer
from db.migrate import upgrade
from db.reading.online import FeatureStore
from hexbite.artifact import Artifact
from hexbite.features import FeatureSchema
from hexbite.geo import distances_m
from hexbite.networks import LinearMap
from hexbite.ranker import Ranker, nearest
from tests.benchmarks.prefilter_peers import (
    FEATURES,
    Found,
    PostGIS,
    Query,
    Redis,
    World,
    debian_postgis,
    debian_redis,
    offsets_to_degrees,
)
from tests.databases import new_database

Find = Callable[[Query], Awaitable[Found]]

RADII_M: Final = (500.0, 2_000.0, 10_000.0)
DENSITY_RADIUS_M: Final = 2_000.0

# About as many as a circle of 5 km holds, at 25 a square kilometre 1,963.
WIDE_M, CUT, NARROW_M, UNCUT = 50_000.0, 1_900, 5_000.0, 10_000

# Circles lie around points so far off the centre at the most, north and east.
_OFF_CENTRE_M: Final = 5_000.0

# Two formulas for one sphere differ by less.
_RIM_M: Final = 0.01

SCHEMA: Final = FeatureSchema.from_names(["u"], [f"f{n}" for n in range(FEATURES)], ["distance_m"])


class Effort(NamedTuple):
    sizes: tuple[int, ...]
    points: int
    passes: int


FULL: Final = Effort((10_000, 100_000, 1_000_000), points=100, passes=4)
QUICK: Final = Effort((10_000, 100_000), points=20, passes=2)


class Ours:
    """The service's own way from a request to the restaurants in range, up to where the model would score them."""

    def __init__(self, store: FeatureStore) -> None:
        self._store = store
        width = SCHEMA.width
        flat = Ranker((LinearMap(torch.zeros(1, width).double(), torch.zeros(1).double()),))
        mean_restaurant = np.zeros(FEATURES, np.float32)
        self._artifact = Artifact(SCHEMA, flat, np.zeros(1, np.float32), mean_restaurant)

    @classmethod
    async def load(cls, dsn: str, world: World) -> Self:
        """Into an empty database, in the order of cells as PostGIS's."""
        upgrade(dsn)
        with psycopg.connect(dsn, autocommit=True) as connection:
            row = connection.execute(
                "INSERT INTO feature_schemas (fingerprint, user_features, restaurant_features, context_features,"
                " user_fills, restaurant_fills) VALUES (%s, %s, %s, %s, %s, %s) RETURNING schema_id",
                (
                    SCHEMA.fingerprint,
                    *(list(SCHEMA.names(group)) for group in ("user", "restaurant", "context")),
                    *(list(SCHEMA.fills(group)) for group in ("user", "restaurant")),
                ),
            ).fetchone()
            assert row is not None
            # So that the rows need not name it.
            connection.execute(f"ALTER TABLE restaurants ALTER COLUMN schema_id SET DEFAULT {row[0]}")
            columns = "restaurant_id, latitude, longitude, h3_cell, features, event_ts"
            world.copy(connection.cursor(), f"COPY restaurants ({columns}) FROM STDIN (FORMAT binary)")
            connection.execute("VACUUM (ANALYZE) restaurants")
        store = FeatureStore(Connections(dsn, most=1, timeout_s=30), SCHEMA)
        await store.check()
        return cls(store)

    def finder(self, most: int) -> Find:
        """The way with so many restaurants at the most."""
        recommender = Recommender("bench", self._artifact, self._store, most)

        async def find(query: Query) -> Found:
            lat, lng, radius_m = query
            request = RecommendRequest.model_construct(latitude=lat, longitude=lng, max_dist=radius_m)
            read = await recommender._read_nearby(request, 0, Clock())
            kept, records = read.in_range, read.snapshot.restaurants
            if read.truncated:
                kept = kept[nearest(records["id"][kept], read.distance_m[kept], most)]
            records = records[kept]
            return Found(
                records["id"].astype(np.int64),
                records["lat_deg"].astype(np.float64),
                records["lng_deg"].astype(np.float64),
                records["features"].astype(np.float32),
                read.distance_m[kept],
            )

        return find

    async def close(self) -> None:
        await self._store.connections.close()


class Timing(NamedTuple):
    """Milliseconds of each query, and how many restaurants one found on average."""

    ms: list[float]
    found: float

    @property
    def per_s(self) -> float:
        return 1_000.0 / statistics.fmean(self.ms)

    def percentile(self, share: int) -> float:
        return float(np.percentile(self.ms, share))

    @property
    def p50(self) -> float:
        return self.percentile(50)


async def in_turn(
    ways: Mapping[str, tuple[Find, float]], points: list[tuple[float, float]], passes: int
) -> list[Timing]:
    """Each way, with the radius it is asked for, at each point: one after the other, so that noise meets all alike."""
    ms: dict[str, list[float]] = {name: [] for name in ways}
    counts: dict[str, list[int]] = {name: [] for name in ways}
    for _ in range(passes):
        for point in points:
            for name, (find, radius_m) in ways.items():
                query = Query(*point, radius_m)
                started = time.perf_counter()
                found = await find(query)
                ms[name].append((time.perf_counter() - started) * 1_000)
                counts[name].append(len(found.ids))
    return [Timing(ms[name], statistics.fmean(counts[name])) for name in ways]


async def check(
    ways: Mapping[str, tuple[Find, float]], world: World, points: list[tuple[float, float]], most: int
) -> None:
    """End where a way's answer is not that of all distances, nearest first up to ``most``; also warms it up."""
    rows = np.argsort(world.ids)  # ids are 0 to N - 1
    for point in points:
        distance_m = distances_m(*point, world.lats_deg, world.lngs_deg)[rows]
        for name, (find, radius_m) in ways.items():
            found = await find(Query(*point, radius_m))
            true = np.flatnonzero(distance_m <= radius_m)
            rim_m = radius_m
            if len(true) > most:
                true = true[nearest(true, distance_m[true], most)]
                rim_m = float(distance_m[true].max())
            astray = np.setxor1d(found.ids, true)
            if np.any(np.abs(distance_m[astray] - rim_m) > _RIM_M) or len(np.unique(found.ids)) != len(found.ids):
                raise SystemExit(f"{name} at {point}, {radius_m:,.0f} m: {len(astray)} restaurants too many or too few")
            if not np.array_equal(found.features, world.features[rows[found.ids]]):
                raise SystemExit(f"{name} at {point}, {radius_m:,.0f} m: features of other restaurants")


def drawn_points(count: int) -> list[tuple[float, float]]:
    """The same in every world."""
    offsets_m = np.random.default_rng(0).uniform(-_OFF_CENTRE_M, _OFF_CENTRE_M, (2, count))
    lats, lngs = offsets_to_degrees(*offsets_m)
    return list(zip(lats.tolist(), lngs.tolist(), strict=True))


class Bench:
    """Every world on every server, and what is told of them."""

    def __init__(self, effort: Effort, console: Console) -> None:
        self._effort = effort
        self._console = console
        self._points = drawn_points(effort.points)
        self._worlds = {size: World.draw(size) for size in effort.sizes}
        self._ours: dict[int, Ours] = {}
        self._ways: dict[int, dict[str, Find]] = {size: {} for size in effort.sizes}

    async def load(self, stack: AsyncExitStack, embedded: str, postgis: str | None, redis: Path | None) -> None:
        """Ours on the server that PostGIS is on, which is compared, and on the embedded one."""
        servers = {"ours": embedded} if postgis is None else {"ours": postgis, "ours, embedded": embedded}
        for number, (size, world) in enumerate(self._worlds.items()):
            started = time.perf_counter()
            ways = self._ways[size]
            for name, server in servers.items():
                ours = await Ours.load(new_database(server, f"ours_{size}"), world)
                stack.push_async_callback(ours.close)
                ways[name] = ours.finder(size)
                self._ours.setdefault(size, ours)
            if postgis is not None:
                peer = await PostGIS.load(new_database(postgis, f"postgis_{size}"), world)
                stack.push_async_callback(peer.close)
                ways["PostGIS"] = peer.find
            if redis is not None:
                cache = await Redis.load(redis, number, world)
                stack.push_async_callback(cache.close)
                ways["Redis"] = cache.find
            self._console.print(f"{size:,} restaurants loaded in {time.perf_counter() - started:.0f} s")
        # What was just written is not to be written to disk while the clock runs.
        for server in servers.values():
            with psycopg.connect(server, autocommit=True) as connection:
                connection.execute("CHECKPOINT")
        # Nor are libraries and worlds to be searched for garbage: who makes most objects would pay for all of them.
        gc.collect()
        gc.freeze()

    async def beside_peers(self) -> dict[str, list[float]]:
        """Prints the table; by peer, its p50 over ours for each size and radius."""
        table = Table(title="A circle's restaurants with features, one connection", title_justify="left")
        for column in ("restaurants", "radius m", "in range", "", "requests/s", "p50 ms", "p95 ms", "p99 ms"):
            table.add_column(column, justify="right" if column else "left")
        ratios: dict[str, list[float]] = {"PostGIS": [], "Redis": []}
        for size, world in self._worlds.items():
            for radius_m in RADII_M:
                if radius_m + _OFF_CENTRE_M > world.side_m / 2:
                    continue  # circles would reach over the rim of the square
                ways = {name: (find, radius_m) for name, find in self._ways[size].items()}
                await check(ways, world, self._points, most=size)
                timings = dict(zip(ways, await in_turn(ways, self._points, self._effort.passes), strict=True))
                for name, timing in timings.items():
                    figures = (f"{timing.per_s:,.0f}", *(f"{timing.percentile(share):.2f}" for share in (50, 95, 99)))
                    table.add_row(f"{size:,}", f"{radius_m:,.0f}", f"{timing.found:,.0f}", name, *figures)
                table.add_section()
                for peer in ratios.keys() & timings.keys():
                    ratios[peer].append(timings[peer].p50 / timings["ours"].p50)
        self._console.print(table)
        return ratios

    async def at_equal_density(self) -> float:
        """Our p50 in the largest world over that in the smallest."""
        ways = {f"{size:,}": (ways["ours"], DENSITY_RADIUS_M) for size, ways in self._ways.items()}
        timings = await in_turn(ways, self._points, 2 * self._effort.passes)
        for name, timing in zip(ways, timings, strict=True):
            self._console.print(
                f"{DENSITY_RADIUS_M:,.0f} m among {name}: {timing.found:,.0f} in range, p50 {timing.p50:.2f} ms, "
                f"{timing.p50 / timings[0].p50:.2f} of the smallest"
            )
        return timings[-1].p50 / timings[0].p50

    async def cut(self) -> float:
        """Our p50 of a wide circle cut to the nearest over that of a narrow one that holds as many."""
        size = self._effort.sizes[-1]
        ours = self._ours[size]
        ways = {"wide": (ours.finder(CUT), WIDE_M), "narrow": (ours.finder(UNCUT), NARROW_M)}
        await check({"wide": ways["wide"]}, self._worlds[size], self._points, most=CUT)
        wide, narrow = await in_turn(ways, self._points, self._effort.passes)
        self._console.print(
            f"{WIDE_M:,.0f} m cut to the nearest {CUT:,} of {size:,}: p50 {wide.p50:.2f} ms; "
            f"{NARROW_M:,.0f} m uncut, {narrow.found:,.0f} in range: {narrow.p50:.2f} ms"
        )
        return wide.p50 / narrow.p50


def major(dsn: str) -> int:
    """A server's version."""
    with psycopg.connect(dsn) as connection:
        return connection.info.server_version // 10_000


async def measure(effort: Effort, embedded: str, postgis: str | None, redis: Path | None) -> str:
    """The last line."""
    console = Console(width=100, highlight=False)
    if postgis is None:
        console.print(f"ours on the embedded Postgres {major(embedded)}")
        console.print("PostGIS is left out: Debian's package postgresql-postgis is not installed")
    else:
        console.print(f"ours and PostGIS on Debian's Postgres {major(postgis)}, beside the embedded {major(embedded)}")
    if redis is None:
        console.print("Redis is left out: Debian's package redis-server is not installed")
    bench = Bench(effort, console)
    async with AsyncExitStack() as stack:
        await bench.load(stack, embedded, postgis, redis)
        ratios = await bench.beside_peers()
        told = {}
        for peer, times in ratios.items():
            told[peer] = f"{statistics.median(times):.2f}" if times else "-"
            if times:
                console.print(
                    f"{peer} over ours, p50: {', '.join(f'{one:.2f}' for one in times)}; least {min(times):.2f}"
                )
        density, cut = await bench.at_equal_density(), await bench.cut()
    console.print(f"load {os.getloadavg()[0]:.1f}")
    return (
        f"prefilter_vs_postgis {told['PostGIS']} prefilter_vs_redis {told['Redis']} "
        f"density_ratio {density:.2f} cut_ratio {cut:.2f}"
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--quick", action="store_true", help="fewer queries, without the largest world")
    effort = QUICK if arguments.parse_args().quick else FULL
    # Who is killed leaves no servers behind either.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as stack:

        def folder() -> Path:
            return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hexbite-bench-")))

        server = EmbeddedServer(folder() / "home")
        stack.callback(server.stop)
        embedded = server.ensure_running()
        postgis, redis = stack.enter_context(debian_postgis(folder())), stack.enter_context(debian_redis(folder()))
        print(uvloop.run(measure(effort, embedded, postgis, redis)))


if __name__ == "__main__":
    main()
