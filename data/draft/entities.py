"""``[users]`` and ``[restaurants]``: ids, places, and the features that the other columns make."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from data.draft.events import Line
from data.draft.features import guess_feature, holds_both_coordinates, is_zone
from data.draft.places import Pair, find_pairs
from data.draft.roles import Reference
from data.draft.survey import Table
from data.draft.words import is_personal


class Entity(NamedTuple):
    """The keys of a table, and of its features."""

    keys: list[Line]
    features: list[Line]

    @property
    def has_features(self) -> bool:
        """Whether anything is known of whom the rows are about."""
        return any(line.key is not None for line in self.features)


def draft_users(table: Table, found: Reference | None) -> Entity:
    """What the map says of the users."""
    keys = [_id_line(table, found)]
    for line in _place_lines(find_pairs(table.columns.values())):
        why = f"their home, for events that tell no place: {line.why}" if line.why else ""
        keys.append(line._replace(why=why))
    return Entity(keys, list(_features(table, _used(keys), of_person=True)))


def draft_restaurants(table: Table, found: Reference | None) -> Entity:
    """What the map says of the restaurants."""
    keys = [_id_line(table, found)]
    pairs = find_pairs(table.columns.values())
    keys += _place_lines(pairs)
    whole = [column.name for column in table.columns.values() if holds_both_coordinates(column)]
    if whole:
        told = f"{', '.join(whole)} holds a whole position in one text: write two columns, latitude and longitude"
        keys.append(Line(None, None, told, is_sure=False))
    elif not pairs:
        keys.append(Line(None, None, "latitude and longitude: no two columns look like degrees", is_sure=False))
    zones = [column.name for column in table.columns.values() if is_zone(column)]
    if zones:
        keys.append(Line("time_zone", zones[0], "names of time zones"))
    else:
        keys.append(Line(None, None, "time_zone: no column names one; it is found by position"))
    return Entity(keys, list(_features(table, _used(keys), of_person=False)))


def _used(keys: list[Line]) -> set[str]:
    return {str(line.value) for line in keys if line.key is not None}


def _id_line(table: Table, found: Reference | None) -> Line:
    if found is None:
        return Line("id", "", "which column is it?", is_sure=False)
    column = table.columns[found.id]
    repeated = column.filled - column.distinct
    faults = [f"{column.nulls:,} rows have none"] if column.nulls else []
    faults += [f"about {repeated:,} come again"] if repeated > 0 else []
    told = f"{column.distinct:,} different in {column.rows:,} rows"
    return Line("id", column.name, "; ".join([told, *faults]), is_sure=not faults)


def _place_lines(pairs: list[Pair]) -> Iterator[Line]:
    if not pairs:
        return
    others = f"; or {', '.join(f'{pair.latitude} and {pair.longitude}' for pair in pairs[1:])}" if pairs[1:] else ""
    pair = pairs[0]
    is_sure = pair.is_sure and not others
    yield Line("latitude", pair.latitude, pair.why + others, is_sure)
    yield Line("longitude", pair.longitude, "", is_sure)


def _features(table: Table, used: Iterable[str], *, of_person: bool) -> Iterator[Line]:
    degrees = {name for pair in find_pairs(table.columns.values()) for name in (pair.latitude, pair.longitude)}
    for column in table.columns.values():
        if column.name in used:
            continue
        if column.name in degrees:
            yield Line(None, None, f"{column.name}: left out, degrees")
            continue
        if is_personal(column.name, of_person=of_person):
            yield Line(None, None, f"{column.name}: left out, personal data or free text, by its name")
            continue
        guess = guess_feature(column)
        if guess.keys is None:
            yield Line(None, None, f"{column.name}: left out, {guess.why}")
        else:
            yield Line(column.name, guess.keys, guess.why, guess.is_sure)
