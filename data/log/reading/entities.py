"""Who and what the log is about: users and restaurants, a number for each, and where restaurants are."""

from __future__ import annotations

from collections import Counter
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from data.log.map import Categories, Feature, Map, Placed, Restaurants, Users
from data.log.reading.columns import Sheet
from data.log.reading.exchanged import exchanged as find_exchanged
from data.log.reading.ids import id_expression, infer_kind
from data.log.reading.sides import refuse_type
from hexbite.errors import DataError
from hexbite.geo import Degrees
from hexbite.ids import IdKind

#: Rows of an entity's table by number, ``(N,)``.
Codes = npt.NDArray[np.int32]

# Columns beside those of the file, named as no file does.
_ID: Final = "\0id"
_LAT: Final = "\0latitude"
_LNG: Final = "\0longitude"


class Entities(NamedTuple):
    """N users or restaurants in the order of their numbers.

    ``ids`` ``(N,)`` as the company has them; ``rows`` their raw rows where there is a table; ``lats`` and ``lngs``
    ``(N,)`` degrees (of users, their homes), NaN where a position is not known; ``faults`` of the table's other rows;
    ``unplaced`` the ids of those that were left out because of their position.
    """

    kind: IdKind
    ids: pl.Series
    sheet: Sheet | None
    rows: pl.DataFrame
    lats: Degrees
    lngs: Degrees
    faults: Counter[str]
    unplaced: pl.Series

    def __len__(self) -> int:
        return len(self.ids)


def read_users(asked: Map, sheet: Sheet | None, events: Sheet) -> Entities:
    """The users of the table, else of the log. Raises DataError where latitude and longitude are exchanged."""
    if asked.users is None or sheet is None:
        return _from_log(events, "user", asked.events.user)
    kind, rows, faults = _read_table(asked.users, sheet)
    if asked.users.latitude is not None:
        rows = _locate(asked.users, sheet, rows, faults, drop=False)
    return _entities(kind, sheet, rows, faults)


def read_restaurants(asked: Map, sheet: Sheet | None, events: Sheet) -> Entities:
    """The restaurants of the table; and those of the log where it tells where they are and the table has no features.

    Raises DataError where latitude and longitude are exchanged.
    """
    table = asked.restaurants
    told_by_events = asked.events.restaurant_latitude is not None
    if table is None or sheet is None:
        return _from_log(events, "restaurant", asked.events.restaurant)
    kind, every, faults = _read_table(table, sheet)
    rows = every
    if table.latitude is not None:
        rows = _locate(table, sheet, every, faults, drop=not told_by_events)
    unplaced = every.join(rows, on=_ID, how="anti")[_ID]
    found = _entities(kind, sheet, rows, faults, unplaced)
    if table.features or not told_by_events:
        return found
    more = _log_ids(events, "restaurant", asked.events.restaurant, kind).join(rows, on=_ID, how="anti")
    return _entities(kind, sheet, pl.concat([rows, more], how="diagonal"), faults)


def _entities(
    kind: IdKind,
    sheet: Sheet | None,
    rows: pl.DataFrame,
    faults: Counter[str],
    unplaced: pl.Series | None = None,
) -> Entities:
    lats, lngs = (
        rows[name].to_numpy().astype(np.float64) if name in rows.columns else np.full(len(rows), np.nan)
        for name in (_LAT, _LNG)
    )
    return Entities(
        kind,
        rows[_ID].alias("id"),
        sheet,
        rows,
        lats,
        lngs,
        faults,
        rows[_ID].clear() if unplaced is None else unplaced,
    )


def _from_log(events: Sheet, key: str, column: str) -> Entities:
    kind = infer_kind(events, key, column)
    return _entities(kind, None, _log_ids(events, key, column, kind), Counter())


def _log_ids(events: Sheet, key: str, column: str, kind: IdKind) -> pl.DataFrame:
    ids = events.frame.select(id_expression(events, key, column, kind).alias(_ID))
    return ids.drop_nulls().unique().collect(engine="streaming").sort(_ID)


def _read_table(table: Users | Restaurants, sheet: Sheet) -> tuple[IdKind, pl.DataFrame, Counter[str]]:
    kind = table.ids or infer_kind(sheet, "id", table.id)
    columns = [table.id, *_feature_columns(sheet, table.features)]
    wanted = [id_expression(sheet, "id", table.id, kind).alias(_ID)]
    if isinstance(table, Restaurants) and table.time_zone is not None:
        sheet.require("time_zone", table.time_zone)
        columns.append(table.time_zone)
    for key, column, name in (("latitude", table.latitude, _LAT), ("longitude", table.longitude, _LNG)):
        if column is not None:
            sheet.require(key, column)
            wanted.append(sheet.number(column).alias(name))
    rows = sheet.frame.select(*wanted, *dict.fromkeys(columns)).collect(engine="streaming")
    known = rows.filter(pl.col(_ID).is_not_null())
    single = known.unique(_ID, keep="first", maintain_order=True)
    faults = Counter({"null or faulty ids": len(rows) - len(known), "ids that came before": len(known) - len(single)})
    if single.is_empty():
        raise DataError(f"[{sheet.table}] holds no row with an id", path=sheet.place, column=table.id)
    return kind, single, faults


def _feature_columns(sheet: Sheet, wanted: dict[str, Feature]) -> list[str]:
    """The columns that the features are made of. Raises DataError where one is absent or of a type that cannot be."""
    columns = []
    for key, feature in wanted.items():
        if feature.is_aside:
            continue
        column, place = feature.column or key, f"features.{key}"
        dtype = sheet.require(place, column)
        refuse_type(sheet, place, column, feature)
        if isinstance(feature, Categories):
            if not isinstance(dtype, pl.List | pl.Array) and dtype != pl.String:
                raise sheet.fault(place, column, f"is of type {dtype}: categories are lists, or text")
            if dtype == pl.String and feature.separator is None:
                raise sheet.fault(place, column, 'is text: say separator, such as ";"')
        columns.append(column)
    return columns


def _locate(table: Placed, sheet: Sheet, rows: pl.DataFrame, faults: Counter[str], *, drop: bool) -> pl.DataFrame:
    """Rows with a position; the others are left out, or keep their row without one where the events may tell it."""
    is_nowhere, is_outside = nowhere(pl.col(_LAT), pl.col(_LNG)), outside(pl.col(_LAT), pl.col(_LNG))
    fits_exchanged = ~outside(pl.col(_LNG), pl.col(_LAT))
    found = rows.select(nowhere=is_nowhere, outside=is_outside, exchanged=is_outside & fits_exchanged)
    nowheres, exchanged = (int(found[name].sum()) for name in ("nowhere", "exchanged"))
    if exchanged and 2 * exchanged > len(rows) - nowheres:
        raise sheet.fault(
            "latitude",
            str(table.latitude),
            f"{table.latitude} and {table.longitude} look exchanged: as they stand they are out of range, the other "
            "way round they are not; exchange the two in the map",
            exchanged,
        )
    if not isinstance(table, Users):  # a home is often not known
        faults["no position" if drop else "no position of their own"] = nowheres
    told = rows.select(pl.when(~is_nowhere).then(pl.col(name)).alias(name) for name in (_LAT, _LNG))
    is_exchanged = find_exchanged(told[_LAT], told[_LNG])
    faults["latitude and longitude exchanged"] = int(is_exchanged.sum())
    faults["positions out of range"] = int((found["outside"] & ~is_exchanged).sum())
    is_bad = found["nowhere"] | found["outside"] | is_exchanged
    if drop:
        kept = rows.filter(~is_bad)
        if kept.is_empty():
            raise DataError(f"[{sheet.table}] no row has a position", path=sheet.place, column=table.latitude)
        return kept
    return rows.with_columns(pl.when(~is_bad).then(pl.col(name)).alias(name) for name in (_LAT, _LNG))


def nowhere(lat: pl.Expr, lng: pl.Expr) -> pl.Expr:
    """Whether two columns of degrees are no position: null, NaN, or the 0, 0 that programs write in their place."""
    is_number = (lat.is_finite() & lng.is_finite()).fill_null(value=False)
    return ~is_number | ((lat == 0) & (lng == 0)).fill_null(value=False)


def outside(lat: pl.Expr, lng: pl.Expr) -> pl.Expr:
    """Whether two columns of degrees are beyond 90 and 180; not where `nowhere` says that they are none."""
    return ~nowhere(lat, lng) & ((lat.abs() > 90) | (lng.abs() > 180)).fill_null(value=False)
