"""Pairs of users and restaurants to score: click rows that nobody has clicked yet, in a file beside the folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from data.folder.clicks import ClickRows, Unknown, click_columns, find_places, to_matrix
from data.folder.columns import Mask, wrong_type
from data.folder.files import File, Unreadable
from data.folder.tables import Known
from hexbite.errors import DataError, FolderError, Problem
from hexbite.features import FeatureSchema
from hexbite.folder import CLICK_KEYS


class Pairs(NamedTuple):
    """``ids`` as the file has them ``(N,)``, their rows, and which of these are to be used."""

    ids: pl.DataFrame
    rows: ClickRows
    used: Mask


def read_pairs(
    path: Path,
    schema: FeatureSchema,
    users: Known,
    restaurants: Known,
    unknown: Unknown,
    *,
    also_called: Mapping[str, str],
) -> Pairs:
    """Read a parquet file of pairs whole: both ids and each context feature, or the name that it is ``also_called`` by.

    Raises FolderError with all that is wrong with it.
    """
    try:
        file = File(path.parent, path)
        names = {name: name for name in click_columns(schema.ids, schema.context) if name != CLICK_KEYS[2]}
        names |= {name: other for name, other in also_called.items() if name in names and file.dtype(name) is None}
        problems = []
        for name, holding in click_columns(schema.ids, schema.context).items():
            dtype = file.dtype(names.get(name, ""))
            if name in names and (dtype is None or wrong_type(dtype, holding)):
                what = "no such column" if dtype is None else wrong_type(dtype, holding)
                problems.append(Problem(file.name, name, what))
        if not file.rows:
            problems.append(Problem(file.name, "", "holds no rows"))
        _refuse(problems, path)
        frame = file.read(list(names.values())).rename({column: name for name, column in names.items()})
    except Unreadable as error:
        raise DataError(str(error), path=path) from error
    (user_rows, has_user), faults = find_places(frame["user_id"], schema.ids.user, users, unknown)
    (restaurant_rows, has_place), found = find_places(
        frame["restaurant_id"], schema.ids.restaurant, restaurants, unknown
    )
    context, of_context = to_matrix(frame, schema.context)
    faults += found + of_context
    _refuse([Problem(file.name, fault.column, fault.what, int(fault.rows.sum())) for fault in faults], path)
    no_clicks = np.zeros(len(frame), dtype=np.float32)
    rows = ClickRows(user_rows, restaurant_rows, no_clicks, context)
    return Pairs(frame.select("user_id", "restaurant_id"), rows, has_user & has_place)


def _refuse(problems: list[Problem], path: Path) -> None:
    if problems:
        raise FolderError(problems, path=path.parent)
