"""A disk that fills while a model or a checkpoint is saved: an error, and what was stored is as it was."""

import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bentoml
import numpy as np
import pytest
import torch
from bentoml._internal.models import ModelStore

from hexbite.artifact import Artifact
from hexbite.errors import ModelStoreError, TrainingError
from hexbite.features import FeatureSchema
from hexbite.networks import RankNet
from hexbite.ranker import Ranker
from training import store
from training.learning.checkpoint import Checkpoint

PAGES = {"report.html": b"x" * 200_000}


@pytest.fixture
def models(tmp_path: Path, monkeypatch: Any) -> Path:
    """An empty model store."""
    folder = tmp_path / "home" / "models"
    use(monkeypatch, folder)
    return folder


def use(monkeypatch: Any, folder: Path) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(folder.parent))
    # BentoML itself has read it at its import.
    monkeypatch.setattr(bentoml.models, "get", ModelStore(str(folder)).get)


def artifact(seed: int) -> Artifact:
    torch.manual_seed(seed)
    schema = FeatureSchema.from_names(["a"] + [f"b{number}" for number in range(40)], ["c"])
    ranker = Ranker.fold(RankNet(schema.width), np.zeros(schema.width), np.ones(schema.width))
    return Artifact(schema, ranker, np.zeros(41, np.float32), np.zeros(1, np.float32), {"seed": seed})


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """Writes beyond it fail, as on a full disk, with another number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("size", [0, 100, 20_000, 100_000])
def test_a_model_that_cannot_be_written_whole_is_not_there_at_all(models: Path, size: int) -> None:
    with no_file_larger_than(size), pytest.raises(ModelStoreError, match="cannot be stored as 'hexbite'"):
        store.save(artifact(0), name="hexbite", pages=PAGES)
    assert everything(models.parent) == {}
    tag = store.save(artifact(1), name="hexbite", pages=PAGES)
    before = everything(models.parent)
    with no_file_larger_than(size), pytest.raises(ModelStoreError, match="cannot be stored as 'hexbite'"):
        store.save(artifact(2), name="hexbite", pages=PAGES)
    assert everything(models.parent) == before
    found, loaded = store.load("hexbite:latest")
    assert (found, loaded.training["seed"]) == (tag, 1)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 400 KiB: room for one model, not for two."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system, which takes root: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full_keeps_the_model_that_it_has(small_disk: Path, monkeypatch: Any) -> None:
    models = small_disk / "models"
    use(monkeypatch, models)
    tag = store.save(artifact(1), name="hexbite", pages=PAGES)
    with pytest.raises(ModelStoreError, match="No space left on device"):
        store.save(artifact(2), name="hexbite", pages=PAGES)
    found, loaded = store.load("hexbite:latest")
    assert (found, loaded.training["seed"]) == (tag, 1)
    assert [str(model.tag) for model in ModelStore(str(models)).list()] == [tag]
    assert {path.name for path in small_disk.iterdir()} == {"models"}


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "checkpoints" / "run.safetensors", 0, {"seed": 1})
    checkpoint.save({"parameters": torch.arange(10_000.0)}, {"step": 1})
    for size in (0, 10_000):
        with no_file_larger_than(size), pytest.raises(TrainingError, match=r"run\.safetensors cannot be written"):
            checkpoint.save({"parameters": torch.zeros(10_000)}, {"step": 2})
    loaded = checkpoint.load()
    assert loaded is not None
    assert loaded[1] == {"step": 1}
    assert torch.equal(loaded[0]["parameters"], torch.arange(10_000.0))
    assert [path.name for path in checkpoint.path.parent.iterdir()] == ["run.safetensors"]
