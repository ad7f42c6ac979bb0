"""The files that the workers of a run count in, and what is left of them where somebody cleans their folder."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

# What Linux says behind the name of an open file that has none any more.
_DELETED: Final = " (deleted)"


def restore(folder: Path, workers: Iterable[int]) -> None:
    """Write anew what workers, by process id, count in files that were taken out of the folder, or with it.

    They go on counting in what they have open, which nobody else finds: so before each look into the folder. What those
    had counted who have ended since is lost.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for opened, name in _orphans(folder, workers):
        partial = folder / f"{name}.{threading.get_native_id()}"
        with suppress(OSError):  # its worker has ended
            shutil.copyfile(opened, partial)
            partial.replace(folder / name)


def _orphans(folder: Path, workers: Iterable[int]) -> Iterator[tuple[Path, str]]:
    """What workers have open of files that lay in the folder, and how those were called."""
    beginning = f"{folder}{os.sep}"
    for worker in workers:
        with suppress(OSError):  # it has ended
            for opened in Path(f"/proc/{worker}/fd").iterdir():
                with suppress(OSError):  # it was closed
                    target = str(opened.readlink())
                    if target.startswith(beginning) and target.endswith(f".db{_DELETED}"):
                        yield opened, target[len(beginning) : -len(_DELETED)]
