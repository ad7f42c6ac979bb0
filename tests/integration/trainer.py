"""The trainer's commands in this process, as a person types them: torch and BentoML are loaded once for many."""

import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import bentoml
import polars as pl
import pytest
from bentoml._internal.models import ModelStore

from hexbite.console import run
from training.__main__ import app

USERS, RESTAURANTS, REQUESTS = "user_features.parquet", "restaurant_features.parquet", "requests.parquet"


class Finished(NamedTuple):
    """What a command said, and how it ended."""

    stdout: str
    stderr: str
    status: int


class Trainer:
    """Commands with a model store of their own."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = home
        monkeypatch.setenv("BENTOML_HOME", str(home))
        # BentoML itself has read it once and for all.
        monkeypatch.setattr(bentoml.models, "get", ModelStore(str(home / "models")).get)

    def __call__(self, *arguments: str | Path, status: int = 0) -> Finished:
        """Run ``python -m training`` with them; it must end with ``status``."""
        command = [str(argument) for argument in arguments]
        stdout, stderr, ended = StringIO(), StringIO(), 0
        before = sys.argv
        sys.argv = ["training", *command]  # a report tells what was typed
        try:
            with redirect_stdout(stdout), redirect_stderr(stderr):
                run(lambda: app(command, prog_name="training"))
        except SystemExit as exit_:
            ended = int(exit_.code or 0)
        finally:
            sys.argv = before
        finished = Finished(stdout.getvalue(), stderr.getvalue(), ended)
        assert ended == status, finished.stdout + finished.stderr
        return finished

    def refused(self, *arguments: str | Path) -> str:
        """The error that a command ends with, one line or more, without what only progress says."""
        stderr = self(*arguments, status=1).stderr
        assert "Traceback" not in stderr
        _, begins, said = stderr.rpartition("error: ")
        assert begins
        return f"{begins}{said}".rstrip("\n")

    def folder(self, tag: str) -> Path:
        """Where a model lies."""
        return self.home / "models" / tag.replace(":", "/")

    def train(self, data: Path, *arguments: str | Path) -> tuple[Finished, Path]:
        """Train for one epoch; what was said, and the model's folder."""
        checkpoint = ("--checkpoint", self.home / "run.safetensors")
        finished = self("train", "--data", data, "--epochs", "1", *checkpoint, *arguments)
        return finished, self.folder(finished.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("store")
        (home / "models").mkdir()
        yield Trainer(home, patch)


def change(path: Path, **columns: Any) -> None:
    """Columns of a parquet file set anew."""
    pl.read_parquet(path).with_columns(**columns).write_parquet(path)


def change_train(folder: Path, rewrite: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    """Every train file of a data folder rewritten."""
    for path in (folder / "train").glob("*.parquet"):
        rewrite(pl.read_parquet(path)).write_parquet(path)
