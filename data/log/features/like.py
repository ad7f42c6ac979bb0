"""The columns of an earlier output, for another that a model of the earlier one can be served with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from data.log.map import Categories, Category, Feature, Map
from data.output import SOURCE
from hexbite.errors import DataError, SchemaError
from hexbite.features import HOUR, WEEKDAY, FeatureSchema
from hexbite.folder import SCHEMA
from hexbite.ids import IdKinds

#: The key of ``source.json`` that holds what each feature became.
COLUMNS: Final = "columns"


class Columns(NamedTuple):
    """What a feature of a map became: the ``names`` of its columns, none where it was left out.

    ``values`` of categories have an indicator each, in this order; then maybe ``other``, then maybe ``missing``.
    """

    kind: str
    names: list[str]
    values: list[str]
    other: bool
    missing: bool


class Again:
    """Hands out the names that a feature has already, as `Names` gives new ones."""

    def __init__(self, names: list[str]) -> None:
        self._names = iter(names)

    def give(self, *_: str) -> str:
        """The next of them."""
        return next(self._names)


class Earlier(NamedTuple):
    """An output in ``folder``: its schema, and the columns of each feature, such as ``restaurants.cuisine``."""

    folder: Path
    schema: FeatureSchema
    columns: dict[str, Columns]

    def of_table(self, table: str) -> dict[str, Columns]:
        """The columns of one table's features by their keys, in the order of the earlier map."""
        prefix = f"{table}."
        return {key.removeprefix(prefix): one for key, one in self.columns.items() if key.startswith(prefix)}

    def check_map(self, asked: Map) -> None:
        """Raise DataError where a map's features are others than those of the earlier one."""
        wanted = {
            f"{table}.{key}": feature
            for table, features in (("users", asked.users), ("restaurants", asked.restaurants))
            if features is not None
            for key, feature in features.features.items()
        }
        faults = [f"{key} is not in the map" for key in self.columns if key not in wanted]
        faults += [f"{key} is not in {self.folder}" for key in wanted if key not in self.columns]
        for key, feature in wanted.items():
            if key in self.columns:
                faults += _differences(key, feature, self.columns[key])
        if not {HOUR, WEEKDAY}.isdisjoint(self.schema.names("context")) and asked.events.time is None:
            faults.append(f"{self.folder} has {HOUR} and {WEEKDAY}, and [events] names no time")
        if faults:
            raise DataError(
                f"--like wants the features of the earlier map, and these are others: {'; '.join(faults)}",
                path=self.folder / SOURCE,
            )

    def check_schema(self, made: FeatureSchema) -> None:
        """Raise DataError where ids or tables would not be those of the earlier output."""
        if made.ids != self.schema.ids:
            raise DataError(
                f"--like: ids of users and restaurants are {_ids(self.schema.ids)} there, and {_ids(made.ids)} here: "
                "say ids in [users] and [restaurants]",
                path=self.folder / SCHEMA,
            )
        if made.counters.definitions() != self.schema.counters.definitions():
            raise DataError(
                "--like: what is counted there is other than here: give [counters] as its map does",
                path=self.folder / SCHEMA,
            )
        for group in ("user", "restaurant"):
            before, now = self.schema.names(group), made.names(group)
            if before != now:
                lost = ", ".join(sorted(set(before) - set(now))) or "none"
                new = ", ".join(sorted(set(now) - set(before))) or "none"
                raise DataError(
                    f"--like: {group} features that only the earlier output has: {lost}; that only this one has: "
                    f"{new}; say history as its map does",
                    path=self.folder / SCHEMA,
                )
            for feature, here in zip(self.schema.group(group), made.group(group), strict=True):
                if feature.fill is None and here.fill is not None:
                    raise DataError(
                        f"--like: {group} feature {feature.name} has a fill here, and none there: a row without it "
                        "could not be served; leave the fill out of the map",
                        path=self.folder / SCHEMA,
                    )


def _differences(key: str, feature: Feature, columns: Columns) -> list[str]:
    if columns.kind != feature.kind:
        return [f"{key} was of kind {columns.kind}"]
    is_value = isinstance(feature, Category | Categories)
    if columns.names and columns.missing != (feature.fill == "missing"):
        return [f'{key} {"had" if columns.missing else "did not have"} fill = "missing"']
    return [f"{key} had no values"] if is_value and columns.names and not columns.values else []


def _ids(kinds: IdKinds) -> str:
    return f"{kinds.user} and {kinds.restaurant}"


def read_earlier(folder: Path) -> Earlier:
    """Read what an earlier output is made of. Raises DataError where a folder is none, or tells too little."""
    schema, source = (_read(folder / name) for name in (SCHEMA, SOURCE))
    try:
        columns = {str(key): Columns(**one) for key, one in source[COLUMNS].items()}
        return Earlier(folder, FeatureSchema.from_json(schema), columns)
    except SchemaError as error:
        raise DataError(str(error), path=folder / SCHEMA) from error
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"does not say under {COLUMNS!r} what its features are: make it once more by python -m data log",
            path=folder / SOURCE,
        ) from error


def _read(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(
            f"cannot be read: {error.strerror or error}; --like wants an output of python -m data log", path=path
        ) from error
    except ValueError as error:
        raise DataError(f"is no JSON: {error}", path=path) from error
    if not isinstance(document, Mapping):
        raise DataError("is no JSON object", path=path)
    return document
