"""Columns of a table to features: float32 numbers, what stands in for a missing one, and what each means."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, NamedTuple

import polars as pl

from data.log.features.like import Again, Columns
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
# Why a feature has no column.
_EMPTY: Final = "holds no value in any row"
_LEFT: Final = "had no column in the earlier output"

_FLOAT32_MAX: Final = 3.4028234663852886e38


class Encoded(NamedTuple):
    """Features and their columns, float32, in one order; ``values`` of categories with their counts, and ``told``.

    ``made`` says which columns each feature of the map became.
    """

    features: list[Feature]
    columns: list[pl.Series]
    values: dict[str, dict[str, int]]
    told: list[str]
    made: dict[str, Columns]


def encode(
    entities: Entities,
    sides: Sides,
    wanted: dict[str, FeatureMap],
    *,
    at: datetime | None,
    names: Names,
    like: dict[str, Columns] | None,
) -> Encoded:
    """Encode the rows of a table, in their order; ages at a moment, by default the latest of each column.

    With ``like``, the columns of an earlier output, these are made again, whatever the values are.
    Raises DataError, naming table, key, column and values, where a column does not hold what the map says.
    """
    encoded = Encoded([], [], {}, [], {})
    for key in like or wanted:
        feature, earlier = wanted[key], None if like is None else like[key]
        column = feature.column or key
        assert entities.sheet is not None
        # In a side table, its rows in the order of the entities, or in their own.
        sheet, rows = sides.get(key, (entities.sheet, entities.rows))
        match feature:
            case Category() | Categories():
                _encode_values(sheet, rows, key, column, feature, names, earlier, encoded)
            case _:
                _encode_number(sheet, rows, key, column, feature, at, names, earlier, encoded)
    return encoded


def _leave_out(where: str, key: str, feature: FeatureMap, why: str, encoded: Encoded) -> None:
    encoded.told.append(f"{where} {why}, and is left out")
    encoded.made[key] = Columns(feature.kind, [], [], other=False, missing=False)


def _encode_number(
    sheet: Sheet,
    rows: pl.DataFrame,
    key: str,
    column: str,
    feature: Number | Boolean | Time,
    at: datetime | None,
    names: Names,
    earlier: Columns | None,
    encoded: Encoded,
) -> None:
    values = rows.select(_number(sheet, rows, key, column, feature, at).alias("v")).to_series().cast(pl.Float32)
    where = f"{sheet.table}.{key}"
    if earlier is not None and not earlier.names:
        _leave_out(where, key, feature, _LEFT, encoded)
        return
    if earlier is None and values.null_count() == len(values):
        _leave_out(where, key, feature, _EMPTY, encoded)
        return
    if values.null_count() and feature.fill is None:
        raise sheet.fault(
            f"features.{key}",
            column,
            'is missing: say fill = "mean", fill = "missing" (an indicator of its own) or a value',
            values.null_count(),
        )
    if values.n_unique() == 1 and earlier is None:
        encoded.told.append(f"{where} is the same in every row")
    mean: Any = values.cast(pl.Float64).mean() or 0.0
    named = feature.fill in ("mean", _MISSING)
    fill = None if feature.fill is None else float(mean) if named else float(feature.fill)
    what = {
        "number": f"column {column}",
        "boolean": f"column {column}: 1 where true",
        "time": f"column {column}: days before {'the latest in it' if at is None else 'the split'}",
    }[feature.kind]
    given = names if earlier is None else Again(earlier.names)
    first = len(encoded.features)
    encoded.features.append(Feature(given.give(key), fill, what))
    encoded.columns.append(values)
    if feature.fill == _MISSING:
        _add_missing(key, column, values.is_null(), given, encoded)
    made = [one.name for one in encoded.features[first:]]
    encoded.made[key] = Columns(feature.kind, made, [], other=False, missing=feature.fill == _MISSING)


def _add_missing(key: str, column: str, is_missing: pl.Series, names: Names | Again, encoded: Encoded) -> None:
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
    earlier: Columns | None,
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
    if earlier is not None and not earlier.names:
        _leave_out(where, key, feature, _LEFT, encoded)
        return
    if earlier is None and counts.is_empty():
        _leave_out(where, key, feature, _EMPTY, encoded)
        return
    kept = counts["v"].to_list() if earlier is None else earlier.values
    if earlier is not None:
        encoded.told.extend(_differences(where, counts["v"].to_list(), earlier))
    elif len(kept) > MOST_VALUES:
        kept = kept[: MOST_VALUES - 1]
        rare = counts.height - len(kept)
        encoded.told.append(f"{where} has {counts.height:,} values: the {rare:,} rarest are {key}_{_OTHER}")
    elif len(kept) == 1 and not is_missing.any() and isinstance(feature, Category):
        encoded.told.append(f"{where} is the same in every row")
    has_other = counts.height > len(kept) if earlier is None else earlier.other
    given = names if earlier is None else Again(earlier.names)
    first = len(encoded.features)
    counted = dict(counts.iter_rows())
    encoded.values[where] = {value: counted.get(value, 0) for value in kept}
    for value, is_so in _indicators(lists, kept):
        said = f"is {value!r}" if isinstance(feature, Category) else f"has {value!r}"
        encoded.features.append(Feature(given.give(key, value), 0.0, f"column {column}: 1 where it {said}"))
        encoded.columns.append(is_so)
    if has_other:
        is_other = lists.list.eval(~pl.element().is_in(kept)).list.any().fill_null(value=False)
        encoded.features.append(Feature(given.give(key, _OTHER), 0.0, f"column {column}: 1 for the rarest values"))
        encoded.columns.append(is_other.cast(pl.Float32))
        encoded.values[where][_OTHER] = int(is_other.sum())
    if feature.fill == _MISSING:
        _add_missing(key, column, is_missing, given, encoded)
    made = [one.name for one in encoded.features[first:]]
    encoded.made[key] = Columns(feature.kind, made, kept, other=has_other, missing=feature.fill == _MISSING)


def _differences(where: str, values: list[str], earlier: Columns) -> Iterator[str]:
    """What differs from the values of an earlier output."""
    new = sorted(set(values) - set(earlier.values))
    absent = sorted(set(earlier.values) - set(values))
    if new:
        end = f"they are {_OTHER}" if earlier.other else "they have no indicator"
        yield f"{where} has {len(new):,} values without a column in the earlier output ({samples_to_text(new)}): {end}"
    if absent:
        yield f"{where} has no row with {len(absent):,} values of the earlier output ({samples_to_text(absent)})"


def _indicators(lists: pl.Series, values: list[str]) -> Iterator[tuple[str, pl.Series]]:
    for value in values:
        yield value, lists.list.contains(value).fill_null(value=False).cast(pl.Float32)


def _lists(sheet: Sheet, column: str, feature: Category | Categories) -> pl.Expr:
    """The distinct values of each row, without spaces around them; null where there is none."""
    if isinstance(feature, Category):
        text = sheet.text(column).str.strip_chars()
        return pl.when(text.is_not_null()).then(pl.concat_list(text))
    return elements(sheet, column, feature)
