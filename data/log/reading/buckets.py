"""Events by user, in memory as long as they fit and then in files: each bucket is taken out whole, users uncut."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import polars as pl

#: Rows that are held in memory: of 45 bytes.
HELD_ROWS: Final = 4_000_000

_BUCKETS: Final = 64


class Buckets:
    """Rows with a column ``user``, all of one user's in one bucket."""

    def __init__(self, scratch: Path, held_rows: int = HELD_ROWS) -> None:
        self._scratch, self._held_rows = scratch, held_rows
        self._held: list[pl.DataFrame] = []
        self._rows = self._spills = 0

    def add(self, rows: pl.DataFrame) -> None:
        """Take some rows more."""
        self._held.append(rows)
        self._rows += len(rows)
        if self._rows >= self._held_rows:
            self._spill()

    def _spill(self) -> None:
        held = pl.concat(self._held)
        self._held, self._rows = [], 0
        keyed = held.with_columns(bucket=pl.col("user") % _BUCKETS)
        for (bucket,), rows in keyed.partition_by("bucket", as_dict=True, include_key=False).items():
            folder = self._scratch / f"{bucket:02}"
            folder.mkdir(parents=True, exist_ok=True)
            rows.write_ipc(folder / f"{self._spills:06}.arrow", compression="uncompressed")
        self._spills += 1

    def each(self) -> Iterator[pl.DataFrame]:
        """All rows, some at a time, in no order; a user's may come in several parts."""
        for path in sorted(self._scratch.glob("*/*.arrow")):
            yield pl.read_ipc(path)
        yield from self._held

    def take(self) -> Iterator[pl.DataFrame]:
        """Bucket after bucket; what was taken is forgotten."""
        if not self._spills:
            held, self._held = self._held, []
            if held:
                yield pl.concat(held)
            return
        if self._held:
            self._spill()
        for folder in sorted(self._scratch.iterdir()):
            rows = pl.concat([pl.read_ipc(path) for path in sorted(folder.iterdir())])
            shutil.rmtree(folder)
            yield rows
