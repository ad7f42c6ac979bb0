"""Twice as many requests as the service can answer, for a minute: what is answered, what is refused, how fast.

    python -m tests.benchmarks.bench_overload [--seconds N]

Capacity is what eight connections get that ask again as soon as they are answered, before and after. The load has a
constant rate whatever the service does, and its latency counts from the moment at which a request was due.
"""

import argparse
import os
import re
import tempfile
import time
from pathlib import Path

import httpx

from tests.benchmarks.servers import BENCH, ROUTE, figures, judge, require, saturate, service, site, workers_mib


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--seconds", type=int, default=60)
    asked = arguments.parse_args()
    if not BENCH.exists():
        raise SystemExit(f"{BENCH} is absent: there is nothing to measure with")
    require("wrk")
    with tempfile.TemporaryDirectory(prefix="hexbite-bench-") as folder:
        scratch = Path(folder)
        with site(scratch) as (world, environment), service(environment, scratch) as url:
            requests = scratch / "requests.tsv"
            judge("make_requests.py", str(world), str(requests))
            overload(url, requests, asked.seconds)


def overload(url: str, requests: Path, seconds: int) -> None:
    saturate(url, requests, 5)
    before = saturate(url, requests, 12)["requests_per_s"]
    memory_mib = sum(workers_mib(url))
    rate = round(2 * before)
    line = judge("open_loop.py", url, ROUTE, str(requests), "--rps", str(rate), "--seconds", str(seconds))
    print(f"{rate} requests/s for {seconds} s: {line}, load {os.getloadavg()[0]:.1f}", flush=True)
    # At once: the very next second.
    ended = time.monotonic()
    statuses = []
    with httpx.Client(base_url=url) as client:
        user_id, _, body = requests.read_text().partition("\n")[0].partition("\t")
        while time.monotonic() - ended < 1:
            answer = client.post(ROUTE % int(user_id), content=body, headers={"content-type": "application/json"})
            statuses.append(answer.status_code)
    grown_mib = sum(workers_mib(url)) - memory_mib
    after = saturate(url, requests, 12)["requests_per_s"]
    found = figures(line)
    refused = sum(int(count) for count in re.findall(r"(?:503|429): (\d+)", line))
    answered = int((re.findall(r"[{ ]200: (\d+)", line) or ["0"])[0])
    print(f"the second after it: {statuses.count(200)} of {len(statuses)} answered; {after:.0f} requests/s saturated")
    print(
        f"goodput_ratio {found['good_per_s'] / ((before + after) / 2):.2f} capacity_per_s {before:.0f} "
        f"good_per_s {found['good_per_s']:.0f} p99_ms {found['p99_ms']:.0f} refused_p99_ms "
        f"{found.get('refused_p99_ms', float('nan')):.0f} neither {rate * seconds - refused - answered} "
        f"grown_mib {grown_mib:.0f} client_late_ms {found['client_late_ms']:.0f}"
    )


if __name__ == "__main__":
    main()
