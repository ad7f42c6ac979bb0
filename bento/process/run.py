"""The folder of one run of the service: what its supervisor settles and all its workers share."""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

_FOLDER: Final = "HEXBITE_RUN_FOLDER"


def folder() -> Path | None:
    """The folder of the run that this process is a worker of; None where it is none."""
    found = os.environ.get(_FOLDER)
    return None if found is None else Path(found)


def make_folder() -> Path:
    """In the supervisor, before it starts workers, which have its environment; gone when the supervisor has ended."""
    made = Path(tempfile.mkdtemp(prefix="hexbite-"))
    os.environ[_FOLDER] = str(made)
    # For as long as this process lives: who cleans the folder of temporary files by age leaves a locked one alone.
    fcntl.flock(os.open(made, os.O_RDONLY), fcntl.LOCK_SH)
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made
