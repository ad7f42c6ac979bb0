"""Rows per second of an epoch, beside the task's own loop in turn; medians in the last line.

    python -m tests.benchmarks.bench_training [--pairs N] [--files N]

The yardstick is ../shared/baseline/seed_trainer.py, which is no part of the project.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from data.synthetic import ROWS_PER_FILE, Sizes, write_world

ROOT = Path(__file__).parents[2]
YARDSTICK = ROOT.parent / "shared" / "baseline" / "seed_trainer.py"


def measure(command: list[str], environment: dict[str, str], pattern: str) -> tuple[float, float]:
    """Rows per second as the program itself says, and its peak memory in GiB."""
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as running:
        assert running.stdout is not None
        printed = running.stdout.read()
        _, status, usage = os.wait4(running.pid, 0)
        running.returncode = os.waitstatus_to_exitcode(status)
    found = re.search(pattern, printed)
    if running.returncode or found is None:
        raise SystemExit(f"{command} failed:\n{printed}")
    return float(found[1].replace(",", "")), usage.ru_maxrss / 2**20


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--pairs", type=int, default=5)
    arguments.add_argument("--files", type=int, default=4, help=f"of {ROWS_PER_FILE:,} rows each")
    asked = arguments.parse_args()
    if not YARDSTICK.exists():
        raise SystemExit(f"{YARDSTICK} is absent: there is nothing to compare with")
    with tempfile.TemporaryDirectory(prefix="hexbite-bench-") as scratch:
        world = Path(scratch) / "world"
        write_world(world, Sizes(1_000_000, 100_000, asked.files * ROWS_PER_FILE, 1_000, 0), seed=7)
        environment = os.environ | {"BENTOML_HOME": str(Path(scratch) / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
        ours = [sys.executable, "-m", "training", "train", "--data", str(world), "--epochs", "1", "--holdout", "0"]
        theirs = [sys.executable, str(YARDSTICK), str(world)]
        ratios, rates, yardsticks, peaks = [], [], [], []
        for pair in range(1, asked.pairs + 1):
            yardstick, _ = measure(theirs, environment, r"rows_per_s (\d+)")
            rate, peak = measure(ours, environment, r"([\d,]+) rows/s")
            print(
                f"pair {pair}: {rate:,.0f} rows/s, yardstick {yardstick:,.0f}, load {os.getloadavg()[0]:.1f}",
                flush=True,
            )
            ratios.append(rate / yardstick)
            rates.append(rate)
            yardsticks.append(yardstick)
            peaks.append(peak)
    print(
        f"training_ratio {statistics.median(ratios):.2f} rows_per_s {statistics.median(rates):.0f} "
        f"yardstick_rows_per_s {statistics.median(yardsticks):.0f} peak_rss_gib {max(peaks):.2f}"
    )


if __name__ == "__main__":
    main()
