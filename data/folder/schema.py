"""What a data folder's features are: those of its ``schema.json``, else every column that is no key."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import polars as pl

from data.folder.columns import is_text
from data.folder.files import File
from hexbite.errors import Problem, SchemaError
from hexbite.features import CONTEXT, RESERVED, TIME_ZONE, Feature, FeatureSchema
from hexbite.folder import CLICK_KEYS, EVENT_TS, RESTAURANT_KEYS, RESTAURANTS, SCHEMA, USER_KEYS, USERS
from hexbite.ids import IdKind, IdKinds

#: Columns of train and test files that tell what was shown together, where in the list, and when: left alone.
SHOWN: Final = ("list", "position", "time")

_NO_REQUEST: Final = f"no request can tell it: context features are {', '.join(CONTEXT[:-1])} and {CONTEXT[-1]}"


class Resolved(NamedTuple):
    """The schema, None where it cannot be told, and the kinds of ids, which the columns tell even then."""

    schema: FeatureSchema | None
    ids: IdKinds
    is_told: bool


def resolve(
    folder: Path,
    users: Sequence[File],
    restaurants: Sequence[File],
    train: Sequence[File],
    problems: list[Problem],
) -> Resolved:
    """The schema of a data folder, from files that hold rows; what a ``schema.json`` does not name is left alone."""
    kinds = IdKinds(_kind(users, USER_KEYS[0]), _kind(restaurants, RESTAURANT_KEYS[0]))
    if (folder / SCHEMA).exists() or (folder / SCHEMA).is_symlink():
        schema = _read(folder / SCHEMA, problems)
        return Resolved(schema, schema.ids if schema else kinds, is_told=True)
    found: list[Problem] = []
    groups = {
        "user": _bare(USERS, users, (*USER_KEYS, EVENT_TS), found),
        "restaurant": _bare(RESTAURANTS, restaurants, (*RESTAURANT_KEYS, EVENT_TS, TIME_ZONE), found),
        "context": _context(train, found),
    }
    for name, files, group in ((USERS, users, "user"), (RESTAURANTS, restaurants, "restaurant")):
        if files and not groups[group] and not any(problem.file == name for problem in found):
            found.append(Problem(name, "", "holds no feature: no column beside its keys"))
    problems += found
    if found or not users or not restaurants:
        return Resolved(None, kinds, is_told=False)
    return Resolved(FeatureSchema(groups["user"], groups["restaurant"], groups["context"], kinds), kinds, is_told=False)


def columns_of(files: Iterable[File]) -> dict[str, str]:
    """Every column of some files, in the order in which they are met, and the first file that has it."""
    columns: dict[str, str] = {}
    for file in files:
        for name in file.dtypes:
            columns.setdefault(name, file.name)
    return columns


def _read(path: Path, problems: list[Problem]) -> FeatureSchema | None:
    try:
        # Some editors begin a file with a byte order mark.
        schema = FeatureSchema.from_json(json.loads(path.read_text(encoding="utf-8-sig")))
    except OSError as error:
        problems.append(Problem(SCHEMA, "", f"cannot be read: {(error.strerror or str(error)).lower()}"))
        return None
    except (ValueError, SchemaError, RecursionError) as error:
        problems.append(Problem(SCHEMA, "", str(error)))
        return None
    unknowable = [name for name in (feature.name for feature in schema.requested) if name not in CONTEXT]
    problems += [Problem(SCHEMA, name, _NO_REQUEST) for name in unknowable]
    return None if unknowable else schema


def _bare(table: str, files: Sequence[File], keys: Sequence[str], problems: list[Problem]) -> tuple[Feature, ...]:
    features = []
    for name in columns_of(files):
        if name in keys:
            continue
        try:
            features.append(Feature(name))
        except SchemaError as error:
            what = "a name with a meaning of its own" if name in RESERVED else str(error)
            problems.append(Problem(table, name, f"{what}; rename it, or name the features in a {SCHEMA}"))
    return tuple(features)


def _context(files: Sequence[File], problems: list[Problem]) -> tuple[Feature, ...]:
    columns = columns_of(files)
    known = (*CLICK_KEYS, *CONTEXT, *SHOWN)
    problems += [
        Problem(file, name, f"{_NO_REQUEST}; leave it out, or name the features in a {SCHEMA}")
        for name, file in columns.items()
        if name not in known
    ]
    partitions = (name for name in CONTEXT if any(file.dtype(name) is not None for file in files))
    return tuple(Feature(name) for name in dict.fromkeys((*(name for name in columns if name in CONTEXT), *partitions)))


def _kind(files: Sequence[File], column: str) -> IdKind:
    """By the first file in which the column has a type."""
    for file in files:
        dtype = file.dtype(column)
        if dtype is not None and dtype != pl.Null:
            return "text" if is_text(dtype) else "integer"
    return "integer"
