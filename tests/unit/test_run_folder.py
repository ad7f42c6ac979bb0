"""The folder of a run, which somebody cleans while the run goes on."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bento.process.run import Keeper
from bento.telemetry.files import restore


def clean_all(folder: Path) -> None:
    shutil.rmtree(folder)


def clean_files(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "hexbite-run"
    made.mkdir()
    return made


@pytest.mark.parametrize("clean", [clean_all, clean_files])
def test_what_a_process_goes_on_writing_comes_back_as_it_is_by_then(
    folder: Path, clean: Callable[[Path], None]
) -> None:
    with (folder / "counter_7.db").open("w+b", buffering=0) as counted, (folder / "other.txt").open("wb"):
        counted.write(b"one")
        restore(folder, [os.getpid()])
        clean(folder)
        counted.write(b", two")
        restore(folder, [os.getpid(), 2**22])  # the other is no process
        assert [file.name for file in folder.iterdir()] == ["counter_7.db"]
        assert (folder / "counter_7.db").read_bytes() == b"one, two"
        counted.write(b", three")
        restore(folder, [os.getpid()])
        assert (folder / "counter_7.db").read_bytes() == b"one, two, three"


@pytest.mark.parametrize("clean", [clean_all, clean_files])
def test_what_was_settled_last_comes_back(folder: Path, clean: Callable[[Path], None]) -> None:
    keeper = Keeper(folder)
    for settled in (b"[1]", b"[2]"):
        (folder / "models.json").write_bytes(settled)
        keeper.keep([])
    clean(folder)
    keeper.keep([])
    assert (folder / "models.json").read_bytes() == b"[2]"
    assert folder.stat().st_mode & 0o077 == 0 or clean is clean_files
