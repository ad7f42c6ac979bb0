"""A run that was stopped, gently or not, ends in the weights of one that was not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from data.synthetic import Sizes, write_world
from hexbite.errors import Interrupted, TrainingError
from tests.integration.trainer import Trainer
from tests.integration.trainer import trainer as trainer
from training.learning.checkpoint import Checkpoint
from training.learning.history import Validation
from training.learning.loop import Trained, train
from training.learning.ranks import Ranks
from training.reading.clicks import ClickFiles
from training.reading.rows import FeatureRows
from training.reading.survey import Split, survey
from training.reading.tables import read_tables
from training.settings import Settings

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resume") / "world"
    write_world(folder, Sizes(300, 200, 30_000, 100, 10), seed=3, files=3)
    return folder


def fit(
    folder: Path, path: Path, *, stop_at: int = 0, resume: bool = False, every: int = 0, **settings: Any
) -> Trained:
    """Train; SIGTERM comes with the validation after step ``stop_at``."""
    # A batch of a size that no cache line divides: where a batch lies in memory then differs from batch to batch.
    chosen = Settings(
        **{"epochs": 3, "holdout": 0.1, "batch_size": 101, "validations": 5, "window_rows": 8_000} | settings
    )
    split = Split(ClickFiles(folder, "train", read_tables(folder)), chosen.holdout, 0, chosen.seed)
    found = survey(split)
    rows = FeatureRows(split.files.tables, found.standardisation, torch.device("cpu"))

    def report(validation: Validation) -> None:
        if stop_at and validation.step >= stop_at:
            os.kill(os.getpid(), signal.SIGTERM)

    checkpoint = Checkpoint(path, every, {"seed": chosen.seed})
    return train(split, found, rows, chosen, ranks=Ranks(), checkpoint=checkpoint, resume=resume, report=report)


def assert_same(one: Trained, other: Trained) -> None:
    for name, tensor in one.network.state_dict().items():
        assert torch.equal(tensor, other.network.state_dict()[name]), name
    mine, theirs = one.history, other.history
    assert [validation.figures for validation in mine.validations] == [other.figures for other in theirs.validations]
    assert mine.totals.loss == pytest.approx(theirs.totals.loss, rel=1e-6)
    assert mine.step == theirs.step


@pytest.mark.parametrize(
    ("model", "stop_at"), [*(("ranknet", step) for step in (1, 100, 267, 500)), ("mlp", 100), ("dcn", 267)]
)
def test_sigterm_and_resume_end_in_the_same_bits(world: Path, tmp_path: Path, model: str, stop_at: int) -> None:
    path = tmp_path / "run.safetensors"
    with pytest.raises(Interrupted) as stopped:
        fit(world, path, stop_at=stop_at, model=model)
    assert stopped.value.step >= stop_at
    assert "--resume goes on from" in str(stopped.value)
    assert_same(fit(world, path, resume=True, model=model), fit(world, tmp_path / "other", model=model))


def test_a_run_can_be_stopped_many_times(world: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    settings = {"schedule": "linear", "warmup_steps": 50, "clip_norm": 0.05}
    for stop_at in (60, 200, 400, 700):
        with pytest.raises(Interrupted):
            fit(world, path, stop_at=stop_at, resume=True, **settings)
    assert_same(fit(world, path, resume=True, **settings), fit(world, tmp_path / "other", **settings))


def test_checkpoints_come_every_so_many_steps_and_change_nothing(world: Path, tmp_path: Path, monkeypatch: Any) -> None:
    steps = []
    save = Checkpoint.save

    def noted(self: Checkpoint, tensors: Any, history: Any) -> None:
        steps.append(history["step"])
        save(self, tensors, history)

    monkeypatch.setattr(Checkpoint, "save", noted)
    path = tmp_path / "run.safetensors"
    with_them = fit(world, path, every=77)
    assert steps == list(range(77, with_them.history.step + 1, 77))
    assert_same(with_them, fit(world, tmp_path / "other"))
    # What the last of them left leads to the same end.
    assert_same(fit(world, path, resume=True), with_them)


def test_patience_ends_a_run_early_and_the_best_weights_are_kept(world: Path, tmp_path: Path) -> None:
    # A rate at which the loss soon gets worse.
    stopped = fit(world, tmp_path / "run", epochs=20, patience=3, learning_rate=0.05, schedule="constant", seed=1)
    losses = [validation.figures["log_loss"] or 0.0 for validation in stopped.history.validations]
    assert len(losses) < 100
    best = losses.index(min(losses))
    assert len(losses) - 1 - best == 3
    assert stopped.history.best == stopped.history.validations[best]
    ended_there = fit(world, tmp_path / "other", epochs=20, learning_rate=0.05, schedule="constant", seed=1, patience=1)
    assert len(ended_there.history.validations) <= len(losses)


def test_a_checkpoint_of_another_run_or_a_damaged_one_is_refused(world: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    with pytest.raises(Interrupted):
        fit(world, path, stop_at=1)
    with pytest.raises(TrainingError, match="of another run: seed was 0, is 1"):
        fit(world, path, resume=True, seed=1)
    path.write_bytes(path.read_bytes()[:1_000])
    with pytest.raises(TrainingError, match="no checkpoint, or a damaged one"):
        fit(world, path, resume=True)


def test_a_loss_that_is_no_number_ends_the_run(world: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"the loss became .* by step .*smaller --learning-rate"):
        fit(world, tmp_path / "run", learning_rate=1e30)


def weights(trainer: Trainer, printed: str) -> dict[str, torch.Tensor]:
    return load_file(trainer.folder(printed.split()[-1]) / "ranker.safetensors")


@pytest.fixture(scope="module")
def whole(world: Path, trainer: Trainer) -> dict[str, torch.Tensor]:
    """What a command leaves that was never ended."""
    return weights(trainer, trainer("train", "--data", world, "--epochs", "60", "--name", "whole").stdout)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_command_that_was_ended_goes_on_where_it_was(
    world: Path, whole: dict[str, torch.Tensor], trainer: Trainer, tmp_path: Path, number: signal.Signals
) -> None:
    path = tmp_path / "run.safetensors"
    arguments = ["train", "--data", str(world), "--epochs", "60", "--name", f"ended{number}"]
    arguments += ["--checkpoint", str(path), "--checkpoint-every", "40"]
    running = subprocess.Popen(
        [sys.executable, "-m", "training", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not path.exists():
        assert running.poll() is None, running.communicate()
        time.sleep(0.005)
    running.send_signal(number)
    _, told = running.communicate(timeout=60)
    assert running.returncode == (143 if number == signal.SIGTERM else -number)
    assert ("--resume goes on from" in told) == (number == signal.SIGTERM)
    assert "Traceback" not in told
    assert not (trainer.home / "models" / f"ended{number}").exists()

    resumed = trainer(*arguments, "--resume").stdout
    assert "epoch 1/60" not in resumed
    ours = weights(trainer, resumed)
    assert all(torch.equal(ours[name], tensor) for name, tensor in whole.items())
    assert not path.exists()
