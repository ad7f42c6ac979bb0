"""Requests a second with 1,000 text candidates beside 1,000 integers, in turn; the median ratio in the last line.

    python -m tests.benchmarks.bench_ids [--pairs N] [--seconds N] [--restaurants N]

One world in one store under two schemas that differ in the kinds of their ids: the same people, places, features and
weights, and texts of 24 hex digits in place of the integers. Two services, of which the one that is not asked waits.
"""

import argparse
import asyncio
import contextlib
import hashlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import torch
from pydantic_core import to_json

from db.embedded import EmbeddedServer
from db.migrate import upgrade
from hexbite.features import Feature, FeatureSchema
from hexbite.geo import degrees_to_cells
from hexbite.ids import IdKind, IdKinds
from tests.benchmarks.programs import run
from tests.benchmarks.servers import CONNECTIONS, service
from tests.written import drawn_model, id_and_key, register

KINDS: tuple[IdKind, IdKind] = ("integer", "text")
CENTRE = (13.75, 100.5)
PER_KM2 = 25
USERS = 1_000
CANDIDATES = 1_000
REQUESTS = 500
FEATURES = (30, 10)


def schema_of(kind: IdKind) -> FeatureSchema:
    user, restaurant = (tuple(Feature(f"f{number:02}") for number in range(count)) for count in FEATURES)
    return FeatureSchema(user, restaurant, ids=IdKinds(kind, kind))


def named(id_: int, kind: IdKind) -> int | str:
    """The integer, or a text of 24 hex digits in its place."""
    return id_ if kind == "integer" else hashlib.sha256(str(id_).encode()).hexdigest()[:24]


def fill(database: str, count: int) -> None:
    """So many restaurants in a square around the centre, and the users, under both schemas."""
    draw = np.random.default_rng(count)
    half_km = np.sqrt(count / PER_KM2) / 2
    lats = CENTRE[0] + draw.uniform(-half_km, half_km, count) / 111.195
    lngs = CENTRE[1] + draw.uniform(-half_km, half_km, count) / 111.195 / np.cos(np.radians(CENTRE[0]))
    features = draw.normal(size=(count, FEATURES[1])).round(4).tolist()
    places = list(zip(lats.tolist(), lngs.tolist(), degrees_to_cells(lats, lngs).tolist(), features, strict=True))
    people = draw.normal(size=(USERS, FEATURES[0])).round(4).tolist()
    upgrade(database)
    with psycopg.connect(database) as connection, connection.cursor() as cursor:
        for kind in KINDS:
            schema_id = register(connection, schema_of(kind))
            columns = "schema_id, restaurant_id, restaurant_key, latitude, longitude, h3_cell, features"
            with cursor.copy(f"COPY hexbite.restaurants ({columns}) FROM STDIN") as rows:
                for id_, place in enumerate(places):
                    rows.write_row((schema_id, *id_and_key(named(id_, kind)), *place))
            with cursor.copy("COPY hexbite.users (schema_id, user_id, user_key, features) FROM STDIN") as rows:
                for id_, values in enumerate(people):
                    rows.write_row((schema_id, *id_and_key(named(id_, kind)), values))
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE) hexbite.users, hexbite.restaurants")


def drawn_requests(kind: IdKind, count: int, candidates: int) -> list[bytes]:
    """Whole requests, the same ones for either kind."""
    draw = np.random.default_rng(7)
    found = []
    for _ in range(REQUESTS):
        away = draw.normal(0, 0.01, 2)
        body: dict[str, Any] = {"latitude": CENTRE[0] + away[0], "longitude": CENTRE[1] + away[1], "max_dist": 7_500}
        asked = draw.choice(count, min(count, candidates), replace=False).tolist()
        body["candidate_restaurant_ids"] = [named(id_, kind) for id_ in asked]
        head = f"POST /recommend/{named(int(draw.integers(USERS)), kind)} HTTP/1.1\r\nhost: bench\r\n"
        sent = to_json(body)
        head += f"content-type: application/json\r\ncontent-length: {len(sent)}\r\n\r\n"
        found.append(head.encode() + sent)
    return found


async def saturate(url: str, requests: list[bytes], seconds: float) -> float:
    """Answers a second to connections that ask again as soon as they are answered; ends where one is not 200."""
    host, port = url.removeprefix("http://").split(":")
    deadline = time.perf_counter() + seconds

    async def ask(first: int) -> int:
        reader, writer = await asyncio.open_connection(host, int(port))
        answered = 0
        while time.perf_counter() < deadline:
            writer.write(requests[(first + answered * CONNECTIONS) % len(requests)])
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
            if not head.startswith(b"HTTP/1.1 200") or b'"id"' not in body:
                raise SystemExit(f"{url} answered:\n{head.decode()}{body.decode()}")
            answered += 1
        writer.close()
        return answered

    started = time.perf_counter()
    answers = sum(await asyncio.gather(*(ask(number) for number in range(CONNECTIONS))))
    return answers / (time.perf_counter() - started)


@contextlib.contextmanager
def served(database: str, scratch: Path, workers: int) -> Iterator[dict[IdKind, str]]:
    """The addresses of a service of each kind."""
    environment = os.environ | {
        "DATABASE_URL": database,
        "BENTOML_HOME": str(scratch / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
    }
    with contextlib.ExitStack() as stack:
        urls = {}
        for kind in KINDS:
            folder = scratch / kind
            folder.mkdir()
            torch.manual_seed(0)
            drawn_model(schema_of(kind)).save(folder)
            published = run([sys.executable, "-m", "training", "publish", str(folder)], environment)
            model = {"HEXBITE_MODEL": published.printed.split()[-1]}
            urls[kind] = stack.enter_context(service(environment | model, folder, workers=workers))
        yield urls


def in_turn(
    urls: dict[IdKind, str], count: int, candidates: int, pairs: int, seconds: float
) -> dict[IdKind, list[float]]:
    """Answers a second of each kind, as often as there are pairs."""
    requests = {kind: drawn_requests(kind, count, candidates) for kind in KINDS}
    found: dict[IdKind, list[float]] = {kind: [] for kind in KINDS}
    for kind in KINDS:  # the first texts are asked for, the caches warm
        asyncio.run(saturate(urls[kind], requests[kind], seconds / 2))
    for pair in range(pairs):
        # Who is first may matter.
        for kind in KINDS if pair % 2 == 0 else KINDS[::-1]:
            found[kind].append(asyncio.run(saturate(urls[kind], requests[kind], seconds)))
        shown = ", ".join(f"{kind} {found[kind][-1]:.0f}" for kind in KINDS)
        print(f"pair {pair + 1}: {shown} requests/s, load {os.getloadavg()[0]:.1f}", flush=True)
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--pairs", type=int, default=30)
    arguments.add_argument("--seconds", type=float, default=1.5, help="of one run: short, as other load comes and goes")
    arguments.add_argument("--restaurants", type=int, default=100_000)
    asked = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="hexbite-bench-") as folder:
        scratch = Path(folder)
        server = EmbeddedServer(scratch / "home")
        try:
            database = server.ensure_running()
            fill(database, asked.restaurants)
            with served(database, scratch, workers=2) as urls:
                found = in_turn(urls, asked.restaurants, CANDIDATES, asked.pairs, asked.seconds)
        finally:
            server.stop()
    ratios = [text / integer for integer, text in zip(*(found[kind] for kind in KINDS), strict=True)]
    integers, texts = (statistics.median(found[kind]) for kind in KINDS)
    print(
        f"ids_ratio {statistics.median(ratios):.3f} least {min(ratios):.3f} most {max(ratios):.3f} "
        f"text_requests_per_s {texts:.1f} integer_requests_per_s {integers:.1f}"
    )


if __name__ == "__main__":
    main()
