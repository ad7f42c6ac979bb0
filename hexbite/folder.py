"""The layout of a folder of offline data, and how its columns become features.

Free of any dataframe library: whoever reads the parquet files passes column names and numpy arrays.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hexbite.errors import DataError, SchemaError
from hexbite.features import RESERVED, Feature, FeatureSchema

SCHEMA: Final = "schema.json"
USERS: Final = "user_features.parquet"
RESTAURANTS: Final = "restaurant_features.parquet"
REQUESTS: Final = "requests.parquet"
TRAIN: Final = "train"
TEST: Final = "test"

USER_KEYS: Final = ("user_id",)
RESTAURANT_KEYS: Final = ("restaurant_id", "latitude", "longitude")
CLICK_KEYS: Final = ("user_id", "restaurant_id", "click")


class Column(NamedTuple):
    """A feature's values ``(N,)`` float32 with the fill in place, and which rows ``(N,)`` bool cannot be used."""

    values: npt.NDArray[np.float32]
    missing: npt.NDArray[np.bool_]
    not_finite: npt.NDArray[np.bool_]


def column_to_feature(values: npt.NDArray[Any], is_null: npt.NDArray[np.bool_], feature: Feature) -> Column:
    """A numeric column ``(N,)`` of any dtype and its null mask to float32, the one way in training and in loading.

    A null takes the feature's fill, or is reported in ``missing`` where it has none. NaN, infinity and numbers past
    float32's range are reported in ``not_finite``.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        narrowed = values.astype(np.float32)
    if feature.fill is not None:
        narrowed[is_null] = feature.fill
        missing = np.zeros(len(narrowed), dtype=np.bool_)
    else:
        missing = is_null
    return Column(narrowed, missing, ~np.isfinite(narrowed) & ~is_null)


def resolve_schema(
    folder: Path,
    *,
    user_columns: Sequence[str],
    restaurant_columns: Sequence[str],
    click_columns: Sequence[str] | None,
) -> FeatureSchema:
    """The feature schema of a data folder: that of its ``schema.json``, else every column that is not a key.

    Columns are given in file order; ``click_columns`` are those of the first train file, None where there is none.
    Columns that a ``schema.json`` does not name are left alone. Raises DataError where a key or a named feature is not
    a column, or where the file is malformed.
    """
    tables = {
        "user": (folder / USERS, user_columns, USER_KEYS),
        "restaurant": (folder / RESTAURANTS, restaurant_columns, RESTAURANT_KEYS),
        "context": (folder / TRAIN, click_columns or CLICK_KEYS, CLICK_KEYS),
    }
    for path, columns, keys in tables.values():
        require_columns(path, columns, keys)
    schema = read_schema(folder)
    if schema is None:
        features: dict[str, Any] = {
            group: tuple(_column_to_bare_feature(path, name) for name in columns if name not in RESERVED)
            for group, (path, columns, _) in tables.items()
        }
        try:
            return FeatureSchema(**features)
        except SchemaError as error:
            raise DataError(str(error), path=folder) from error
    for group, (file, columns, _) in tables.items():
        if group != "context" or click_columns is not None:
            require_columns(file, columns, schema.names(group))
    return schema


def _column_to_bare_feature(path: Path, name: str) -> Feature:
    try:
        return Feature(name)
    except SchemaError as error:
        raise DataError(f"{error}; rename it, or name the features in a {SCHEMA}", path=path, column=name) from error


def read_schema(folder: Path) -> FeatureSchema | None:
    """What ``schema.json`` says, None where there is none. Raises DataError where it is malformed."""
    path = folder / SCHEMA
    if not path.exists():
        return None
    try:
        return FeatureSchema.from_json(json.loads(path.read_text()))
    except (OSError, ValueError, SchemaError) as error:
        raise DataError(str(error), path=path) from error


def require_columns(path: Path, columns: Sequence[str], wanted: Sequence[str]) -> None:
    """Raise DataError that names the file and the first of the wanted columns that it lacks."""
    for name in wanted:
        if name not in columns:
            raise DataError(f"no such column; the file has {', '.join(columns)}", path=path, column=name)
