"""Which file is which, by what is in it: keys that come again in another, places, times."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Final, NamedTuple

import polars as pl

from data.draft.places import find_pairs
from data.draft.survey import Column, Table, text
from data.draft.times import tell_times
from data.draft.words import EVENTS, RESTAURANT, TIME, USER, name_to_words
from hexbite.errors import DataError

# Values of a column of one file that are looked for among the ids of another.
_SAMPLE: Final = 2_000

# So many of them found make a reference of it.
_ENOUGH: Final = 0.5


class Reference(NamedTuple):
    """A column of the events with ``distinct`` values that are ids of a table: ``share`` of those looked for are."""

    column: str
    id: str
    share: float
    distinct: int


class Roles(NamedTuple):
    """The files by what they are, and the columns of the events that name users and restaurants.

    ``user`` and ``restaurant`` are None where nothing names them; their share is 0 where there is no table to look in.
    """

    events: Table
    users: Table | None
    restaurants: Table | None
    user: Reference | None
    restaurant: Reference | None
    others: list[Table]


def find_roles(tables: list[Table]) -> Roles:
    """Tell users, restaurants and events. Raises DataError where no file can be the events."""
    best, most = None, 0.0
    references = {
        (e, t): _references(tables[e], tables[t]) for e in range(len(tables)) for t in range(len(tables)) if e != t
    }
    indices: list[int | None] = [*range(len(tables)), None, None]
    for events, users, restaurants in dict.fromkeys(permutations(indices, 3)):
        if events is None:
            continue
        to_users = [] if users is None else references[events, users]
        to_restaurants = [] if restaurants is None else references[events, restaurants]
        score = _score(tables, events, users, restaurants, to_users, to_restaurants)
        if score > most:
            best, most = (events, users, restaurants), score
    if best is None:
        raise DataError(
            "none of the files looks like events: rows with a user's id and a restaurant's, and a time as well where "
            "there is one; name the file that holds what was shown, clicked, ordered or rated",
            path=", ".join(table.path for table in tables),
        )
    events, users, restaurants = best
    log = tables[events]
    restaurant = _refer(log, None if restaurants is None else references[events, restaurants], RESTAURANT, set())
    taken = {restaurant.column} if restaurant else set()
    user = _refer(log, None if users is None else references[events, users], USER, taken)
    return Roles(
        log,
        None if users is None else tables[users],
        None if restaurants is None else tables[restaurants],
        user,
        restaurant,
        [table for place, table in enumerate(tables) if place not in best],
    )


def could_be_id(column: Column) -> bool:
    """Whether a column could name somebody or something: no fraction, no time, no long text."""
    if column.dtype.is_nested() or column.dtype.is_temporal() or column.dtype == pl.Boolean or not column.filled:
        return False
    if column.is_number and column.wholes < column.numbers:
        return False
    written = tell_times(column)
    return written is None and max(map(len, column.values), default=0) <= 128


def _score(
    tables: list[Table],
    events: int,
    users: int | None,
    restaurants: int | None,
    to_users: list[Reference],
    to_restaurants: list[Reference],
) -> float:
    """How well files fit their roles; 0 where they cannot have them."""
    log = tables[events]
    is_timed = bool(_times(log))
    if not is_timed and not (_names(log, to_users, USER) and _names(log, to_restaurants, RESTAURANT)):
        return 0.0
    score = 1.0 + 1.5 * is_timed + _named(log, EVENTS) + 0.5 * (log.rows == max(table.rows for table in tables))
    for place, found, words in ((users, to_users, USER), (restaurants, to_restaurants, RESTAURANT)):
        if place is None:
            score += 0.5 * any(name_to_words(name) & words for name in log.columns)
            continue
        if not found:
            return 0.0
        table = tables[place]
        best = found[0]
        score += 3 * best.share + _named(table, words) + 0.5 * bool(name_to_words(best.column) & words)
        score -= 1.0 * _named(table, RESTAURANT if words is USER else USER)
    if restaurants is not None:
        score += 1.5 * bool(find_pairs(tables[restaurants].columns.values()))
    if users is not None and restaurants is not None and _distinct_columns(to_users, to_restaurants) < 2:
        return 0.0
    return score


def _names(log: Table, found: list[Reference], words: frozenset[str]) -> bool:
    """Whether a column of many rows names somebody, or something, of a kind."""
    columns = [log.columns[reference.column] for reference in found] or [
        column for column in log.columns.values() if name_to_words(column.name) & words and could_be_id(column)
    ]
    return any(not column.is_unique for column in columns)


def _distinct_columns(one: list[Reference], other: list[Reference]) -> int:
    return len({reference.column for reference in [*one, *other]})


def _named(table: Table, words: frozenset[str]) -> float:
    """Whether the file's name says it; a column's name alone says less."""
    stem = name_to_words(Path(table.path.rstrip("/")).name)
    return 1.5 * bool(stem & words) or 0.5 * any(
        name_to_words(column.name) & words for column in table.columns.values() if column.is_unique
    )


def _times(table: Table) -> list[Column]:
    return [column for column in table.columns.values() if tell_times(column) is not None]


def _references(log: Table, table: Table) -> list[Reference]:
    """The columns of a log whose values are those of a key of the table, the surest first."""
    keys = [column for column in table.columns.values() if column.is_key and could_be_id(column)]
    found = []
    for column in log.columns.values():
        if not could_be_id(column) or column.distinct < 2:
            continue
        sample = pl.Series(column.values[:_SAMPLE], dtype=pl.String)
        for key in keys:
            is_there = text(key.name, key.dtype).filter(text(key.name, key.dtype).is_in(sample.implode())).n_unique()
            share = table.frame.select(is_there).collect(engine="streaming").item() / max(len(sample), 1)
            if share >= _ENOUGH:
                found.append(Reference(column.name, key.name, share, column.distinct))
    return sorted(found, key=_rank)


def _rank(reference: Reference) -> tuple[float, bool, int]:
    # Small integers are found among any others: a column that names more of the table is the better sign.
    return (-round(reference.share, 1), not _alike(reference), -reference.distinct)


def _alike(reference: Reference) -> bool:
    return bool(name_to_words(reference.column) & name_to_words(reference.id) - {"id"})


def _refer(log: Table, found: list[Reference] | None, words: frozenset[str], taken: set[str]) -> Reference | None:
    if found is not None:
        free = [reference for reference in found if reference.column not in taken]
        best = sorted(free, key=lambda one: (not name_to_words(one.column) & words, *_rank(one)))
        return best[0] if best else None
    free_columns = [
        column
        for column in log.columns.values()
        if column.name not in taken
        and not name_to_words(column.name) & TIME - {"at"}
        and could_be_id(column)
        and 1 < column.distinct < column.rows
    ]
    named = [column for column in free_columns if name_to_words(column.name) & words]
    nameless = [column for column in free_columns if column.name.startswith("column_")]
    if not named and not nameless:
        return None
    if named:
        # The id rather than a kind of user; of ids the one that tells most of them apart.
        best_column = max(named, key=lambda one: ("id" in name_to_words(one.name), one.distinct))
    else:
        # Where no column has a name, logs begin with who it was, and end with where.
        best_column = nameless[0 if words is USER else -1]
    return Reference(best_column.name, "", 0.0, best_column.distinct)
