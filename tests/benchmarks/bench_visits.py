"""A drawn past imported, trained on and evaluated: how near does the product come to the best possible ranking?

    python -m tests.benchmarks.bench_visits [--visits N]

The last line has hit@10 and NDCG@10 over every place in reach, beside those of who knew the scores that each visit was
drawn from.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from data.visits import Sizes, write_visits
from tests.benchmarks.programs import run

#: How much of hit@10 the product may lose.
MOST_LOST = 0.02


def measure(sizes: Sizes, scratch: Path, *, seed: int = 0) -> str:
    """Draw, import, train with the defaults, evaluate; the figures in a line."""
    log, data, report = scratch / "log", scratch / "data", scratch / "evaluation.json"
    started = time.perf_counter()
    best = write_visits(log, sizes, seed=seed)["best"]
    environment = os.environ | {"BENTOML_HOME": str(scratch / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    for module, *arguments in (
        ["data", "log", str(log / "map.toml"), str(data)],
        ["training", "train", "--data", str(data), "--checkpoint", str(scratch / "run.safetensors")],
        ["training", "evaluate", "--data", str(data), "--json", str(report)],
    ):
        print(run([sys.executable, "-m", module, *arguments], environment).printed, flush=True)
    ranking = json.loads(report.read_text())["ranking"]
    reached = {name: ranking["model"][name]["value"] for name in ("hit@10", "ndcg@10")}
    told = " ".join(
        f"{name} {value:.4f} best_{name} {best[name]:.4f} lost_{name} {best[name] - value:.4f}"
        for name, value in reached.items()
    )
    popular, nearest = (ranking[name]["hit@10"]["value"] for name in ("most_visited", "nearest"))
    return (
        f"visits {ranking['visits']} {told} most_visited_hit@10 {popular:.4f} nearest_hit@10 {nearest:.4f} "
        f"seconds {time.perf_counter() - started:.0f}"
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--visits", type=int, default=Sizes().visits)
    arguments.add_argument("--seed", type=int, default=0)
    asked = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="hexbite-bench-") as scratch:
        last = measure(replace(Sizes(), visits=asked.visits), Path(scratch), seed=asked.seed)
    print(last)
    words = last.split()
    if float(dict(zip(words[::2], words[1::2], strict=True))["lost_hit@10"]) > MOST_LOST:
        raise SystemExit(f"more than {MOST_LOST} of hit@10 is lost")


if __name__ == "__main__":
    main()
