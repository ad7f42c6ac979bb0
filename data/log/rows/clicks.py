"""Click files of a data folder: rows as the company's ids, lists whole, a few hundred thousand rows a file."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from data.log.reading.entities import Entities
from data.log.rows.counts import Counts
from data.log.rows.world import Listed, World
from data.log.rules import Outcome
from data.output import write_table
from hexbite.features import DISTANCE_M, HOUR, LOG_DISTANCE_M, WEEKDAY, to_log_distance
from hexbite.folder import TEST, TRAIN

#: Rows of a click file, about: what a trainer mixes.
ROWS_PER_FILE: Final = 600_000

_US_PER_S: Final = 1_000_000


class ClickWriter:
    """Takes lists, numbers them, and writes ``train/`` and ``test/`` of a folder."""

    def __init__(
        self, folder: Path, users: Entities, restaurants: Entities, world: World, counts: Counts | None
    ) -> None:
        self._folder, self._users, self._restaurants = folder, users, restaurants
        self._world, self._counts = world, counts
        self._pending: dict[str, list[pl.DataFrame]] = {TRAIN: [], TEST: []}
        self._files = dict.fromkeys(self._pending, 0)
        self._lists = 0
        self.rows = dict.fromkeys(self._pending, 0)
        self.distances = 0
        self.distance_sum_m = 0.0
        for name in self._pending:
            (folder / name).mkdir()

    def add(self, listed: Listed) -> None:
        """Take the rows of some lists."""
        rows = listed.rows
        if rows.is_empty():
            return
        rows = rows.with_columns(pl.col("list") + self._lists)
        self._lists = int(rows["list"][-1]) + 1
        for name, outcome in ((TRAIN, Outcome.TRAIN), (TEST, Outcome.TEST)):
            part = rows.filter(pl.col("part") == outcome).drop("part")
            self._pending[name].append(part)
            self.rows[name] += len(part)
            if name == TRAIN:
                self.distances += part[DISTANCE_M].count()
                self.distance_sum_m += float(part[DISTANCE_M].cast(pl.Float64).sum())
            if sum(map(len, self._pending[name])) >= ROWS_PER_FILE:
                self._write(name)

    def close(self) -> None:
        """Write what is left."""
        for name in self._pending:
            self._write(name)

    def _write(self, name: str) -> None:
        rows = pl.concat(self._pending[name]) if self._pending[name] else pl.DataFrame()
        self._pending[name] = []
        if rows.is_empty():
            return
        ends = np.flatnonzero(np.diff(rows["list"].to_numpy(), append=-1))
        files = max(round(len(rows) / ROWS_PER_FILE), 1)
        # Each file ends with the list that holds its last row, so that none is cut.
        cuts = [
            0,
            *(int(ends[np.searchsorted(ends, len(rows) * file // files)]) + 1 for file in range(1, files)),
            len(rows),
        ]
        for start, end in itertools.pairwise(cuts):
            if end > start:
                path = self._folder / name / f"{name}_{self._files[name]:04}.parquet"
                write_table(self._columns(rows[start:end]), path)
                self._files[name] += 1

    def _columns(self, rows: pl.DataFrame) -> pl.DataFrame:
        user, restaurant, time = (rows[name].to_numpy() for name in ("user", "restaurant", "time"))
        columns = {
            "user_id": self._users.ids.gather(user),
            "restaurant_id": self._restaurants.ids.gather(restaurant),
            "click": rows["click"],
            DISTANCE_M: rows[DISTANCE_M],
            LOG_DISTANCE_M: _to_log(rows[DISTANCE_M]),
        }
        is_timed = self._world.asked.events.time is not None
        if is_timed:
            hour, weekday = self._world.clock.read(self._world.zones[restaurant], time // _US_PER_S)
            columns |= {HOUR: pl.Series(hour), WEEKDAY: pl.Series(weekday)}
            if self._counts is not None:
                columns |= self._counts.read(user, restaurant, time, hour, weekday)
        columns["list"] = rows["list"].cast(pl.Int64)
        if is_timed:
            columns["time"] = rows["time"].cast(pl.Datetime("us", "UTC"))
        if "position" in rows.columns:
            columns["position"] = rows["position"]
        return pl.DataFrame(columns)


def _to_log(distances_m: pl.Series) -> pl.Series:
    logs = to_log_distance(distances_m.fill_null(np.nan).to_numpy())
    return pl.Series(logs.astype(np.float32)).fill_nan(None)
