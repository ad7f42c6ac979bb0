"""What an import found, in lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def source_to_lines(folder: Path, source: Mapping[str, Any]) -> Iterator[str]:
    """What ``source.json`` says, for a person."""
    split = "split by a hash of the lists" if source["split"] is None else f"split at {source['split']}"
    yield f"{folder}: {source['users']:,} users, {source['restaurants']:,} restaurants, {split}"
    clicks = source["clicks"]
    yield f"  {clicks['train']:,} train rows, {clicks['test']:,} test rows"
    yield f"events        {source['events']:,}"
    yield from _counts(source["rows"])
    for table, faults in source["tables"].items():
        if faults:
            yield table
            yield from _counts(faults)
    if source["notes"]:
        yield "besides"
        yield from _counts(source["notes"])
    yield from source["told"]
    if source["dirty"]:
        yield "--strict would stop here: some rows are dirty; docs/own-data.md has the rules"


def _counts(counts: Mapping[str, int]) -> Iterator[str]:
    for what, count in counts.items():
        yield f"  {count:>12,}  {what}"
