"""Seconds to draw the world with five million click rows; the figure is in the last line.

python -m tests.benchmarks.bench_synthetic [--clicks N]
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

from data.synthetic import Sizes, write_world


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--clicks", type=int, default=5_000_000)
    asked = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="hexbite-bench-") as scratch:
        started = time.perf_counter()
        write_world(Path(scratch) / "world", Sizes(1_000_000, 100_000, asked.clicks, 100_000, 1_000), seed=0)
        seconds = time.perf_counter() - started
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{asked.clicks:,} click rows in {seconds:.1f} s, peak memory {peak_gib:.2f} GiB")


if __name__ == "__main__":
    main()
