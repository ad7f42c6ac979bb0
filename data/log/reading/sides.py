"""Side tables: features of entities that lie in a table of their own, one row of them or many for each."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import polars as pl

from data.log.map import Categories, Feature, Table
from data.log.reading.columns import Sheet, open_sheet, samples_to_text
from data.log.reading.ids import id_expression
from data.log.rules import Tally
from hexbite.ids import IdKind

_ID: Final = "\0id"
_VALUE: Final = "\0value"


class Side(NamedTuple):
    """A feature's own table, and its column in the order of the N entities: null where there is no row of them."""

    sheet: Sheet
    rows: pl.DataFrame


#: The features of side tables, by their keys in the map.
Sides = dict[str, Side]


def read_sides(
    name: str, table: Table | None, ids: pl.Series, kind: IdKind, tally: Tally, base: Path, scratch: Path
) -> Sides:
    """The side tables that the features of a ``[name]`` name, for its entities' ids; rows of nobody are counted.

    Raises DataError where one cannot be read, and where there are many rows of an entity and the kind takes one.
    """
    wanted = {} if table is None else table.features
    return {
        key: _read_side(name, key, feature, ids, kind, tally, base, scratch)
        for key, feature in wanted.items()
        if feature.is_aside
    }


def _read_side(
    table: str,
    key: str,
    feature: Feature,
    ids: pl.Series,
    kind: IdKind,
    tally: Tally,
    base: Path,
    scratch: Path,
) -> Side:
    sheet = open_sheet(table, feature, tally=tally, base=base, scratch=scratch)
    assert feature.id is not None
    place = f"features.{key}"
    column = feature.column or key
    of = id_expression(sheet, place, feature.id, kind).alias(_ID)
    sheet.require(place, column)
    refuse_type(sheet, place, column, feature)
    value = elements(sheet, column, feature) if isinstance(feature, Categories) else pl.col(column)
    rows = sheet.frame.select(of, value.alias(_VALUE)).collect(engine="streaming")
    named = rows.drop_nulls(_ID)
    known = named.filter(pl.col(_ID).is_in(ids.implode()))
    where = f"rows of {sheet.place}, for {table}.{key},"
    tally.note(f"{where} with a null or faulty id", len(rows) - len(named), dirty=True)
    tally.note(f"{where} of an id that is not in [{table}]", len(named) - len(known))
    if isinstance(feature, Categories):
        lists = known.explode(_VALUE, empty_as_null=False, keep_nulls=False)
        found = lists.group_by(_ID, maintain_order=True).agg(pl.col(_VALUE).unique(maintain_order=True))
        sheet = sheet._replace(dtypes=sheet.dtypes | {column: pl.List(pl.String())})
    else:
        many = known.group_by(_ID, maintain_order=True).len().filter(pl.col("len") > 1)
        if len(many):
            raise sheet.fault(
                place,
                feature.id,
                f"has several rows each of {len(many):,} {table} ({samples_to_text(many[_ID])}), and a {feature.kind} "
                'takes one: keep one row each, or say kind = "categories"',
            )
        found = known
    aligned = pl.DataFrame({_ID: ids}).join(found, on=_ID, how="left", maintain_order="left")
    return Side(sheet, aligned.select(pl.col(_VALUE).alias(column)))


def refuse_type(sheet: Sheet, key: str, column: str, feature: Feature) -> None:
    """Raise DataError where a column is of a type that no feature of this kind is made of."""
    dtype = sheet.dtypes[column]
    if isinstance(dtype, pl.Struct | pl.Binary | pl.Object):
        raise sheet.fault(key, column, f"is of type {dtype}, which is no feature: leave it out")
    if isinstance(dtype, pl.List | pl.Array) and not isinstance(feature, Categories):
        raise sheet.fault(key, column, f'is of type {dtype}: lists are of kind = "categories"')


def elements(sheet: Sheet, column: str, feature: Categories) -> pl.Expr:
    """The distinct values of each row, without spaces around them; null where there is none."""
    dtype = sheet.dtypes[column]
    if isinstance(dtype, pl.List | pl.Array):
        lists = pl.col(column).cast(pl.List(pl.String))
    elif feature.separator is not None:
        lists = sheet.text(column).str.split(feature.separator)
    else:
        text = sheet.text(column)
        lists = pl.when(text.is_not_null()).then(pl.concat_list(text))
    stripped = lists.list.eval(pl.element().str.strip_chars())
    return stripped.list.eval(pl.element().filter(~pl.element().is_in(sheet.nulls))).list.unique(maintain_order=True)
