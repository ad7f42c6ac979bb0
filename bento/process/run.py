"""The folder of one run of the service: what its supervisor settles and all its workers share."""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from bento.telemetry.files import restore

_FOLDER: Final = "HEXBITE_RUN_FOLDER"


def folder() -> Path | None:
    """The folder of the run that this process is a worker of; None where it is none."""
    found = os.environ.get(_FOLDER)
    return None if found is None else Path(found)


def make_folder() -> Path:
    """In the supervisor, before it starts workers, which have its environment; gone when the supervisor has ended."""
    made = Path(tempfile.mkdtemp(prefix="hexbite-"))
    os.environ[_FOLDER] = str(made)
    _lock(made)
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


class Keeper:
    """Holds together the folder of a run that somebody cleans while the run goes on."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._settled: dict[str, bytes] = {}

    def keep(self, workers: Iterable[int]) -> None:
        """Note what is settled there, and write anew what is not there any more, what the workers count included.

        Before a worker is started, which needs it, and now and then, for what one has counted that is about to end.
        """
        with suppress(FileExistsError):
            self._folder.mkdir(mode=0o700, parents=True)
            _lock(self._folder)
        found = self._folder.lstat()
        # Between two looks, anybody could have made it where everybody may: what is in it is not ours.
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise PermissionError(f"{self._folder} of this run was taken away, and is somebody else's now")
        self._settled |= {file.name: file.read_bytes() for file in self._folder.glob("*.json")}
        for name, content in self._settled.items():
            if not (file := self._folder / name).exists():
                file.write_bytes(content)
        restore(self._folder, workers)


def _lock(folder: Path) -> None:
    # For as long as this process lives: who cleans the folder of temporary files by age leaves a locked one alone.
    fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_SH)
