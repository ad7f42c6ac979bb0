"""The keys of ``[events]``, each with its reason."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Final, NamedTuple

import polars as pl

from data.draft.features import holds_both_coordinates, is_zone
from data.draft.places import Pair, find_pairs
from data.draft.roles import Reference, Roles, could_be_id
from data.draft.survey import Column, Table, text
from data.draft.times import Written, tell_times
from data.draft.words import (
    CHOSEN,
    HAPPENED,
    KIND,
    LATER,
    LIST,
    POSITION,
    RATING,
    RESTAURANT,
    STANDING,
    TIME,
    USER,
    choice_rank,
    is_event,
    is_showing,
    name_to_words,
)

# More kinds of events than these are none.
_MANY_KINDS: Final = 60

_LAST_POSITION: Final = 10_000

# More steps than these are no rating; what stands so far up from the least to the greatest is liked.
_MANY_STEPS: Final = 21
_LIKED: Final = 0.7

# A list has so many rows at the least, on average.
_FEW_ROWS: Final = 1.5


class Line(NamedTuple):
    """A key of a map, None for a remark alone; what is not sure is marked in the file."""

    key: str | None
    value: Any
    why: str
    is_sure: bool = True


def draft_events(roles: Roles) -> list[Line]:
    """What the map says of the log."""
    log = roles.events
    lines = [
        _reference_line("user", roles.user, roles.users),
        _reference_line("restaurant", roles.restaurant, roles.restaurants),
    ]
    taken = {reference.column for reference in (roles.user, roles.restaurant) if reference is not None}
    parts = (
        partial(_time, restaurants=roles.restaurants),
        partial(_what, user=roles.user),
        partial(_list, user=roles.user),
        _position,
    )
    for part in parts:
        found = list(part(log, taken))
        lines += found
        taken |= {line.value for line in found if line.key in ("time", "kind", "chosen", "list", "position")}
    places = list(_places(log, roles))
    lines += places
    taken |= {line.value for line in places if line.key is not None}
    left = [name for name in log.columns if name not in taken]
    if left:
        lines.append(Line(None, None, f"not used: {', '.join(left)}"))
    return lines


def _reference_line(key: str, found: Reference | None, table: Table | None) -> Line:
    if found is None:
        return Line(key, "", f"which column names the {key}?", is_sure=False)
    if table is None:
        return Line(key, found.column, "by its name or place; no file has a row for each of them", is_sure=False)
    return Line(
        key,
        found.column,
        f"{found.share:.0%} of the values looked at are in {table.path}, column {found.id}",
        is_sure=found.share > 0.9,
    )


def _time(log: Table, taken: set[str], restaurants: Table | None) -> Iterator[Line]:
    found: list[tuple[Column, Written]] = []
    for column in log.columns.values():
        written = tell_times(column)
        if written is not None and column.name not in taken:
            found.append((column, written))
    if not found:
        yield Line(None, None, "time: no column tells one; a hash of the lists draws the split")
        return
    # A moment rather than a day, the one whose name says so, in every row, the first of them.
    best, written = max(
        found,
        key=lambda one: (
            bool(name_to_words(one[0].name) & TIME),
            not name_to_words(one[0].name) & LATER,
            -round(one[0].nulls / max(one[0].rows, 1), 1),
            one[0].distinct,
        ),
    )
    others = [column.name for column, _ in found if column is not best]
    zones = _zones(restaurants) if "zone" in written.keys else []
    why = written.why + (f"; or {', '.join(others)}" if others else "")
    yield Line("time", best.name, why, is_sure=not others and (written.is_sure or "zone" in written.keys))
    for key, value in written.keys.items():
        which = "the text tells no offset: which zone?" if key == "zone" else ""
        if which and len(zones) > 1:
            which += f" restaurants lie in {len(zones)} ({', '.join(zones[:3])}): write local times in UTC first"
        yield Line(key, value, which, is_sure=written.is_sure)


def _zones(restaurants: Table | None) -> list[str]:
    """The time zones that the restaurants' file names."""
    columns = [] if restaurants is None else restaurants.columns.values()
    return next((list(column.counts) for column in columns if is_zone(column)), [])


def _what(log: Table, taken: set[str], user: Reference | None) -> Iterator[Line]:
    free = [column for column in log.columns.values() if column.name not in taken]
    kinds = [column for column in free if _tells_kinds(column)]
    if kinds:
        best = max(kinds, key=lambda column: (bool(name_to_words(column.name) & KIND), len(_choices(column))))
        yield Line("kind", best.name, ", ".join(f"{kind} {count:,}" for kind, count in best.counts.items()))
        listed = [str(line.value) for line in (*_list(log, taken, user), *_position(log, taken))]
        yield from _kind_lines(best, _never_listed(log, best, listed))
        return
    chosen = [column for column in free if name_to_words(column.name) & CHOSEN and _is_truth(column)]
    if chosen:
        counts = ", ".join(f"{value} {count:,}" for value, count in chosen[0].counts.items())
        yield Line("chosen", chosen[0].name, f"every row was shown: {counts}", is_sure=len(chosen) == 1)
        return
    rated = [column for column in free if name_to_words(column.name) & RATING and _rates(column)]
    if rated:
        # Of rating, food_rating and service_rating the first is of the whole.
        best = min(rated, key=lambda column: len(name_to_words(column.name)))
        yield from _rating_lines(best, [column.name for column in rated if column is not best])
        return
    few = [column for column in free if 2 <= len(column.counts) <= 10 and not column.is_number]
    hint = f"; does {few[0].name} say what happened ({', '.join(list(few[0].counts)[:4])})?" if few else ""
    yield Line(None, None, f"every row counts as a choice: no column says what happened{hint}", is_sure=not few)


def _never_listed(log: Table, kinds: Column, listed: list[str]) -> set[str]:
    """The kinds of events whose rows have neither a list nor a position, where others have."""
    if not listed:
        return set()
    filled = [text(name, log.columns[name].dtype).count().alias(name) for name in listed if name != kinds.name]
    found = log.frame.group_by(kind=text(kinds.name, kinds.dtype)).agg(filled).collect(engine="streaming")
    bare = found.filter(pl.any_horizontal(pl.exclude("kind") == 0))["kind"].drop_nulls()
    return set() if len(bare) == len(kinds.counts) else set(bare)


def _kind_lines(column: Column, never_listed: set[str]) -> Iterator[Line]:
    strongest = min(rank for kind in column.counts if (rank := choice_rank(kind)) is not None)
    label = [kind for kind in column.counts if choice_rank(kind) == strongest]
    shown = [kind for kind in column.counts if is_showing(kind) and kind not in never_listed]
    ignored = [kind for kind in column.counts if kind not in label and kind not in shown]
    dropped = sum(column.counts[kind] for kind in ignored) / max(sum(column.counts.values()), 1)
    told = (
        f"what counts as chosen; {dropped:.0%} of the rows are of ignored kinds" if ignored else "what counts as chosen"
    )
    yield Line("label", label, told, is_sure=len(label) == 1 and not ignored)
    if shown:
        yield Line("shown", shown, "what it was chosen from", is_sure=len(shown) == 1)
    if ignored:
        bare = [kind for kind in ignored if is_showing(kind)]
        why = f"; {', '.join(bare)}: shown, but never in a list or at a position" if bare else ""
        yield Line("ignored", ignored, f"of no interest here{why}", is_sure=False)


def _choices(column: Column) -> list[str]:
    return [kind for kind in column.counts if choice_rank(kind) is not None]


def _tells_kinds(column: Column) -> bool:
    """Whether values read as what happened, in most of the rows unless the name says that they do."""
    if not 2 <= len(column.counts) <= _MANY_KINDS or column.is_number or not _choices(column):
        return False
    read = sum(count for kind, count in column.counts.items() if is_event(kind))
    return bool(name_to_words(column.name) & HAPPENED) or read >= 0.5 * sum(column.counts.values())


def _is_truth(column: Column) -> bool:
    return column.dtype == pl.Boolean or {value.lower() for value in column.counts} in (
        {"0", "1"},
        {"true", "false"},
        {"yes", "no"},
        {"t", "f"},
        {"y", "n"},
    )


def _rates(column: Column) -> bool:
    """Whether (nearly) every row rates, by a few steps."""
    return column.is_number and 2 <= len(column.counts) <= _MANY_STEPS and column.nulls <= 0.02 * column.rows


def _rating_lines(column: Column, others: list[str]) -> Iterator[Line]:
    assert column.least is not None and column.greatest is not None
    bar = column.least + _LIKED * (column.greatest - column.least)
    liked = sorted((value for value in column.counts if float(value) >= bar), key=float)
    counts = ", ".join(f"{value} {count:,}" for value, count in column.counts.items())
    yield Line("chosen", column.name, f"every row was shown, and rated: {counts}", is_sure=False)
    others_too = f"; or by {', '.join(others)}" if others else ""
    yield Line("chosen_is", liked, f"the ratings that count as chosen{others_too}", is_sure=False)


def _list(log: Table, taken: set[str], user: Reference | None) -> Iterator[Line]:
    named = [
        column
        for column in log.columns.values()
        if column.name not in taken and name_to_words(column.name) & LIST and could_be_id(column)
    ]
    for column in sorted(named, key=lambda column: "session" in name_to_words(column.name)):
        rows = column.filled / max(column.distinct, 1)
        if rows >= _FEW_ROWS and (user is None or _of_one_user(log, column, user)):
            yield Line("list", column.name, f"{column.distinct:,} of them, {rows:.1f} rows each, each of one person")
            return


def _of_one_user(log: Table, column: Column, user: Reference) -> bool:
    """Whether few lists of the first rows are of several people."""
    values = log.frame.select(
        one=text(column.name, column.dtype), user=text(user.column, log.columns[user.column].dtype)
    ).head(100_000)
    people = values.drop_nulls().group_by("one").agg(pl.col("user").n_unique()).collect()
    return bool(len(people)) and float((people["user"] == 1).mean() or 0.0) > 0.95  # type: ignore[arg-type]


def _position(log: Table, taken: set[str]) -> Iterator[Line]:
    for column in log.columns.values():
        if column.name in taken or not name_to_words(column.name) & POSITION or not column.is_number:
            continue
        if column.wholes == column.numbers and 0 <= (column.least or 0) <= (column.greatest or 0) < _LAST_POSITION:
            yield Line("position", column.name, f"{column.least:g} to {column.greatest:g}")
            return


def _places(log: Table, roles: Roles) -> Iterator[Line]:
    pairs = find_pairs(log.columns.values())
    placed = roles.restaurants is not None and bool(find_pairs(roles.restaurants.columns.values()))
    of_restaurant = [pair for pair in pairs if pair.words & RESTAURANT]
    of_person = [pair for pair in pairs if pair.words & (USER | STANDING)]
    bare = [pair for pair in pairs if pair not in of_restaurant and pair not in of_person]
    if not of_restaurant and not placed and bare:
        pair = bare.pop(0)
        yield from _pair_lines(
            "restaurant_", pair, "where the restaurant is, as no file of restaurants says it", sure=False
        )
    elif of_restaurant and not placed:
        yield from _pair_lines("restaurant_", of_restaurant[0], "where the restaurant is", sure=True)
    fixed = [pair for pair in bare if _stays(log, pair, roles)]
    for pair in fixed:
        bare.remove(pair)
        if placed:
            told = f"{pair.latitude}, {pair.longitude} change with the restaurant: its place, which its file tells"
            yield Line(None, None, told)
    for pair in (of_person or bare)[:1]:
        yield from _pair_lines("", pair, "where the person was", sure=bool(pair.words & USER))
    for column in log.columns.values():
        if holds_both_coordinates(column):
            yield Line(
                None, None, f"{column.name} holds a whole position in one text: write two columns", is_sure=False
            )


def _stays(log: Table, pair: Pair, roles: Roles) -> bool:
    """Whether there are hardly more latitudes than restaurants: people stand in more places."""
    return roles.restaurant is not None and log.columns[pair.latitude].distinct <= 1.2 * roles.restaurant.distinct


def _pair_lines(prefix: str, pair: Pair, what: str, *, sure: bool) -> Iterator[Line]:
    yield Line(f"{prefix}latitude", pair.latitude, f"{what}: {pair.why}", is_sure=sure and pair.is_sure)
    yield Line(f"{prefix}longitude", pair.longitude, "", is_sure=sure and pair.is_sure)
