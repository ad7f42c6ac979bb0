"""The two feature tables of a data folder, and the schema that goes with them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from data.log.features.encode import encode
from data.log.features.history import CONTEXT, SCHEMA, Tables, declare_fills
from data.log.features.like import Columns
from data.log.features.names import Names
from data.log.map import Table
from data.log.reading.entities import Entities
from data.log.reading.sides import Sides
from hexbite.counters.definitions import Counters
from hexbite.errors import DataError
from hexbite.features import DISTANCE_M, LOG_DISTANCE_M, Feature, FeatureSchema, to_log_distance
from hexbite.ids import IdKinds


class Featured(NamedTuple):
    """Features of users or restaurants and their columns; ``values``, ``told`` and ``made`` as of `Encoded`."""

    features: tuple[Feature, ...]
    columns: pl.DataFrame
    values: dict[str, dict[str, int]]
    told: list[str]
    made: dict[str, Columns]


def make_table(
    group: str,
    table: Table | None,
    entities: Entities,
    sides: Sides,
    history: Tables | None,
    has_row: npt.NDArray[np.bool_],
    *,
    at: datetime | None,
    like: dict[str, Columns] | None = None,
) -> Featured:
    """The features of a group of entities: those of their table, then those of history; a row where there is one.

    Ages are measured at a moment, or, where it is None, at the latest of each column. ``like`` as in `encode`.
    Raises DataError where none is left.
    """
    features: list[Feature] = []
    columns: list[pl.Series] = []
    values: dict[str, dict[str, int]] = {}
    told: list[str] = []
    made: dict[str, Columns] = {}
    taken = frozenset(SCHEMA.names(group)) if history is not None else frozenset()
    if table is not None and entities.sheet is not None and table.features:
        encoded = encode(entities, sides, table.features, at=at, names=Names(taken), like=like)
        features, columns, values, told, made = encoded
    frame = pl.DataFrame([values_.alias(feature.name) for feature, values_ in zip(features, columns, strict=True)])
    if history is not None:
        past = history.users if group == "user" else history.restaurants
        past = past.filter(pl.Series(has_row))
        features = [*features, *declare_fills(SCHEMA.group(group), past)]
        frame = pl.concat([frame.filter(pl.Series(has_row)), past], how="horizontal") if columns else past
    if not features:
        raise DataError(
            f"no feature of [{group}s] is left ({'; '.join(told)}): name others, or set history = true",
            path=entities.sheet.place if entities.sheet else "map",
        )
    return Featured(tuple(features), frame, values, told, made)


def make_schema(
    users: tuple[Feature, ...],
    restaurants: tuple[Feature, ...],
    ids: IdKinds,
    *,
    distance_fill: float | None,
    is_timed: bool,
    counters: Counters,
) -> FeatureSchema:
    """The schema of an imported folder; without a fill for the distance, or without times, no feature tells of them."""
    fills = {}
    if distance_fill is not None:
        fills = {DISTANCE_M: distance_fill, LOG_DISTANCE_M: float(to_log_distance(np.array(distance_fill)))}
    context = tuple(
        replace(feature, fill=fills.get(feature.name))
        for feature in CONTEXT
        if (feature.name in fills if feature.name in (DISTANCE_M, LOG_DISTANCE_M) else is_timed)
    )
    return FeatureSchema(users, restaurants, context, ids).with_counters(counters)
