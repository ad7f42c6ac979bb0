"""The two feature tables in memory: one float32 matrix each, and the way from an id to its row."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hexbite.console import progress
from hexbite.errors import DataError, SchemaError
from hexbite.features import Feature, FeatureSchema, Matrix
from hexbite.folder import RESTAURANT_KEYS, RESTAURANTS, TRAIN, USER_KEYS, USERS, resolve_schema
from training.reading.parquet import Ids, column_names, parquet_files, read_columns, to_ids, to_matrix, to_numbers

# Feature columns read at once.
_COLUMNS: Final = 4

#: Row numbers of a table ``(N,)``: four bytes each, since tens of millions of them are in flight.
Rows = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Entities:
    """Rows of users or restaurants: ``ids`` ``(N,)`` ascending, ``features`` ``(N, F)`` float32 in that order."""

    ids: Ids
    features: Matrix

    def find(self, ids: Ids) -> tuple[Rows, npt.NDArray[np.bool_]]:
        """The row of each of M ids, and whether it has one; where not, the row means nothing."""
        first, last = self.ids[0], self.ids[-1]
        if last - first + 1 == len(self.ids):
            known = (ids >= first) & (ids <= last)
            return np.where(known, ids - first, 0).astype(np.int32), known
        rows = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return rows.astype(np.int32), self.ids[rows] == ids


class Tables(NamedTuple):
    """A data folder's feature tables, and where its restaurants are: degrees ``(R,)`` in the order of their rows."""

    schema: FeatureSchema
    users: Entities
    restaurants: Entities
    lats_deg: npt.NDArray[np.float64]
    lngs_deg: npt.NDArray[np.float64]


def read_tables(folder: Path, schema: FeatureSchema | None = None) -> Tables:
    """Read both tables of a data folder.

    ``schema`` is that of a published model, whose fills then apply; None takes the folder's. Raises DataError where a
    file cannot be used, SchemaError where the folder's features are not the model's.
    """
    if not folder.is_dir():
        raise DataError("is no folder", path=folder)
    found = _folder_schema(folder)
    if schema is not None and schema.fingerprint != found.fingerprint:
        raise SchemaError(
            f"{folder} has the feature schema {found.fingerprint[:12]}, the model was trained on "
            f"{schema.fingerprint[:12]}; name the folder that goes with the model, or another model"
        )
    schema = schema or found
    with progress("reading feature tables", 2, "tables") as advance:
        users, _ = _read(folder / USERS, USER_KEYS, schema.user)
        advance()
        restaurants, positions = _read(folder / RESTAURANTS, RESTAURANT_KEYS, schema.restaurant)
        advance()
    return Tables(schema, users, restaurants, *positions)


def _folder_schema(folder: Path) -> FeatureSchema:
    has_clicks = any((folder / TRAIN).glob("*.parquet"))
    return resolve_schema(
        folder,
        user_columns=column_names(folder / USERS),
        restaurant_columns=column_names(folder / RESTAURANTS),
        click_columns=column_names(parquet_files(folder / TRAIN)[0]) if has_clicks else None,
    )


def _read(
    path: Path, keys: tuple[str, ...], features: tuple[Feature, ...]
) -> tuple[Entities, list[npt.NDArray[np.float64]]]:
    frame = read_columns(path, keys)
    ids = to_ids(frame[keys[0]], path)
    order = np.argsort(ids, kind="stable")
    repeated = int(np.count_nonzero(np.diff(ids[order]) == 0))
    if repeated:
        raise DataError("occurs more than once; keep one row an id", path=path, column=keys[0], count=repeated)
    numbers = [to_numbers(frame[name], path)[order] for name in keys[1:]]
    # A few columns at a time: a million users fill memory once, not once in the file's layout and once in ours.
    matrix = np.empty((len(ids), len(features)), dtype=np.float32)
    for start in range(0, len(features), _COLUMNS):
        some = features[start : start + _COLUMNS]
        frame = read_columns(path, [feature.name for feature in some])
        matrix[:, start : start + _COLUMNS] = to_matrix(frame, some, path)[order]
    return Entities(ids[order], matrix), numbers
