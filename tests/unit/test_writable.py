"""What can be written is known beforehand, and asking changes nothing."""

import os
import resource
import signal
from pathlib import Path

import pytest

from training.writable import file_fault, folder_fault


def everything(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize("path", ["new.json", "kept.json", "to_kept.json", "to_nothing.json", "/dev/null"])
def test_a_file_that_can_be_written_has_no_fault_and_is_as_before(tmp_path: Path, path: str) -> None:
    (tmp_path / "kept.json").write_text("kept")
    (tmp_path / "to_kept.json").symlink_to("kept.json")
    (tmp_path / "to_nothing.json").symlink_to("nothing.json")
    before = everything(tmp_path)
    assert file_fault(tmp_path / path) == ""
    assert everything(tmp_path) == before


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("", "is a folder"),
        ("folder", "is a folder"),
        ("none/figures.json", "its folder does not exist"),
        ("file/figures.json", "its folder does not exist"),
        ("x" * 300, "cannot be written: File name too long"),
        ("/proc/nobody.json", "cannot be written"),
    ],
)
def test_a_file_that_cannot_be_written_is_told(tmp_path: Path, path: str, said: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    before = everything(tmp_path)
    assert said in file_fault(tmp_path / path)
    assert everything(tmp_path) == before


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert file_fault(tmp_path / "pipe") == ""


@pytest.mark.parametrize("folder", ["", "there", "not/yet/there"])
def test_a_folder_need_not_exist_and_is_not_made(tmp_path: Path, folder: str) -> None:
    (tmp_path / "there").mkdir()
    before = everything(tmp_path)
    assert folder_fault(tmp_path / folder) == ""
    assert everything(tmp_path) == before


@pytest.mark.parametrize("folder", ["file", "file/below", "x" * 300, "/proc/models"])
def test_a_folder_that_takes_no_files_is_told(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").touch()
    assert "cannot be written" in folder_fault(tmp_path / folder)


def test_a_disk_without_room_is_told(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))  # fails as a full disk does, with another number
    try:
        fault = folder_fault(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert "cannot be written" in fault
    assert everything(tmp_path) == {}
