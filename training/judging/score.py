"""Scores of (user, restaurant) pairs, to hold against those of the service."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from hexbite.artifact import Artifact
from hexbite.console import progress
from hexbite.errors import DataError
from hexbite.features import DISTANCE_M
from hexbite.ranker import logits_to_scores
from training.judging.evaluate import logits
from training.reading.clicks import Clicks, Unknown, find_pairs
from training.reading.parquet import column_names, read_columns, to_matrix
from training.reading.tables import read_tables

# What the service's answers call the distance.
_DISPLACEMENT: Final = "displacement"


def score(artifact: Artifact, folder: Path, pairs: Path, out: Path, *, unknown: Unknown) -> tuple[int, int]:
    """Write ``user_id``, ``restaurant_id``, ``logit`` and ``score`` of each pair; how many were scored and left out.

    ``pairs`` is a parquet file with the two ids and each context feature of the model; ``distance_m`` may be called
    ``displacement``. Raises DataError as training does, SchemaError where the folder's features are not the model's.
    """
    tables = read_tables(folder, artifact.schema)
    context = tables.schema.context
    present = column_names(pairs)
    named = {
        feature.name: _DISPLACEMENT if feature.name == DISTANCE_M and DISTANCE_M not in present else feature.name
        for feature in context
    }
    frame = read_columns(pairs, ["user_id", "restaurant_id", *named.values()])
    frame = frame.rename({column: name for name, column in named.items()})
    found = find_pairs(frame, tables, unknown, pairs)
    no_clicks = np.zeros(len(frame), dtype=np.float32)
    rows = Clicks(found.user, found.restaurant, no_clicks, to_matrix(frame, context, pairs)).take(found.known)
    with progress("scoring pairs"):
        scored = logits(artifact.ranker, tables, rows)
    answer = frame.filter(found.known).select("user_id", "restaurant_id")
    answer = answer.with_columns(logit=pl.Series(scored), score=pl.Series(logits_to_scores(scored)))
    try:
        answer.write_parquet(out)
    except OSError as error:
        raise DataError(f"cannot be written: {error.strerror or error}", path=out) from error
    return len(answer), len(frame) - len(answer)
