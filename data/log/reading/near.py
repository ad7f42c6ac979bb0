"""Ids of the log that the table has but for their spelling: counted, never folded."""

from __future__ import annotations

from functools import cached_property

import polars as pl

from data.log.reading.entities import Entities
from data.log.rules import WORDS, Outcome, Tally


class NearIds:
    """Counts events of ids without a row that are in the table but for case, blanks around or Unicode form."""

    def __init__(self, name: str, outcome: Outcome, entities: Entities) -> None:
        self._name = name
        self._outcome = outcome
        self._entities = entities

    def note(self, faulty: pl.DataFrame, tally: Tally) -> None:
        """Count them among events that have an ``outcome`` and the id as ``NAME key``."""
        lost = faulty.filter(pl.col("outcome") == self._outcome)[f"{self._name} key"]
        if lost.dtype == pl.String and len(lost):
            count = int(_fold(lost).is_in(self._folded.implode()).sum())
            tally.note(
                f"events {WORDS[self._outcome]} whose id matches one but for case, blanks or Unicode form", count
            )

    @cached_property
    def _folded(self) -> pl.Series:
        entities = self._entities
        return _fold(pl.concat([entities.ids, entities.unplaced.alias(entities.ids.name)])).unique()


def _fold(ids: pl.Series) -> pl.Series:
    return ids.str.normalize("NFC").str.strip_chars().str.to_lowercase()
