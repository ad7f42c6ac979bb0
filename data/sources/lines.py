"""One file of JSON lines becomes Parquet files, each of some rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import polars as pl

from data.sources.content import Content
from data.sources.decode import refuse_other_bytes
from data.sources.tables import flat
from hexbite.errors import DataError

# Lines that are read at once; the next ones may tell other columns, and other kinds of the same.
_LINES_AT_ONCE: Final = 100_000


def write_json_lines(
    path: Path, content: Content, folder: Path, *, shown: Path, partition: dict[str, str | None]
) -> list[Path]:
    """Write the objects as Parquet files into ``folder``, and return them in order.

    What an object holds in another has a name with a dot, ``a.b``. ``path`` is UTF-8, plain or packed by gzip or zstd.
    Raises DataError, by the name ``shown`` and the number of the line, where one is no object.
    """
    known = {name: pl.lit(value, pl.String) for name, value in partition.items()}
    written = []
    for number, (first, lines) in enumerate(_batches(path, content, shown)):
        filled = lines.filter(lines.str.strip_chars() != "")
        if filled.is_empty():
            continue
        try:
            rows = pl.scan_ndjson("\n".join(filled).encode(), infer_schema_length=None).collect()
        except pl.exceptions.PolarsError as error:
            raise _explained(lines, first, shown, error) from error
        target = folder / f"{number:06}.parquet"
        flat(rows.lazy()).with_columns(**known).collect().write_parquet(target, compression_level=1)
        written.append(target)
    return written


def _batches(path: Path, content: Content, shown: Path) -> Iterator[tuple[int, pl.Series]]:
    """Lines, and the number of the first of them, from 1."""
    first = 1
    try:
        for batch in pl.scan_lines(path, glob=False).collect_batches(chunk_size=_LINES_AT_ONCE, maintain_order=True):
            lines = batch["line"]
            yield first, lines.str.strip_prefix("\ufeff") if first == 1 else lines
            first += len(lines)
    except OSError as error:
        raise DataError(f"is cut off or damaged: {error}; fetch it anew", path=shown) from error
    except pl.exceptions.PolarsError as error:
        refuse_other_bytes(path, content, shown)
        raise DataError(f"cannot be read: {error}", path=shown) from error


def _explained(lines: pl.Series, first: int, shown: Path, error: Exception) -> DataError:
    for number, line in enumerate(lines, start=first):
        if not line.strip():
            continue
        try:
            is_object = isinstance(json.loads(line), dict)
        except ValueError as fault:
            return DataError(f"line {number:,} is no JSON: {fault}; each line is one object", path=shown)
        if not is_object:
            return DataError(f"line {number:,} is no object; each line is one", path=shown)
    return DataError(
        f"lines {first:,} to {first + len(lines) - 1:,} hold values of one key that are of different kinds: {error}",
        path=shown,
    )
