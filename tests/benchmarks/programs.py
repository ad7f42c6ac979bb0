"""Run a program and measure it from outside: what it prints, and the memory of all its processes."""

import contextlib
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]

_EVERY_S = 0.05


@dataclass(frozen=True)
class Finished:
    """Standard output, and the most resident memory that the program and its children had at one time, GiB."""

    printed: str
    peak_rss_gib: float


def run(command: list[str], environment: Mapping[str, str]) -> Finished:
    """Run to the end; ends this program where that one fails. What it tells on stderr is passed on to a terminal."""
    stderr = None if sys.stderr.isatty() else subprocess.DEVNULL
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True
    ) as running:
        peak = 0
        ended = threading.Event()

        def watch() -> None:
            nonlocal peak
            while not ended.wait(_EVERY_S):
                peak = max(peak, _resident(running.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        assert running.stdout is not None
        printed = running.stdout.read()
        ended.set()
        watcher.join()
    if running.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{printed}")
    return Finished(printed, peak / 2**30)


def _resident(pid: int) -> int:
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
        for process in (root := psutil.Process(pid), *root.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
    return total
