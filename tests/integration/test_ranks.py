"""Several processes train the model that one would."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from data.synthetic import Sizes, write_world
from hexbite.artifact import Artifact

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks") / "world"
    # Seven files for two ranks: shares of a batch are uneven.
    write_world(folder, Sizes(300, 200, 70_001, 100, 10), seed=3, files=7)
    return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    home = tmp_path_factory.mktemp("store")
    return os.environ | {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True", "OMP_NUM_THREADS": "1"}


def train(environment: Mapping[str, str], world: Path, *arguments: str, ranks: int) -> Artifact:
    launcher = [] if ranks == 1 else ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    command = [sys.executable, *launcher, "-m", "training", "train", "--data", str(world), "--precision", "float64"]
    for _ in range(2):
        finished = subprocess.run([*command, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)
        # Once in some forty runs gloo aborted a rank; the cause is not known. Anything else fails at once.
        if "SIGABRT" not in finished.stderr:
            break
    assert finished.returncode == 0, finished.stderr
    # Only the first rank speaks.
    assert finished.stdout.count("rows to train on") == 1
    assert finished.stderr.count('{"event": "done", "doing": "epoch 2/2"') == 1
    (tag,) = [line for line in finished.stdout.splitlines() if line.startswith("hexbite:")]
    name, version = tag.split(":")
    return Artifact.load(Path(environment["BENTOML_HOME"]) / "models" / name / version)


@pytest.mark.parametrize("model", ["ranknet", "dcn"])
def test_two_processes_agree_with_one_to_1e_9(environment: Mapping[str, str], world: Path, model: str) -> None:
    arguments = ("--model", model, "--epochs", "2", "--validations", "2", "--window-rows", "25000")
    alone = train(environment, world, *arguments, ranks=1)
    together = train(environment, world, *arguments, ranks=2)
    for name, tensor in alone.ranker.tensors().items():
        torch.testing.assert_close(together.ranker.tensors()[name], tensor, rtol=0, atol=1e-9)
    assert together.training["ranks"] == 2
    ours, theirs = (artifact.metrics["validations"] for artifact in (together, alone))
    assert len(ours) == len(theirs) == 4
    for one, other in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other, abs=1e-9)
