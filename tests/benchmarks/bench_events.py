"""Events a second in batches of 100, and singly, beside 50 recommendations a second; figures in the last line.

    python -m tests.benchmarks.bench_events [--seconds N] [--restaurants N]

Two workers of a service whose model counts what people did; Postgres, service and client share this machine. Events and
recommendations come at constant rates, over at most eight connections each; latency counts from the moment at which a
request was due. What was told is in the store once each, and refreshed meanwhile.
"""

import argparse
import asyncio
import itertools
import os
import secrets
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psycopg
from pydantic_core import to_json

from db.embedded import EmbeddedServer
from tests.benchmarks.bench_counters import COUNTED, MIXES, drawn_requests, fill, served_by

CONNECTIONS = 8
RECOMMENDATIONS_PER_S = 50.0

# Somewhat more than is wanted: what is told is what was answered in time.
RATES = {100: 3_300.0, 1: 330.0}
USERS = 1_000


def posted(path: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def batches(size: int, restaurants: int) -> Iterator[bytes]:
    """Whole requests that tell so many events each, every event with an id of its own, a moment ago."""
    draw = np.random.default_rng()
    run = secrets.token_hex(4)
    for number in itertools.count():
        at = datetime.now(UTC).isoformat()
        users, places = draw.integers(USERS, size=size).tolist(), draw.integers(restaurants, size=size).tolist()
        events = [
            {
                "event_id": f"{run}-{number}-{n}",
                "user_id": user,
                "restaurant_id": place,
                "event": "order",
                "event_ts": at,
            }
            for n, (user, place) in enumerate(zip(users, places, strict=True))
        ]
        yield posted("/events", to_json({"events": events}))


class Line:
    """A connection that is kept."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, url: str) -> "Line":
        host, port = url.removeprefix("http://").split(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    async def ask(self, request: bytes) -> bytes:
        """The body of an answer, which must be 200."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        body = await self._reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"answered:\n{head.decode()}{body.decode()}")
        return body

    def close(self) -> None:
        self._writer.close()


async def ask_at(url: str, requests: Iterator[bytes], per_s: float, seconds: float) -> list[float]:
    """Ask at a rate: milliseconds of each answer, from the moment at which it was due."""
    idle: asyncio.Queue[Line] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        idle.put_nowait(await Line.open(url))
    took_ms: list[float] = []

    async def ask(request: bytes, due: float) -> None:
        line = await idle.get()
        await line.ask(request)
        idle.put_nowait(line)
        took_ms.append((time.perf_counter() - due) * 1e3)

    async with asyncio.TaskGroup() as tasks:
        started = time.perf_counter()
        for number in range(round(per_s * seconds)):
            due = started + number / per_s
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.create_task(ask(next(requests), due))
    while not idle.empty():
        idle.get_nowait().close()
    return took_ms


async def beside(url: str, size: int, restaurants: int, seconds: float) -> tuple[float, list[float], list[float]]:
    """Events a second in requests of one size; milliseconds of these, and of the recommendations beside them."""
    asked = itertools.cycle(drawn_requests(MIXES[0], restaurants))
    await ask_at(url, asked, RECOMMENDATIONS_PER_S, 1.0)  # the caches warm
    started = time.perf_counter()
    told = asyncio.create_task(ask_at(url, batches(size, restaurants), RATES[size] / size, seconds))
    ranked = await ask_at(url, asked, RECOMMENDATIONS_PER_S, seconds)
    told_ms = await told
    return len(told_ms) * size / (time.perf_counter() - started), told_ms, ranked


def measure(database: str, scratch: Path, restaurants: int, seconds: float, workers: int = 2) -> str:
    """The last line."""
    fill(database, restaurants)
    said = []
    with served_by("counted", COUNTED, database, scratch, workers, {"HEXBITE_REFRESH_S": "10"}) as url:
        for name, size in (("batches", 100), ("singly", 1)):
            rate, told_ms, ranked_ms = asyncio.run(beside(url, size, restaurants, seconds))
            p99_ms = float(np.percentile(ranked_ms, 99))
            shown = (
                f"recommendations p50 {np.median(ranked_ms):.1f} ms, p99 {p99_ms:.1f} ms, load {os.getloadavg()[0]:.1f}"
            )
            print(f"{name}: {rate:.0f} events/s, p99 {np.percentile(told_ms, 99):.1f} ms, {shown}", flush=True)
            said.append(f"{name}_events_per_s {rate:.0f} {name}_p99_ms {p99_ms:.1f}")
    with psycopg.connect(database) as connection:
        counts = connection.execute(
            "SELECT (SELECT count(*) FROM hexbite.events), (SELECT count(*) FROM hexbite.event_ids)"
        ).fetchone()
    assert counts is not None and counts[0] == counts[1]
    return f"{' '.join(said)} events {counts[0]}"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--seconds", type=float, default=30.0, help="of each of the two runs")
    arguments.add_argument("--restaurants", type=int, default=100_000)
    asked = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="hexbite-bench-") as folder:
        server = EmbeddedServer(Path(folder) / "home")
        try:
            print(measure(server.ensure_running(), Path(folder), asked.restaurants, asked.seconds))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
