"""Who answers, and who waits for one of them to die: a worker takes seconds to start, and is missed at once.

The supervisor starts more workers than may answer. Each needs a place, a file that it locks for as long as it lives;
the kernel gives the lock back however a process ends, and whoever waits, warm and with everything loaded, has it next.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
from pathlib import Path
from typing import Final

#: Names the folder of places in a worker's environment; without it every worker answers.
PLACES: Final = "HEXBITE_PLACES"

_LOOK_S: Final = 0.05


def make_places(folder: Path, count: int) -> None:
    """In the supervisor: places for so many workers."""
    folder.mkdir()
    for number in range(count):
        (folder / str(number)).touch()


def take_place() -> bool:
    """Whether this worker may answer, from now until it ends."""
    folder = os.environ.get(PLACES)
    if folder is None:
        return True
    for place in sorted(Path(folder).iterdir()):
        lock = os.open(place, os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        else:
            return True  # the lock is never closed
    return False


async def wait_for_place() -> None:
    """Until another worker has ended. Asked to end meanwhile, this process does: it has nothing to finish."""
    loop = asyncio.get_running_loop()
    endings = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in endings:
        loop.add_signal_handler(number, os._exit, 0)
    while not take_place():  # noqa: ASYNC110 - what is waited for is another process's lock
        await asyncio.sleep(_LOOK_S)
    for number, before in endings.items():
        loop.remove_signal_handler(number)
        signal.signal(number, before)
