"""Where a request's time goes: microseconds a stage, the floor of each, how they grow; plots in docs/performance/.

    python -m tests.benchmarks.bench_stages [--quick] [--plots DIR]

One process, one connection, one request at a time: what a stage takes, and not what waits for a processor. Worlds of
10,000, 100,000 and 1,000,000 restaurants lie equally dense around one point.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import matplotlib as mpl
import numpy as np
import psycopg
import torch
import uvloop
from matplotlib import pyplot as plt
from pydantic_core import to_json

from bento.contract.models import RecommendRequest
from bento.ranking.recommend import Recommender
from bento.telemetry.laps import stages_ms
from db.access.connections import Connections
from db.embedded import EmbeddedServer
from db.migrate import upgrade
from db.reading.online import FeatureStore
from hexbite.artifact import Artifact
from hexbite.features import FeatureSchema
from hexbite.geo import degrees_to_cells
from hexbite.networks import NETWORKS
from hexbite.ranker import Ranker
from tests.benchmarks.servers import free_port, running, service, wait_for
from tests.databases import new_database

CENTRE = (13.75, 100.5)
PER_KM2 = 25.0
SCHEMA = FeatureSchema.from_names([f"u{n}" for n in range(30)], [f"f{n}" for n in range(10)])
STAGES = ("parse", "cover", "store", "distance", "score", "order", "encode")

BARE_ASGI = """
async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"{}"})
"""

BARE_BENTOML = """
import bentoml
from pydantic import BaseModel


class Nothing(BaseModel):
    pass


@bentoml.service(name="bare", logging={"access": {"enabled": False}}, metrics={"enabled": False})
class Bare:
    @bentoml.api
    async def recommend(self, request: Nothing, /) -> Nothing:
        return request
"""


def fill(database: str, count: int) -> None:
    """So many restaurants in a square around the centre, and a thousand users."""
    draw = np.random.default_rng(count)
    half_km = np.sqrt(count / PER_KM2) / 2
    lats = CENTRE[0] + draw.uniform(-half_km, half_km, count) / 111.195
    lngs = CENTRE[1] + draw.uniform(-half_km, half_km, count) / 111.195 / np.cos(np.radians(CENTRE[0]))
    cells = degrees_to_cells(lats, lngs)
    upgrade(database)
    with psycopg.connect(database) as connection:
        connection.execute(
            "INSERT INTO feature_schemas (fingerprint, user_features, restaurant_features, context_features,"
            " user_fills, restaurant_fills) VALUES (%s, %s, %s, '{}', %s, %s)",
            (
                SCHEMA.fingerprint,
                *(list(SCHEMA.names(group)) for group in ("user", "restaurant")),
                *([None] * len(SCHEMA.group(group)) for group in ("user", "restaurant")),
            ),
        )
        copy = "COPY restaurants (schema_id, restaurant_id, latitude, longitude, h3_cell, features) FROM STDIN"
        features = draw.normal(size=(count, 10)).round(4).tolist()
        ids = draw.permutation(count).tolist()
        rows = sorted(zip(cells.tolist(), ids, lats.tolist(), lngs.tolist(), features, strict=True))
        with connection.cursor() as cursor, cursor.copy(copy) as stream:
            for cell, id_, lat, lng, values in rows:
                stream.write_row((1, id_, lat, lng, cell, values))
        connection.execute(
            "INSERT INTO users (schema_id, user_id, features)"
            " SELECT 1, n, array_fill(n::real, ARRAY[30]) FROM generate_series(0, 999) AS n"
        )
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE) users, restaurants")


class World:
    """A store of so many restaurants, and a recommender on it."""

    def __init__(self, database: str, count: int) -> None:
        torch.manual_seed(0)
        ranker = Ranker.fold(NETWORKS["ranknet"](40), np.zeros(40), np.ones(40))
        artifact = Artifact(SCHEMA, ranker, np.zeros(30, np.float32), np.zeros(10, np.float32))
        self.count = count
        self.store = FeatureStore(Connections(database, most=1, timeout_s=60), SCHEMA)
        self.recommender = Recommender("bench", artifact, self.store, 10_000)

    def bodies(self, candidates: int | None, radius_m: float, size: int, number: int) -> list[bytes]:
        draw = np.random.default_rng(number)
        found = []
        for _ in range(number):
            away = draw.normal(0, 0.005, 2)
            body: dict[str, Any] = {"latitude": CENTRE[0] + away[0], "longitude": CENTRE[1] + away[1]}
            body |= {"max_dist": radius_m, "size": size}
            if candidates is not None:
                body["candidate_restaurant_ids"] = draw.choice(self.count, candidates, replace=False).tolist()
            found.append(to_json(body))
        return found

    async def stages_us(self, bodies: list[bytes], passes: int) -> dict[str, float]:
        """Median microseconds of each stage, over all requests and passes but the first."""
        times: dict[str, list[float]] = {stage: [] for stage in STAGES}
        for each in range(passes + 1):
            for number, body in enumerate(bodies):
                started = time.perf_counter()
                request = RecommendRequest.model_validate_json(body)
                parsed = time.perf_counter()
                answer = await self.recommender.answer(request, number)
                answered = time.perf_counter()
                to_json(answer.response)
                encoded = time.perf_counter()
                if each:
                    times["parse"].append((parsed - started) * 1e6)
                    times["encode"].append((encoded - answered) * 1e6)
                    for stage, laps_ms in stages_ms(answer.laps).items():
                        times[stage].append(laps_ms * 1e3)
        return {stage: statistics.median(found) for stage, found in times.items()}


async def median_us(call: Callable[[], Awaitable[Any]], number: int = 300) -> float:
    for _ in range(30):
        await call()
    times = []
    for _ in range(number):
        started = time.perf_counter()
        await call()
        times.append((time.perf_counter() - started) * 1e6)
    return statistics.median(times)


async def http_us(url: str, body: bytes) -> float:
    async with httpx.AsyncClient(base_url=url) as client:
        headers = {"content-type": "application/json"}
        return await median_us(lambda: client.post("/recommend", content=body, headers=headers))


async def floors(world: World, scratch: Path, body: bytes) -> dict[str, float]:
    """What each layer takes with nothing in it, microseconds."""
    (scratch / "bare_asgi.py").write_text(BARE_ASGI)
    (scratch / "bare_bentoml.py").write_text(BARE_BENTOML)
    environment = os.environ | {"BENTOML_HOME": str(scratch / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    found = {}
    with service(environment, scratch, "bare_bentoml:Bare", workers=1) as url:
        found["a bare BentoML endpoint, as seen by httpx"] = await http_us(url, b"{}")
    port, log = free_port(), scratch / "bare.log"
    command = ["-m", "uvicorn", "bare_asgi:application", "--port", str(port), "--log-level", "warning"]
    with running([sys.executable, *command], environment, log, scratch):
        wait_for(f"http://127.0.0.1:{port}/", log)
        found["bare ASGI, the same body, as seen by httpx"] = await http_us(f"http://127.0.0.1:{port}", body)
    async with world.store.connections.lend() as connection:
        found["select 1"] = await median_us(lambda: connection.fetch("SELECT 1"))
    rows = torch.zeros(45, 10, dtype=torch.float64)
    weight, last = torch.zeros(10, 128, dtype=torch.float64), torch.zeros(128, dtype=torch.float64)
    bias = torch.zeros(128, dtype=torch.float64)

    async def score() -> None:
        torch.mv(torch.addmm(bias, rows, weight).relu_(), last)

    found["two matrix products of torch, 45 rows"] = await median_us(score)
    return found


def grow(title: str, label: str, points: list[tuple[float, dict[str, float]]], path: Path) -> None:
    """A stacked plot of the stages, and their table on the terminal."""
    print(f"\n{title}\n{label:>12} " + " ".join(f"{stage:>9}" for stage in STAGES) + "     sum")
    for at, stages in points:
        cells = " ".join(f"{stages[stage]:9.0f}" for stage in STAGES)
        print(f"{at:12,.0f} {cells} {sum(stages.values()):7.0f}")
    figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    ats = [at for at, _ in points]
    axes.stackplot(ats, [[stages[stage] / 1e3 for _, stages in points] for stage in STAGES], labels=STAGES, alpha=0.85)
    axes.set(xscale="log", xlabel=label, ylabel="ms a request", title=title)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], fontsize="small", loc="upper left")
    axes.margins(x=0)
    figure.savefig(path, dpi=120)
    plt.close(figure)


async def measure(scratch: Path, plots: Path, *, quick: bool) -> None:
    server = EmbeddedServer(scratch / "home")
    dsn = server.ensure_running()
    with ExitStack() as stack:
        stack.callback(server.stop)
        worlds = {}
        for count in (10_000, 100_000) if quick else (10_000, 100_000, 1_000_000):
            database = new_database(dsn, f"world_{count}")
            fill(database, count)
            worlds[count] = World(database, count)
            await worlds[count].store.check()
        number, passes = (30, 2) if quick else (100, 5)
        main = worlds[100_000]

        async def stages(world: World, candidates: int | None, radius_m: float, size: int) -> dict[str, float]:
            return await world.stages_us(world.bodies(candidates, radius_m, size, number), passes)

        base = await stages(main, 1_000, 7_500.0, 100)
        print("1,000 candidates, 7.5 km, 100,000 restaurants, µs: ", end="")
        print(", ".join(f"{stage} {us:.0f}" for stage, us in base.items()))
        for what, us in (await floors(main, scratch, main.bodies(1_000, 7_500.0, 100, 1)[0])).items():
            print(f"floor: {what}: {us:.0f} µs")
        grow(
            "Candidates, 7.5 km, 100,000 restaurants",
            "candidates",
            [(count, await stages(main, count, 7_500.0, 100)) for count in (10, 30, 100, 300, 1_000, 3_000, 10_000)],
            plots / "candidates.png",
        )
        grow(
            "No candidates, 100,000 restaurants",
            "radius, m",
            [(radius, await stages(main, None, radius, 100)) for radius in (200, 500, 1_000, 2_000, 5_000, 10_000)],
            plots / "radius.png",
        )
        grow(
            "No candidates, 2 km, equal density",
            "restaurants",
            [(count, await stages(world, None, 2_000.0, 100)) for count, world in worlds.items()],
            plots / "restaurants.png",
        )
        for world in worlds.values():
            await world.store.connections.close()
    print(f"stages_us {sum(base.values()):.0f} " + " ".join(f"{stage} {us:.0f}" for stage, us in base.items()))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--plots", type=Path, default=Path("docs/performance"))
    asked = arguments.parse_args()
    mpl.use("agg")
    torch.set_num_threads(1)
    asked.plots.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="hexbite-bench-") as scratch:
        uvloop.run(measure(Path(scratch), asked.plots, quick=asked.quick))


if __name__ == "__main__":
    main()
