"""Which columns are degrees."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Final, NamedTuple

from data.draft.survey import Column
from data.draft.words import LATITUDE, LONGITUDE, name_to_words

# Up to so many of the values may be exchanged.
_FEW: Final = 0.1


class Pair(NamedTuple):
    """Two columns that are a position, the words that their names share, and what to say of them."""

    latitude: str
    longitude: str
    words: frozenset[str]
    why: str
    is_sure: bool = True


def find_pairs(columns: Iterable[Column]) -> list[Pair]:
    """Columns named as degrees are, in several languages, and within their ranges; two by the rest of their names.

    Where the values say that the names are exchanged, so are the columns, and that is said.
    """
    numbers = [column for column in columns if column.is_number and not column.dtype.is_temporal()]
    pairs = []
    for lat in numbers:
        for lng in numbers:
            stem = _stem(lat, LATITUDE)
            if stem is None or stem != _stem(lng, LONGITUDE) or lat.name == lng.name:
                continue
            if _within(lat, 90) and _within(lng, 180):
                pairs.append(Pair(lat.name, lng.name, stem, f"{_span(lat)} and {_span(lng)} degrees"))
            elif _within(lat, 180) and _within(lng, 90):
                why = f"exchanged: {lat.name} goes {_span(lat)}, which no latitude does"
                pairs.append(Pair(lng.name, lat.name, stem, why, is_sure=False))
            elif _within(lat, 180) and _within(lng, 180) and 0 < (beyond := _beyond(lat)) <= _FEW * len(lat.values):
                why = f"{_span(lat)} and {_span(lng)}: {beyond:,} values of {lat.name} are no latitudes; exchanged?"
                pairs.append(Pair(lat.name, lng.name, stem, why, is_sure=False))
    return pairs or _nameless_pairs(numbers)


def _nameless_pairs(numbers: list[Column]) -> list[Pair]:
    """Of a file without a header: neighbours that could be degrees, nearly all of them with a fraction."""
    fractions = [
        column for column in numbers if column.name.startswith("column_") and column.wholes < 0.1 * column.rows
    ]
    return [
        Pair(lat.name, lng.name, frozenset(), f"{_span(lat)} and {_span(lng)}: degrees?", is_sure=False)
        for lat, lng in pairwise(fractions)
        if _within(lat, 90) and _within(lng, 180)
    ]


def _stem(column: Column, words: frozenset[str]) -> frozenset[str] | None:
    """The words of a name but the one that says what it is, None where none does."""
    found = name_to_words(column.name)
    said = found & words
    return frozenset(found - said) if said else None


def _within(column: Column, most: float) -> bool:
    return column.least is not None and column.greatest is not None and -most <= column.least <= column.greatest <= most


def _beyond(lat: Column) -> int:
    return sum(abs(float(value)) > 90 for value in lat.values)


def _span(column: Column) -> str:
    return f"{column.least:.4g} to {column.greatest:.4g}"
