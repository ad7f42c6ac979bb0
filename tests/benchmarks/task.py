"""The whole task: 80 files, 50 million rows, 5 epochs, 5 million test rows, beside the drawn world's own ceiling.

    python -m tests.benchmarks.task [--data DIR]

Run twice: as Hexbite trains, and to the task's letter, with a learning rate of 1e-8. DIR keeps the world.
"""

import argparse
import json
import os
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from data.synthetic import Sizes, write_world
from tests.benchmarks.programs import ROOT, Finished, run

SIZES = Sizes(users=1_000_000, restaurants=100_000, clicks=50_000_000, test_clicks=5_000_000, requests=10_000)
SEED = 7

RUNS = {
    "Hexbite": [],
    "the task's letter": ["--learning-rate", "1e-8", "--schedule", "constant"],
}


def seconds_an_epoch(trained: Finished, rows: int) -> list[float]:
    return [rows / float(rate.replace(",", "")) for rate in re.findall(r"([\d,]+) rows/s", trained.printed)]


def train_and_evaluate(world: Path, scratch: Path, options: list[str]) -> tuple[Finished, dict[str, Any], float]:
    environment = os.environ | {"BENTOML_HOME": str(scratch / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    command = [sys.executable, "-m", "training"]
    checkpoint = ["--checkpoint", str(scratch / "run.safetensors")]
    started = time.perf_counter()
    trained = run([*command, "train", "--data", str(world), *checkpoint, *options], environment)
    seconds = time.perf_counter() - started
    figures = scratch / "figures.json"
    run([*command, "evaluate", "--data", str(world), "--json", str(figures)], environment)
    return trained, json.loads(figures.read_text())["clicks"], seconds


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--data", type=Path, default=ROOT / "data" / "task")
    world: Path = arguments.parse_args().data
    drawn = world / "world.json"
    if not drawn.exists() or json.loads(drawn.read_text())["sizes"]["clicks"] != SIZES.clicks:
        write_world(world, SIZES, seed=SEED)
    ceiling = json.loads(drawn.read_text())["ceiling"]

    table = Table(title="50,000,000 rows, 5 epochs; figures of 5,000,000 test rows", title_justify="left")
    for column in ("", "accuracy", "AUC", "log loss", "s an epoch", "s in all", "peak GiB", "load"):
        table.add_column(column, justify="left" if not column else "right")
    of_ceiling = (f"{ceiling[name]:.4f}" for name in ("accuracy", "auc", "log_loss"))
    table.add_row("ceiling", *of_ceiling, "", "", "", "")
    for name, options in RUNS.items():
        with tempfile.TemporaryDirectory(prefix="hexbite-task-") as scratch:
            trained, figures, seconds = train_and_evaluate(world, Path(scratch), options)
        epochs = seconds_an_epoch(trained, round(SIZES.clicks * 0.98))
        print(f"{name}: epochs of {', '.join(f'{one:.1f}' for one in epochs)} s", flush=True)
        means = figures["means"]["model"]
        table.add_row(
            name,
            f"{means['accuracy']:.4f}",
            f"{figures['auc']['model']['value']:.4f}",
            f"{means['log_loss']:.4f}",
            f"{statistics.median(epochs):.1f}",
            f"{seconds:.0f}",
            f"{trained.peak_rss_gib:.2f}",
            f"{os.getloadavg()[0]:.1f}",
        )
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
