"""What would fail at the end is told before anything is read: the data folder of these commands does not exist."""

from pathlib import Path
from typing import Any

import pytest

from tests.integration.trainer import Trainer
from tests.integration.trainer import trainer as trainer

NOWHERE = Path("/nowhere")


@pytest.mark.parametrize(
    "name",
    ["", "Bad Name!", "a/b", "../a", "a:b", "hexbite:latest", "-a", "a-", ".a", "a_", "é", "x" * 64, "a\n", "a b"],
)
@pytest.mark.parametrize("command", [("train", "--data", "/nowhere"), ("publish", "none:latest")])
def test_a_name_that_the_store_refuses(trainer: Trainer, command: tuple[str, ...], name: str) -> None:
    told = trainer.refused(*command, f"--name={name}")
    assert f"{name!r} can be no model's name: BentoML takes up to 63 of a-z" in told


@pytest.mark.parametrize("name", ["a", "a.b_c-d", "9", "x" * 63])
def test_a_name_that_the_store_takes(trainer: Trainer, name: str) -> None:
    assert "is no folder" in trainer.refused("train", "--data", NOWHERE, "--name", name)


@pytest.mark.parametrize(
    ("path", "said"), [("", "it is a folder"), ("file/run", "file cannot be written"), ("/proc/a/run", "/proc")]
)
def test_a_checkpoint_that_cannot_be_kept(trainer: Trainer, tmp_path: Path, path: str, said: str) -> None:
    (tmp_path / "file").touch()
    told = trainer.refused("train", "--data", NOWHERE, "--checkpoint", tmp_path / path)
    assert "cannot be kept" in told and said in told and "--checkpoint" in told


def test_a_store_that_takes_no_models(trainer: Trainer, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "models").touch()
    for home in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "home", "/proc/bentoml"):
        monkeypatch.setenv("BENTOML_HOME", str(home))
        for command in (("train", "--data", NOWHERE), ("publish", "none:latest")):
            told = trainer.refused(*command)
            assert "no model can be stored" in told and "BENTOML_HOME" in told


@pytest.mark.parametrize("command", [("evaluate", "--json"), ("score", "--pairs", "/nowhere/pairs.parquet", "--out")])
def test_a_file_that_cannot_be_written(trainer: Trainer, tmp_path: Path, command: tuple[str, ...]) -> None:
    name, *options = command
    for out in (tmp_path, tmp_path / "none" / "out", "/proc/out"):
        told = trainer.refused(name, "--data", NOWHERE, *options, out)
        assert str(out) in told and ("is a folder" in told or "cannot be written" in told or "does not exist" in told)


@pytest.mark.parametrize("tag", ["none:latest", "none", "Bad Tag", "a:", ":a", "a:b:c", ""])
@pytest.mark.parametrize(
    "command", [("evaluate",), ("score", "--pairs", "/nowhere/pairs.parquet", "--out", "/tmp/out")]
)
def test_a_model_that_is_not_there(trainer: Trainer, command: tuple[str, ...], tag: str) -> None:
    told = trainer.refused(command[0], "--data", NOWHERE, *command[1:], f"--model={tag}")
    assert f"the model store has no {tag!r}" in told


@pytest.mark.parametrize(
    ("option", "value", "status"),
    [
        ("--learning-rate", "inf", 1),
        ("--clip-norm", "inf", 1),
        # What is beyond an option's bounds is refused as every wrong option is.
        ("--learning-rate", "nan", 2),
        ("--clip-norm", "nan", 2),
        ("--holdout", "nan", 2),
        ("--holdout", "inf", 2),
    ],
)
def test_a_setting_that_could_not_be_recorded(trainer: Trainer, option: str, value: str, status: int) -> None:
    told = trainer("train", "--data", NOWHERE, option, value, status=status).stderr
    assert option in told and "nowhere" not in told


def test_a_seed_that_torch_does_not_take(trainer: Trainer) -> None:
    assert "--seed" in trainer("train", "--data", NOWHERE, "--seed", str(2**63), status=2).stderr
