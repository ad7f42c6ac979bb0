"""Scores of (user, restaurant) pairs, to hold against those of the service."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import polars as pl

from data.folder.clicks import Unknown
from data.folder.pairs import read_pairs
from hexbite.artifact import Artifact
from hexbite.console import progress
from hexbite.errors import DataError
from hexbite.features import DISTANCE_M
from hexbite.ranker import logits_to_scores
from training.judging.evaluate import logits
from training.reading.clicks import Clicks
from training.reading.tables import read_tables

# What the service's answers call the distance.
_DISPLACEMENT: Final = "displacement"


def score(
    artifact: Artifact, folder: Path, pairs: Path, out: Path, *, unknown: Unknown, max_rejected: float
) -> tuple[int, int]:
    """Write ``user_id``, ``restaurant_id``, ``logit`` and ``score`` of each pair; how many were scored and left out.

    ``pairs`` is a parquet file with the two ids and each context feature of the model; ``distance_m`` may be called
    ``displacement``. Raises FolderError as training does, SchemaError where the folder's features are not the model's.
    """
    tables = read_tables(folder, artifact.schema, wanted=(), unknown=unknown, max_rejected=max_rejected)
    users, restaurants = tables.users.known, tables.restaurants.known
    found = read_pairs(pairs, tables.schema, users, restaurants, unknown, also_called={DISTANCE_M: _DISPLACEMENT})
    rows = Clicks(*found.rows).take(found.used)
    with progress("scoring pairs"):
        scored = logits(artifact.ranker, tables, rows)
    answer = found.ids.filter(found.used)
    answer = answer.with_columns(logit=pl.Series(scored), score=pl.Series(logits_to_scores(scored)))
    try:
        answer.write_parquet(out)
    except OSError as error:
        raise DataError(f"cannot be written: {error.strerror or error}", path=out) from error
    return len(answer), len(found.ids) - len(answer)
