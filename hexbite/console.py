"""How a command speaks: progress on everything slow, and an error as one line and status 1."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from hexbite.errors import HexbiteError

_LINE_EVERY_S: Final = 2.0

_console = Console(stderr=True)


class Advance(Protocol):
    """What `progress` yields."""

    def __call__(self, units: int = 1, note: str = "") -> None:
        """Tell how many more units were done, and what there is to say about them."""


@contextmanager
def progress(doing: str, total: int | None = None, unit: str = "rows") -> Iterator[Advance]:
    """Show how far a slow step is: a bar on a terminal, else plain lines every two seconds and one at the end.

    ``total`` None shows a spinner. Goes to stderr, so that what a command prints can be piped.
    """
    with (_bar if _console.is_terminal else _lines)(doing, total, unit) as advance:
        yield advance


@contextmanager
def _bar(doing: str, total: int | None, unit: str) -> Iterator[Advance]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TextColumn(f"of {total:,} {unit}" if total is not None else ""),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    if total is None:
        columns = (columns[0], columns[1], columns[5], columns[7])  # type: ignore[assignment]
    with Progress(*columns, console=_console) as bars:
        task = bars.add_task(doing, total=total, note="")
        yield lambda units=1, note="": bars.update(task, advance=units, note=note)


@contextmanager
def _lines(doing: str, total: int | None, unit: str) -> Iterator[Advance]:
    started = spoke = time.monotonic()
    done, last_note = 0, ""

    def line(word: str) -> None:
        of = "" if total is None else f" {done:,}/{total:,} {unit}"
        note = f" {last_note}" if last_note else ""
        print(f"{doing}:{of} {word} {time.monotonic() - started:.1f} s{note}", file=sys.stderr, flush=True)

    def advance(units: int = 1, note: str = "") -> None:
        nonlocal done, spoke, last_note
        done, last_note = done + units, note
        if time.monotonic() - spoke >= _LINE_EVERY_S:
            spoke = time.monotonic()
            line("after")

    yield advance
    line("done in")


def run(program: Callable[[], object]) -> None:
    """Run a command line: an error that we raise on purpose is one line on stderr and status 1, Ctrl-C is 130."""
    try:
        program()
    except HexbiteError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
