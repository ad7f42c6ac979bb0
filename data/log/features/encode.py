"""Columns of a table to features: float32 numbers, what stands in for a missing one, and what each means."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, NamedTuple

import polars as pl

from data.log.features.names import Names
from data.log.map import Boolean, Categories, Category, Number, Time
from data.log.map import Feature as FeatureMap
from data.log.reading.columns import Sheet, samples_to_text
from data.log.reading.entities import Entities
from data.log.reading.sides import Sides, elements
from data.log.reading.times import time_expression
from hexbite.features import Feature

#: Indicators of one column; of more values the most frequent have one each, and the last is ``other``.
MOST_VALUES: Final = 64

_OTHER: Final = "other"
_MISSING: Final = "missing"
_FLOAT32_MAX: Final = 3.4028234663852886e38


class Encoded(NamedTuple):
    """Features and their columns, float32, in one order; ``values`` of categories with their counts, and ``told``."""

    features: list[Feature]
    columns: list[pl.Series]
    values: dict[str, dict[str, int]]
    told: list[str]


def encode(
    entities: Entities, sides: Sides, wanted: dict[str, FeatureMap], *, at: datetime | None, names: Names
) -> Encoded:
    """Encode the rows of a table, in their order; ages at a moment, by default the latest of each column.

    Raises DataError, naming table, key, column and values, where a column does not hold what the map says.
    """
    encoded = Encoded([], [], {}, [])
    for key, feature in wanted.items():
        column = feature.column or key
        assert entities.sheet is not None
        # In a side table, its rows in the order of the entities, or in their own.
        sheet, rows = sides.get(key, (entities.sheet, entities.rows))
        match feature:
            case Category() | Categories():
                _encode_values(sheet, rows, key, column, feature, names, encoded)
            case _:
                _encode_number(sheet, rows, key, column, feature, at, names, encoded)
    return encoded


def _encode_number(
    sheet: Sheet,
    rows: pl.DataFrame,
    key: str,
    column: str,
    feature: Number | Boolean | Time,
    at: datetime | None,
    names: Names,
    encoded: Encoded,
) -> None:
    values = rows.select(_number(sheet, rows, key, column, feature, at).alias("v")).to_series().cast(pl.Float32)
    where = f"{sheet.table}.{key}"
    if values.null_count() == len(values):
        encoded.told.append(f"{where} holds no value in any row, and is left out")
        return
    if values.null_count() and feature.fill is None:
        raise sheet.fault(
            f"features.{key}",
            column,
            'is missing: say fill = "mean", fill = "missing" (an indicator of its own) or a value',
            values.null_count(),
        )
    if values.n_unique() == 1:
        encoded.told.append(f"{where} is the same in every row")
    mean: Any = values.cast(pl.Float64).mean()
    named = feature.fill in ("mean", _MISSING)
    fill = None if feature.fill is None else float(mean) if named else float(feature.fill)
    what = {
        "number": f"column {column}",
        "boolean": f"column {column}: 1 where true",
        "time": f"column {column}: days before {'the latest in it' if at is None else 'the split'}",
    }[feature.kind]
    encoded.features.append(Feature(names.give(key), fill, what))
    encoded.columns.append(values)
    if feature.fill == _MISSING:
        _add_missing(key, column, values.is_null(), names, encoded)


def _add_missing(key: str, column: str, is_missing: pl.Series, names: Names, encoded: Encoded) -> None:
    # A row that somebody adds later without a value is one of these.
    encoded.features.append(Feature(names.give(key, _MISSING), 1.0, f"column {column}: 1 where it is missing"))
    encoded.columns.append(is_missing.cast(pl.Float32))


def _number(
    sheet: Sheet, rows: pl.DataFrame, key: str, column: str, feature: Number | Boolean | Time, at: datetime | None
) -> pl.Expr:
    if isinstance(feature, Time):
        parsed = time_expression(sheet, f"features.{key}", column, feature)
        _refuse_others(sheet, rows, key, column, parsed.is_null(), "is no time: say format, or unit")
        return ((parsed.max() if at is None else pl.lit(at)) - parsed).dt.total_microseconds() / 86_400_000_000
    if rows[column].dtype.is_temporal():
        raise sheet.fault(f"features.{key}", column, f'is of type {rows[column].dtype}: times are of kind = "time"')
    if isinstance(feature, Number):
        number = sheet.number(column)
        is_other = number.is_null() | ~(number.abs() <= _FLOAT32_MAX)
        _refuse_others(sheet, rows, key, column, is_other, "is no number that a float32 holds")
        return number
    truth = sheet.truth(column)
    _refuse_others(sheet, rows, key, column, truth.is_null(), "is neither true, yes, t, 1 nor false, no, f, 0")
    return truth.cast(pl.Float64)


def _refuse_others(sheet: Sheet, rows: pl.DataFrame, key: str, column: str, is_other: pl.Expr, problem: str) -> None:
    text = sheet.text(column)
    others = rows.filter(is_other.fill_null(value=True) & text.is_not_null())
    if len(others):
        found = samples_to_text(others[column].unique(maintain_order=True))
        raise sheet.fault(f"features.{key}", column, f"{problem}: {found}", len(others))


def _encode_values(
    sheet: Sheet,
    rows: pl.DataFrame,
    key: str,
    column: str,
    feature: Category | Categories,
    names: Names,
    encoded: Encoded,
) -> None:
    lists = rows.select(_lists(sheet, column, feature).alias("v")).to_series()
    is_missing = lists.is_null()
    if feature.fill not in (None, _MISSING):
        lists = lists.fill_null(pl.Series([[feature.fill]]))
    counts = (
        lists.explode(empty_as_null=False, keep_nulls=False)
        .value_counts()
        .sort(["count", "v"], descending=[True, False])
    )
    where = f"{sheet.table}.{key}"
    if counts.is_empty():
        encoded.told.append(f"{where} holds no value in any row, and is left out")
        return
    kept = counts["v"].to_list()
    if len(kept) > MOST_VALUES:
        kept = kept[: MOST_VALUES - 1]
        rare = counts.height - len(kept)
        encoded.told.append(f"{where} has {counts.height:,} values: the {rare:,} rarest are {key}_{_OTHER}")
    elif len(kept) == 1 and not is_missing.any() and isinstance(feature, Category):
        encoded.told.append(f"{where} is the same in every row")
    encoded.values[where] = dict(counts.head(len(kept)).iter_rows())
    for value, is_so in _indicators(lists, kept):
        said = f"is {value!r}" if isinstance(feature, Category) else f"has {value!r}"
        encoded.features.append(Feature(names.give(key, value), 0.0, f"column {column}: 1 where it {said}"))
        encoded.columns.append(is_so)
    if counts.height > len(kept):
        is_other = lists.list.eval(~pl.element().is_in(kept)).list.any().fill_null(value=False)
        encoded.features.append(Feature(names.give(key, _OTHER), 0.0, f"column {column}: 1 for the rarest values"))
        encoded.columns.append(is_other.cast(pl.Float32))
        encoded.values[where][_OTHER] = int(is_other.sum())
    if feature.fill == _MISSING:
        _add_missing(key, column, is_missing, names, encoded)


def _indicators(lists: pl.Series, values: list[str]) -> Iterator[tuple[str, pl.Series]]:
    for value in values:
        yield value, lists.list.contains(value).fill_null(value=False).cast(pl.Float32)


def _lists(sheet: Sheet, column: str, feature: Category | Categories) -> pl.Expr:
    """The distinct values of each row, without spaces around them; null where there is none."""
    if isinstance(feature, Category):
        text = sheet.text(column).str.strip_chars()
        return pl.when(text.is_not_null()).then(pl.concat_list(text))
    return elements(sheet, column, feature)
