"""Requests per second and latency of the service beside the yardstick's, in turn; medians in the last line.

    python -m tests.benchmarks.bench_serving [--pairs N] [--seconds N] [--latency-pairs N] [--latency-seconds N]

One million users, 100,000 restaurants; Postgres, service and client share this machine, two workers each. The yardstick
(../shared/baseline) and the judge (../shared/bench) are no part of the project; Debian has redis-server and wrk.
"""

import argparse
import contextlib
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from tests.benchmarks.servers import (
    BENCH,
    ROUTE,
    figures,
    judge,
    require,
    saturate,
    service,
    site,
    workers_mib,
    yardstick,
)

MIXES = {
    "1,000 candidates": (),
    "200 in range": ("--candidates", "200", "--in-range"),
    "no candidates": ("--near",),
}

EMPTY_SERVICE = """
import bentoml
import torch


@bentoml.service(name="empty")
class Empty:
    @bentoml.api
    async def nothing(self) -> None:
        return None
"""


def open_loop(url: str, requests: Path, rps: int, seconds: int) -> dict[str, float]:
    line = judge("open_loop.py", url, ROUTE, str(requests), "--rps", str(rps), "--seconds", str(seconds))
    answered = re.search(r"[{ ]200: (\d+)", line)
    return figures(line) | {"not_200": rps * seconds - (int(answered[1]) if answered else 0)}


def in_turn(
    told: str, pairs: int, measure: Callable[[str], dict[str, float]], ours: str, theirs: str | None, unit: str
) -> tuple[dict[str, float], dict[str, float], float]:
    """Medians of ours and of the yardstick, and the median ratio of one unit, over pairs measured in turn."""
    mine: list[dict[str, float]] = []
    others: list[dict[str, float]] = []
    for pair in range(1, pairs + 1):
        if theirs:
            others.append(measure(theirs))
        mine.append(measure(ours))
        if mine[-1]["not_200"]:
            raise SystemExit(f"{mine[-1]['not_200']:.0f} requests were not answered with 200")
        shown = [f"{name} {mine[-1][name]:.1f}" for name in dict.fromkeys((unit, "p50_ms", "p95_ms", "p99_ms"))]
        beside = f", yardstick {others[-1][unit]:.1f}" if theirs else ""
        print(f"{told}, pair {pair}: {' '.join(shown)}{beside}, load {os.getloadavg()[0]:.1f}", flush=True)

    def medians(of: list[dict[str, float]]) -> dict[str, float]:
        return {name: statistics.median(each[name] for each in of) for name in of[0]} if of else {}

    ratios = [one[unit] / other[unit] for one, other in zip(mine, others, strict=False)]
    return medians(mine), medians(others), statistics.median(ratios) if ratios else float("nan")


def start_and_memory(environment: dict[str, str], scratch: Path, requests: Path, url: str) -> None:
    """How much later than an empty service ours is ready, how slow its first request is, and its workers' memory."""
    (scratch / "empty_service.py").write_text(EMPTY_SERVICE)
    seconds: dict[str, list[float]] = {".": [], "empty_service:Empty": []}
    for _ in range(3):
        for target, found in seconds.items():
            started = time.perf_counter()
            with service(environment, scratch, target, workers=1):
                found.append(time.perf_counter() - started)
    ours, empty = (statistics.median(found) for found in seconds.values())
    print(f"ready after {ours:.2f} s, an empty service that imports torch after {empty:.2f} s: {ours - empty:+.2f} s")
    lines = [line.partition("\t") for line in requests.read_text().splitlines()[:200]]
    firsts, medians = [], []
    for _ in range(3):
        with service(environment, scratch, workers=1) as fresh, httpx.Client(base_url=fresh) as client:
            client.get("/readyz")
            times = []
            for user_id, _, body in lines:
                started = time.perf_counter()
                client.post(f"/recommend/u{user_id}", content=body, headers={"content-type": "application/json"})
                times.append((time.perf_counter() - started) * 1e3)
            firsts.append(times[0])
            medians.append(statistics.median(times))
    print(f"first request {statistics.median(firsts):.1f} ms, median {statistics.median(medians):.1f} ms")
    workers = ", ".join(f"{resident_mib:.0f} MiB" for resident_mib in workers_mib(url))
    print(f"resident memory of the workers after all of it: {workers}")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--pairs", type=int, default=5)
    arguments.add_argument("--seconds", type=int, default=12, help="of one saturated run")
    arguments.add_argument("--latency-pairs", type=int, default=5)
    arguments.add_argument("--latency-seconds", type=int, default=60, help="of one run at a constant rate")
    asked = arguments.parse_args()
    if not BENCH.exists():
        raise SystemExit(f"{BENCH} is absent: there is nothing to measure with")
    require("wrk")
    with tempfile.TemporaryDirectory(prefix="hexbite-bench-") as folder, contextlib.ExitStack() as stack:
        scratch = Path(folder)
        world, environment = stack.enter_context(site(scratch))
        mixes = {}
        for name, options in MIXES.items():
            mixes[name] = scratch / f"{name.replace(' ', '-')}.tsv"
            subprocess.run(
                [sys.executable, str(BENCH / "make_requests.py"), str(world), str(mixes[name]), *options], check=True
            )
        theirs = None
        try:
            require("redis-server")
            theirs = stack.enter_context(yardstick(world, scratch))
        except SystemExit as missing:
            print(f"no yardstick: {missing}")
        ours = stack.enter_context(service(environment, scratch))
        for name, requests in mixes.items():
            print(f"{name}: {judge('check_answers.py', ours, ROUTE, str(requests), str(world), '--most', '100')}")

        results = {
            name: in_turn(
                name,
                asked.pairs,
                lambda url, requests=mixes[name]: saturate(url, requests, asked.seconds),  # type: ignore[misc]  # the default binds this mix
                ours,
                theirs if name != "no candidates" else None,
                "requests_per_s",
            )
            for name in mixes
        }
        first = mixes["1,000 candidates"]
        if asked.latency_pairs:
            slow, slow_yardstick, ratio = in_turn(
                "30 requests/s",
                asked.latency_pairs,
                lambda url: open_loop(url, first, 30, asked.latency_seconds),
                ours,
                theirs,
                "p95_ms",
            )
            fast = open_loop(ours, first, 300, asked.latency_seconds)
            for name in ("p50_ms", "p95_ms", "p99_ms"):
                beside = slow_yardstick.get(name, float("nan"))
                print(f"at 30/s {name} {slow[name]:.2f}, yardstick {beside:.2f}, a {beside / slow[name]:.1f}th")
            print(f"at 300/s p50_ms {fast['p50_ms']:.2f} p95_ms {fast['p95_ms']:.2f} p99_ms {fast['p99_ms']:.2f}")
        start_and_memory(environment, scratch, first, ours)
        in_range, in_range_yardstick, in_range_ratio = results["200 in range"]
        print(
            f"200 in range: {in_range['requests_per_s']:.0f} requests/s, yardstick "
            f"{in_range_yardstick.get('requests_per_s', float('nan')):.0f}, {in_range_ratio:.2f} times"
        )
        saturated, saturated_yardstick, ratio = results["1,000 candidates"]
        print(
            f"serving_ratio {ratio:.2f} requests_per_s {saturated['requests_per_s']:.1f} "
            f"yardstick_requests_per_s {saturated_yardstick.get('requests_per_s', float('nan')):.1f} "
            f"p50_ms {saturated['p50_ms']:.2f} p95_ms {saturated['p95_ms']:.2f} p99_ms {saturated['p99_ms']:.2f}"
        )


if __name__ == "__main__":
    main()
