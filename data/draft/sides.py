"""Features of side tables: files whose ids are those of the users or of the restaurants, a row or many for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from data.draft.events import Line
from data.draft.features import guess_feature
from data.draft.roles import could_be_id
from data.draft.survey import Column, Table
from data.draft.words import name_to_words

# So many of the ids of either file are in the other.
_ENOUGH: Final = 0.5


def find_reference(side: Table, entities: Table | None, id_: str | None) -> str | None:
    """The column of a file that names the entities of a table, by the column of their ids; None where none does."""
    if entities is None or id_ is None:
        return None
    ids = entities.columns[id_]
    shares = {column.name: _share(column, ids) for column in side.columns.values() if could_be_id(column)}
    best = max(shares, key=lambda name: shares[name], default=None)
    return best if best is not None and shares[best] >= _ENOUGH else None


def _share(column: Column, ids: Column) -> float:
    """The larger share of shared values; 0 of columns whose names say different things."""
    alike = name_to_words(column.name) & name_to_words(ids.name) - {"id"}
    if column.distinct < 2 or (column.name != ids.name and not alike):
        return 0.0
    ones, others = set(column.values), set(ids.values)
    return len(ones & others) / min(len(ones), len(others))


def draft_side(side: Table, id_: str, source: dict[str, Any], taken: set[str]) -> Iterator[Line]:
    """The features of a side table's other columns, of names that are not taken; ``source`` are the keys to read it."""
    ids = side.columns[id_]
    is_single = ids.filled == ids.distinct
    for column in side.columns.values():
        if column.name == id_:
            continue
        guess = guess_feature(column)
        where = f"{side.path}, column {column.name}"
        if guess.keys is None:
            yield Line(None, None, f"{where}: left out, {guess.why}")
            continue
        keys = dict(guess.keys)
        if not is_single:
            if keys["kind"] not in ("category", "categories"):
                yield Line(None, None, f"{where}: left out, many rows of one, and a {keys['kind']} takes one")
                continue
            # Without a row there is no indicator, which is right for them.
            keys = {name: value for name, value in keys.items() if name != "fill"} | {"kind": "categories"}
        elif keys["kind"] not in ("category", "categories"):
            keys |= {"fill": keys.get("fill", "mean")}
        name = column.name
        if name in taken:
            name = f"{Path(side.path.rstrip('/')).stem}_{name}"
        taken.add(name)
        named = {} if name == column.name else {"column": column.name}
        rows = f"{side.rows:,} rows, {ids.distinct:,} ids"
        yield Line(name, keys | source | {"id": id_} | named, f"{rows}: {guess.why}", guess.is_sure)
