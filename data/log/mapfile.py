"""A map's file: TOML to the models, and what is wrong with it in words that name table and key."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from data.log.counted import Counted
from data.log.map import Events, Lists, Map, Negatives, Restaurants, Split, Standing, Users
from data.sources import Source
from hexbite.errors import DataError

#: The map of check-ins that is shipped.
CHECKINS_MAP: Final = Path(__file__).parents[1] / "maps" / "checkins.toml"


def fill_checkins_map(checkins: Path, venues: Path | None, options: dict[str, Any]) -> Map:
    """`CHECKINS_MAP` for some files: ``options`` take the place of its tables. Raises as `read_map`."""
    document = _read_toml(CHECKINS_MAP) | options
    document["events"]["path"] = str(checkins.resolve())
    if venues is None:
        del document["restaurants"]
    else:
        document["restaurants"]["path"] = str(venues.resolve())
    return check_map(document, CHECKINS_MAP)


def read_map(path: Path) -> Map:
    """Read a map. Raises DataError that names the file, and each table and key that cannot be used."""
    return check_map(_read_toml(path), path)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", path=path) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"is no TOML: {error}", path=path) from error


def check_map(document: dict[str, Any], path: Path) -> Map:
    """A map out of what its file says. Raises as `read_map`."""
    try:
        return Map.model_validate(document)
    except ValidationError as error:
        faults = [_fault_to_text(fault["loc"], fault) for fault in error.errors()]
        raise DataError("; ".join(dict.fromkeys(faults)), path=path) from error


# What any feature may say; id and the keys of a source are those of a side table.
_FEATURE_KEYS: Final = ["kind", "column", "fill", "separator", "unit", "format", "zone", "id", *Source.model_fields]

# How pydantic names the types of a union.
_TRIED: Final = frozenset({"float", "bool", "int", "str"})

# What pydantic says of the faults that a hand makes, in words of ours.
_WORDS: Final = {"missing": "is wanted", "extra_forbidden": "is no key of a map"}


def _fault_to_text(place: tuple[int | str, ...], fault: Any) -> str:
    # A place in a list, and below a union the type that was tried, are no keys of a map.
    is_choice = [str(part).startswith(("literal[", "list[")) or part in _TRIED for part in place]
    names = [
        str(part) for part, is_tried in zip(place, is_choice, strict=True) if isinstance(part, str) and not is_tried
    ]
    # Below a feature's name pydantic adds the kind that it was read as.
    if len(names) > 3 and names[1] == "features":
        del names[3]
    table, key = (names[:-1], names[-1]) if len(names) > 1 else (names, "")
    where = f"[{'.'.join(table)}]{' ' if key else ''}{key}"
    if len(names) == 1 and names[0] not in Map.model_fields:
        where = names[0]
    if not names:
        return _message(fault)
    if fault["type"] == "extra_forbidden":
        return f"{where}: {_WORDS['extra_forbidden']}{_near(names)}"
    if any(is_choice):
        wanted = 'a value of the kind, "mean" or "missing"' if names[-1] == "fill" else "text"
        return f"{where}: {fault['input']!r} cannot stand here: give {wanted}"
    return f"{where}: {_WORDS.get(fault['type'], _message(fault))}"


def _message(fault: Any) -> str:
    said = str(fault["msg"]).removeprefix("Value error, ")
    return said if fault["type"] == "value_error" else f"{said}, not {fault['input']!r}"


def _near(names: list[str]) -> str:
    models: dict[str, type[BaseModel]] = {
        "users": Users,
        "restaurants": Restaurants,
        "events": Events,
        "split": Split,
        "lists": Lists,
        "standing": Standing,
        "negatives": Negatives,
        "counters": Counted,
    }
    model = Map if len(names) == 1 else models.get(names[0]) if len(names) == 2 else None
    keys = list(model.model_fields) if model is not None else _FEATURE_KEYS
    close = difflib.get_close_matches(names[-1], keys, n=3)
    return f"; did you mean {' or '.join(close)}?" if close else f"; there are {', '.join(keys)}"
