"""Whether something can be written, asked before the work whose outcome is to go there."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

# About what a model with its report takes.
_ROOM_BYTES: Final = 1 << 20


def file_fault(path: Path) -> str:
    """Why a file cannot be written; empty where it can. Whatever is there stays as it is."""
    try:
        target = path.resolve()
        if target.is_dir():
            return "is a folder; name a file"
        if not target.parent.is_dir():
            return "its folder does not exist; make it first, or name another"
        is_new = not target.exists()
        if is_new or target.is_file():  # a device or a pipe would take being opened for the answer
            target.open("ab").close()
        if is_new:
            target.unlink()
    except OSError as error:
        return f"cannot be written: {error.strerror or error}"
    return ""


def folder_fault(folder: Path) -> str:
    """Why files cannot be put into a folder, which need not exist yet; empty where they can. Nothing is left behind."""
    there = folder
    try:
        while not there.exists():
            there = there.parent
        with tempfile.TemporaryFile(dir=there) as probe:
            probe.write(bytes(_ROOM_BYTES))
            probe.flush()
            os.fsync(probe.fileno())  # some file systems tell only then that they are full
    except OSError as error:
        return f"{there} cannot be written: {error.strerror or error}"
    return ""
