"""Seconds to load a million users and 100,000 restaurants into an empty store; the figure is in the last line.

python -m tests.benchmarks.bench_load [--users N] [--restaurants N]
"""

import argparse
import tempfile
import time
from pathlib import Path

from data.synthetic import Sizes, write_world
from db.embedded import EmbeddedServer
from db.loading.load import load
from db.migrate import downgrade, upgrade


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--users", type=int, default=1_000_000)
    arguments.add_argument("--restaurants", type=int, default=100_000)
    asked = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="hexbite-bench-") as scratch:
        folder = Path(scratch) / "world"
        write_world(folder, Sizes(asked.users, asked.restaurants, 1_000, 1_000, 0), seed=0)
        server = EmbeddedServer(Path(scratch) / "home")
        dsn = server.ensure_running()
        try:
            seconds = {}
            upgrade(dsn)
            for name in ("empty", "unchanged"):
                started = time.perf_counter()
                load(dsn, folder)
                seconds[name] = time.perf_counter() - started
            downgrade(dsn, "base")
        finally:
            server.stop()
    print(
        f"{asked.users:,} users and {asked.restaurants:,} restaurants: {seconds['empty']:.1f} s into an empty store, "
        f"{seconds['unchanged']:.1f} s unchanged"
    )


if __name__ == "__main__":
    main()
