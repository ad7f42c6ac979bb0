"""The events that are counted: of every kind that a counter names, also of people and places without a row."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import polars as pl

from data.log.reading.entities import Entities
from data.log.rules import Outcome

# What makes no event of anybody: the store would refuse it.
_NO_EVENT: Final = (Outcome.NO_USER, Outcome.NO_RESTAURANT, Outcome.NO_TIME)

_TOLD: Final = ("list", "position", "latitude", "longitude")


class Told(NamedTuple):
    """M events in the order of time, each once: ``user``, ``restaurant`` (numbers), ``time``, ``code``, and as the map
    names them ``list``, ``position``, ``latitude``, ``longitude``.

    ``users`` and ``restaurants`` are the ids by number: those that have a row first, then those that events alone name.
    """

    events: pl.DataFrame
    users: pl.Series
    restaurants: pl.Series


class CountedEvents:
    """Takes them out of the batches of a log."""

    def __init__(self, users: Entities, restaurants: Entities) -> None:
        self._entities = {"user": users, "restaurant": restaurants}
        self._held: list[pl.DataFrame] = []

    def add(self, batch: pl.DataFrame) -> None:
        """Keep those of a batch; an id is kept where it has no number."""
        rows = batch.filter(pl.col("code").is_not_null() & ~pl.col("outcome").is_in(_NO_EVENT))
        keys = [pl.when(pl.col(name).is_null()).then(f"{name} key").alias(f"{name} key") for name in self._entities]
        self._held.append(
            rows.select(*self._entities, *keys, "time", "code", *(n for n in _TOLD if n in batch.columns))
        )

    def between(self, first_us: int, last_us: int) -> Told:
        """All of them that happened within two moments, in microseconds; forgotten here."""
        rows = pl.concat(self._held).filter(pl.col("time").is_between(first_us, last_us))
        self._held.clear()
        ids = {}
        for name, entities in self._entities.items():
            more = rows[f"{name} key"].drop_nulls().unique().sort()
            numbers = pl.DataFrame(
                {f"{name} key": more, "number": np.arange(len(more), dtype=np.int32) + len(entities)}
            )
            rows = rows.join(numbers, on=f"{name} key", how="left").with_columns(
                pl.coalesce(name, "number").alias(name)
            )
            rows = rows.drop(f"{name} key", "number")
            ids[name] = pl.concat([entities.ids, more.alias(entities.ids.name)])
        return Told(rows, ids["user"], ids["restaurant"])
