"""A map out of files: from looking at them to the text of a TOML file."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from data.draft.entities import Entity, draft_restaurants, draft_users
from data.draft.events import Line, draft_events
from data.draft.roles import Roles, find_roles
from data.draft.sides import draft_side, find_reference
from data.draft.survey import Table, survey
from data.sources.away import is_address
from hexbite.console import progress
from hexbite.errors import DataError
from hexbite.folder import VISIT

# Where the comments begin, if the line is not longer.
_COMMENT_COLUMN: Final = 44
_LONGEST_COMMENT: Final = 200

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")

# Why a file is not read as it is told by itself.
_WHY: Final = {
    "header": "the first row holds values: columns are called by their number; name them: columns = [...]",
    "quote": "quotes within fields cannot be read otherwise",
    "nulls": "texts that seem to stand for no value",
    "ragged": "some rows have too few or too many fields: they are padded, or cut off",
    "encoding": "it is no UTF-8, and can be read so",
}

_HEAD: Final = (
    "# A draft of a map: which column means what. Correct it, then: python -m data log MAP.toml OUT",
    "# What could not be told for sure is marked # ?",
)


def draft_map(paths: list[str], *, folder: Path) -> str:
    """The text of a map for some files, relative to where they are called from; the map is to lie in ``folder``.

    Raises DataError where a file cannot be read, or none of them looks like events.
    """
    with tempfile.TemporaryDirectory(prefix="hexbite-map-") as scratch:
        tables = []
        with progress("looking into files", len(paths), "files") as advance:
            for path in paths:
                tables.append(survey(path, base=Path.cwd(), scratch=Path(scratch)))
                advance()
        return "\n".join(_lines(find_roles(tables), folder)) + "\n"


def write_map(paths: list[str], out: Path, *, force: bool) -> None:
    """Write a draft to ``out``, whole or not at all.

    Raises DataError as `draft_map`, and where ``out`` is there already, unless ``force`` says that it may go.
    """
    if out.exists() and not force:
        raise DataError("is there already; name another file, or say --force", path=out)
    text = draft_map(paths, folder=out.absolute().parent)
    partial = out.with_name(f".{out.name}.partial-{os.getpid()}")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(out)
    except OSError as error:
        raise DataError(f"cannot be written: {error.strerror or error}", path=out) from error
    finally:
        partial.unlink(missing_ok=True)


def _lines(roles: Roles, folder: Path) -> Iterator[str]:
    yield from _HEAD
    users = None if roles.users is None else draft_users(roles.users, roles.user)
    restaurants = None if roles.restaurants is None else draft_restaurants(roles.restaurants, roles.restaurant)
    entities = {"users": users, "restaurants": restaurants}
    others = list(_take_sides(roles, entities, folder))
    unknown = [name for name, entity in entities.items() if entity is None or not entity.has_features]
    if unknown:
        yield ""
        why = f"no features of {' and '.join(unknown)}: what they did before the split makes some"
        yield _to_text(Line("history", value=True, why=why))
    elif _come_back(roles):
        why = "history = true: people come back; it adds what is known from the choices before the split"
        yield from ("", _to_text(Line(None, None, why, is_sure=False)))
    for (name, entity), table in zip(entities.items(), (roles.users, roles.restaurants), strict=True):
        if table is None or entity is None:
            yield from ("", f"# [{name}]: no file has a row for each of them")
            continue
        yield from _entity_lines(name, table, entity, folder)
    yield from ("", "[events]")
    events = draft_events(roles)
    yield from map(_to_text, [*_source_lines(roles.events, folder), *events])
    is_timed = any(line.key == "time" for line in events)
    kept = "the share of the choices, the latest, that are" if is_timed else "the share of the lists, drawn, that is"
    yield from ("", "[split]", _to_text(Line("test", 0.2, f"{kept} kept to test by")))
    if is_timed:
        label = next((line.value for line in events if line.key == "label"), [VISIT])
        why = f"[counters] with default = {_value(label)}: counts what people did before each moment (docs/own-data.md)"
        yield from ("", _to_text(Line(None, None, why, is_sure=False)))
    for table in others:
        yield from ("", _comment(f"{table.path}: not used; nothing refers to it"))


def _come_back(roles: Roles) -> bool:
    """Whether there are several rows of the log for each person."""
    return roles.user is not None and roles.events.rows >= 3 * max(roles.user.distinct, 1)


def _take_sides(roles: Roles, entities: dict[str, Entity | None], folder: Path) -> Iterator[Table]:
    """Give the features of side tables to the entities that they are about, and return the files that are none."""
    for table in roles.others:
        found = {
            name: find_reference(table, owner, reference.id if reference is not None else None)
            for name, owner, reference in (
                ("users", roles.users, roles.user),
                ("restaurants", roles.restaurants, roles.restaurant),
            )
        }
        # What names both is another log.
        named = [(entity, id_) for name, id_ in found.items() if (entity := entities[name]) is not None and id_]
        if len(named) != 1:
            yield table
            continue
        entity, id_ = named[0]
        source = {"path": _path_from(table.path, folder)} | table.keys
        taken = {line.key for line in entity.features if line.key is not None}
        entity.features.extend(draft_side(table, id_, source, taken))


def _entity_lines(name: str, table: Table, entity: Entity, folder: Path) -> Iterator[str]:
    yield from ("", f"[{name}]")
    yield from map(_to_text, [*_source_lines(table, folder), *entity.keys])
    if entity.features:
        yield from ("", f"[{name}.features]")
        yield from map(_to_text, entity.features)


def _source_lines(table: Table, folder: Path) -> Iterable[Line]:
    yield Line("path", _path_from(table.path, folder), f"{table.rows:,} rows")
    for key, value in table.keys.items():
        yield Line(key, value, _WHY[key], is_sure=False)


def _path_from(path: str, folder: Path) -> str:
    """A path as a map in ``folder`` names it: from there where the file lies below it."""
    if is_address(path):
        return path
    whole = Path(path).expanduser().absolute()
    place = folder.absolute()
    found = os.path.relpath(whole, place) if whole.is_relative_to(place) else str(whole)
    return found + "/" if path.endswith("/") else found


def _to_text(line: Line) -> str:
    why = f"{'' if line.is_sure else '? '}{line.why}".strip()
    if line.key is None:
        return _comment(why)
    said = f"{_key(line.key)} = {_value(line.value)}"
    return f"{said:<{_COMMENT_COLUMN}} {_comment(why)}" if why else said


def _comment(text: str) -> str:
    plain = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return f"# {plain if len(plain) <= _LONGEST_COMMENT else plain[: _LONGEST_COMMENT - 1] + '…'}"


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _string(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {_value(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return _string(value) if isinstance(value, str) else repr(value)


def _string(text: str) -> str:
    # JSON's escapes are TOML's; what JSON leaves as it is and TOML does not is DEL.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
