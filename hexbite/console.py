"""How a command speaks: progress on everything slow, and an error as one line, or one for each problem of a folder."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from hexbite.errors import HexbiteError

_LINE_EVERY_S: Final = 2.0

_console = Console(stderr=True)


class Advance(Protocol):
    """What `progress` yields."""

    def __call__(self, units: int = 1, note: str = "") -> None:
        """Tell how many more units were done, and what there is to say about them."""


@contextmanager
def progress(doing: str, total: int | None = None, unit: str = "rows") -> Iterator[Advance]:
    """Show how far a slow step is: a bar on a terminal, else a line of JSON every two seconds and one at the end.

    ``total`` None shows a spinner. Goes to stderr, so that what a command prints can be piped.
    """
    if _console.quiet:
        yield _say_nothing
        return
    with (_bar if _console.is_terminal else _lines)(doing, total, unit) as advance:
        yield advance


def _say_nothing(units: int = 1, note: str = "") -> None:
    """An `Advance` of what nobody is to see."""


def hush() -> None:
    """No more progress from this process: another one of the same run speaks for all."""
    _console.quiet = True


def tell(event: str, **facts: object) -> None:
    """A line of JSON on stderr where it is no terminal; there, what a command prints says the same to a person."""
    if not (_console.is_terminal or _console.quiet):
        print(json.dumps({"event": event, **facts}), file=sys.stderr, flush=True)


@contextmanager
def _bar(doing: str, total: int | None, unit: str) -> Iterator[Advance]:
    # Short enough for a window of 80 columns.
    columns: tuple[ProgressColumn, ...] = (SpinnerColumn(), TextColumn("{task.description}"))
    if total is None:
        columns += (TimeElapsedColumn(),)
    else:
        columns += (
            BarColumn(bar_width=12),
            TaskProgressColumn(),
            TextColumn(f"of {_short(total)} {unit}"),
            _SpeedColumn(),
            TimeRemainingColumn(),
        )
    columns += (TextColumn("{task.fields[note]}"),)
    with Progress(*columns, console=_console) as bars:
        task = bars.add_task(doing, total=total, note="")
        yield lambda units=1, note="": bars.update(task, advance=units, note=note)


class _SpeedColumn(ProgressColumn):
    """Units a second."""

    def render(self, task: Task) -> Text:
        """Nothing until there is a speed."""
        return Text("" if task.speed is None else f"{_short(task.speed)}/s", style="progress.data.speed", no_wrap=True)


def _short(count: float) -> str:
    """Three digits at the most: 941, 4.9k, 12M."""
    for unit in ("", "k", "M"):
        if count < 999.5:
            return f"{count:.1f}{unit}" if unit and count < 9.95 else f"{count:.0f}{unit}"
        count /= 1_000
    return f"{count:,.1f}G"


@contextmanager
def _lines(doing: str, total: int | None, unit: str) -> Iterator[Advance]:
    started = spoke = time.monotonic()
    done, last_note = 0, ""

    def line(event: str) -> None:
        seconds = time.monotonic() - started
        per_s = done / max(seconds, 1e-9)
        facts: dict[str, object] = {"doing": doing, "seconds": round(seconds, 1)}
        if total is not None:
            facts |= {"done": done, "total": total, "unit": unit, "per_s": round(per_s)}
            if done:
                facts["seconds_left"] = round((total - done) / per_s, 1)
        if last_note:
            facts["note"] = last_note
        print(json.dumps({"event": event, **facts}), file=sys.stderr, flush=True)

    def advance(units: int = 1, note: str = "") -> None:
        nonlocal done, spoke, last_note
        done, last_note = done + units, note
        if time.monotonic() - spoke >= _LINE_EVERY_S:
            spoke = time.monotonic()
            line("progress")

    yield advance
    line("done")


def run(program: Callable[[], object]) -> None:
    """Run a command line: an error that we raise on purpose is told on stderr and by its status, Ctrl-C is 130."""
    try:
        program()
    except HexbiteError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.status)
    except KeyboardInterrupt:
        sys.exit(130)
