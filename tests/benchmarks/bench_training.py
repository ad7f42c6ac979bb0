"""Rows per second of an epoch, beside the task's own loop in turn; medians in the last line.

    python -m tests.benchmarks.bench_training [--pairs N] [--files N] [--memory-files N]

The yardstick is ../shared/baseline/seed_trainer.py, which is no part of the project. Memory is that of all processes of
a run, with 8 files and with all of them.
"""

import argparse
import os
import re
import statistics
import sys
import tempfile
from pathlib import Path

from data.synthetic import ROWS_PER_FILE, Sizes, write_world
from tests.benchmarks.programs import ROOT, Finished, run

YARDSTICK = ROOT.parent / "shared" / "baseline" / "seed_trainer.py"


def first_files(world: Path, count: int) -> Path:
    """The same world with the first train files only."""
    part = world.parent / f"first_{count}"
    (part / "train").mkdir(parents=True)
    for path in [path for path in world.iterdir() if path.is_file()]:
        (part / path.name).symlink_to(path)
    for path in sorted((world / "train").iterdir())[:count]:
        (part / "train" / path.name).symlink_to(path)
    return part


def rows_per_s(finished: Finished, pattern: str) -> float:
    found = re.search(pattern, finished.printed)
    if found is None:
        raise SystemExit(f"no rows per second in what was printed:\n{finished.printed}")
    return float(found[1].replace(",", ""))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--pairs", type=int, default=5)
    arguments.add_argument("--files", type=int, default=16, help=f"of {ROWS_PER_FILE:,} rows each")
    arguments.add_argument("--memory-files", type=int, default=80, help="of the run that tells the peak memory")
    asked = arguments.parse_args()
    if not YARDSTICK.exists():
        raise SystemExit(f"{YARDSTICK} is absent: there is nothing to compare with")
    with tempfile.TemporaryDirectory(prefix="hexbite-bench-") as scratch:
        world = Path(scratch) / "world"
        files = max(asked.files, asked.memory_files)
        write_world(world, Sizes(1_000_000, 100_000, files * ROWS_PER_FILE, 1_000, 0), seed=7)
        environment = os.environ | {"BENTOML_HOME": str(Path(scratch) / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}

        def train(folder: Path) -> Finished:
            options = ["--epochs", "1", "--holdout", "0", "--checkpoint", f"{scratch}/run.safetensors"]
            command = [sys.executable, "-m", "training", "train", "--data", str(folder), *options]
            return run(command, environment)

        part = first_files(world, asked.files)
        ratios, rates, yardsticks = [], [], []
        for pair in range(1, asked.pairs + 1):
            yardstick = rows_per_s(run([sys.executable, str(YARDSTICK), str(part)], environment), r"rows_per_s (\d+)")
            rate = rows_per_s(train(part), r"([\d,]+) rows/s")
            ratios.append(rate / yardstick)
            rates.append(rate)
            yardsticks.append(yardstick)
            told = f"pair {pair}: {rate:,.0f} rows/s, yardstick {yardstick:,.0f}, {ratios[-1]:.2f} times"
            print(f"{told}, load {os.getloadavg()[0]:.1f}", flush=True)
        few = train(first_files(world, 8)).peak_rss_gib
        peak = train(world).peak_rss_gib
        print(f"peak memory {few:.3f} GiB with 8 files, {peak:.3f} GiB with {files}: {peak / few - 1:+.1%}")
    print(
        f"training_ratio {statistics.median(ratios):.2f} rows_per_s {statistics.median(rates):.0f} "
        f"yardstick_rows_per_s {statistics.median(yardsticks):.0f} peak_rss_gib {peak:.2f}"
    )


if __name__ == "__main__":
    main()
