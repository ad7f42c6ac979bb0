"""A look into a data folder: what it holds, and every problem by file, column and count."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import polars as pl

from data.measure import Column, File, Unreadable
from hexbite.console import Advance, progress
from hexbite.errors import DataError
from hexbite.features import GROUPS, Feature, FeatureSchema
from hexbite.folder import (
    CLICK_KEYS,
    REQUESTS,
    RESTAURANT_KEYS,
    RESTAURANTS,
    SCHEMA,
    TEST,
    TRAIN,
    USER_KEYS,
    USERS,
    resolve_schema,
)

_EVENT_TS: Final = "event_ts"
_VISITED: Final = "visited_restaurant_id"
_CANDIDATES: Final = "candidate_restaurant_ids"

# The least and the greatest that a column may hold.
_RANGES: Final = {
    "latitude": (-90, 90),
    "longitude": (-180, 180),
    "click": (0, 1),
    "size": (1, 1_000),
    "max_dist": (0, 50_000),
}
_MAX_CANDIDATES: Final = 10_000
_INT64_MAX: Final = 2**63 - 1
_REQUEST_KEYS: Final = ("user_id", "latitude", "longitude", "size", "max_dist")
_INTEGER_KEYS: Final = ("user_id", "restaurant_id", "click", _VISITED)


class Problem(NamedTuple):
    """What keeps a folder from being used: in which file and column, and in how many rows (0: not a matter of rows)."""

    file: str
    column: str
    what: str
    rows: int = 0

    def __str__(self) -> str:
        where = f"{self.file}, column {self.column}" if self.column else self.file
        return f"{where}: {self.what}" + (f" ({self.rows:,} rows)" if self.rows else "")


class Description(NamedTuple):
    """Lines to print, in order, and the problems."""

    lines: list[str]
    problems: list[Problem]


def describe(folder: Path) -> Description:
    """Read a data folder in bounded memory, click files one after the other, and say what is in it.

    Ids of people and places are held whole. Raises DataError where there is no such folder; a missing, damaged or
    cut-off file is a problem in the answer.
    """
    if not folder.is_dir():
        raise DataError("is no folder", path=folder)
    reader = _Reader(folder)
    reader.read()
    return Description(reader.lines, reader.problems)


class _Reader:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines: list[str] = []
        self.problems: list[Problem] = []

    def read(self) -> None:
        users, restaurants = self._open(self.folder / USERS), self._open(self.folder / RESTAURANTS)
        clicks = {name: self._open_all(name) for name in (TRAIN, TEST)}
        schema = self._schema(users, restaurants, next(iter(clicks[TRAIN]), None))
        user_ids = self._table("users", users, USER_KEYS, schema.user)
        restaurant_ids = self._table("restaurants", restaurants, RESTAURANT_KEYS, schema.restaurant)
        with progress("looking through clicks", sum(map(len, clicks.values())), "files") as advance:
            for name, files in clicks.items():
                self._clicks(name, files, schema.context, (user_ids, restaurant_ids), advance)
        if (self.folder / REQUESTS).exists():
            self._requests(self._open(self.folder / REQUESTS), user_ids, restaurant_ids)

    def _problem(self, path: Path, column: str, what: str, count: int = 0) -> None:
        problem = Problem(path.relative_to(self.folder).as_posix(), column, what, count)
        # A missing column is met twice: by who resolves the schema, and by who reads the file.
        if problem not in self.problems:
            self.problems.append(problem)

    def _open(self, path: Path) -> File | None:
        if not path.exists():
            self._problem(path, "", "no such file")
            return None
        try:
            return File(path)
        except Unreadable as error:
            self._problem(path, "", f"cannot be read: {error}")
            return None

    def _open_all(self, name: str) -> list[File]:
        paths = sorted((self.folder / name).glob("*.parquet"))
        if not paths:
            self._problem(self.folder / name, "", "no parquet file in it")
        return [file for path in paths if (file := self._open(path)) is not None]

    def _schema(self, users: File | None, restaurants: File | None, clicks: File | None) -> FeatureSchema | _NoSchema:
        if users is None or restaurants is None:
            return _NoSchema()
        try:
            schema = resolve_schema(
                self.folder,
                user_columns=users.columns,
                restaurant_columns=restaurants.columns,
                click_columns=clicks.columns if clicks else None,
            )
        except DataError as error:
            self._problem(error.path, error.column or "", error.problem.partition(";")[0])
            return _NoSchema()
        origin = SCHEMA if (self.folder / SCHEMA).exists() else f"every column that is no key (no {SCHEMA})"
        self.lines += [f"schema        {origin}", f"  fingerprint {schema.fingerprint}"]
        for group in GROUPS:
            features = schema.group(group)
            filled = sum(feature.fill is not None for feature in features)
            names = _names([feature.name for feature in features])
            self.lines.append(f"  {group:<11} {len(features)} wide, {filled} with a fill{names}")
        return schema

    def _table(
        self, what: str, file: File | None, keys: Sequence[str], features: Sequence[Feature]
    ) -> pl.Series | None:
        """Describe a feature table and return its ids; None where they cannot be read."""
        if file is None:
            return None
        try:
            rows, columns = file.measure((*keys, *(feature.name for feature in features), _EVENT_TS))
            self.lines.append(f"{what:<13} {rows:,} rows, {_bytes(file.size_bytes)}")
            self.lines.append(f"  ids         {_range(columns, keys[0])}")
            if not rows:
                self._problem(file.path, "", "holds no rows")
            self._keys(file, keys, columns)
            self._features(file, features, columns)
            if "latitude" in columns and "longitude" in columns:
                self.lines.append(f"  latitude    {_range(columns, 'latitude')}")
                self.lines.append(f"  longitude   {_range(columns, 'longitude')}")
            if _EVENT_TS in columns:
                self._event_times(file, columns[_EVENT_TS])
            if keys[0] not in columns or not columns[keys[0]].dtype.is_integer():
                return None
            ids = file.read(keys[0])[keys[0]]
        except Unreadable as error:
            self._problem(file.path, "", f"cannot be read: {error}")
            return None
        if len(ids) > ids.n_unique():
            self._problem(file.path, keys[0], "ids that occur more than once", len(ids) - ids.n_unique())
        return ids

    def _event_times(self, file: File, column: Column) -> None:
        if column.dtype not in (pl.Date, pl.Datetime, pl.Null):
            self._problem(file.path, _EVENT_TS, f"must be a timestamp, not {column.dtype}")
            return
        self._count(file, _EVENT_TS, "before year 1 or after year 9999", column.too_large)
        if column.low is not None:
            self.lines.append(f"  {_EVENT_TS:<11} {column.low} .. {column.high}")
        if column.nulls:
            self.lines.append(f"  {_EVENT_TS:<11} {column.nulls:,} null: the load's time")

    def _keys(self, file: File, keys: Sequence[str], columns: dict[str, Column]) -> bool:
        """Report what is wrong with key columns; False where one is missing or of a wrong type."""
        sound = True
        for name in keys:
            if name not in columns:
                self._problem(file.path, name, "no such column")
                sound = False
                continue
            column = columns[name]
            integers = name in _INTEGER_KEYS
            if not (column.dtype.is_integer() if integers else column.numeric):
                self._problem(file.path, name, f"must hold {'integers' if integers else 'numbers'}, not {column.dtype}")
                sound = False
                continue
            self._count(file, name, "null", column.nulls)
            self._not_finite(file, name, column)
            if column.dtype == pl.UInt64:
                self._count(file, name, "beyond signed 64 bits", file.count((pl.col(name) > _INT64_MAX).sum())[0])
            if name in _RANGES:
                low, high = _RANGES[name]
                outside = ((pl.col(name) < low) | (pl.col(name) > high)) & ~_is_not_finite(name, column)
                self._count(file, name, f"outside {low:,}..{high:,}", file.count(outside.sum())[0])
        return sound

    def _features(self, file: File, features: Sequence[Feature], columns: dict[str, Column]) -> None:
        filled: list[tuple[str, str]] = []
        for feature in features:
            column = columns.get(feature.name)
            if column is None:
                self._problem(file.path, feature.name, "no such column")
                continue
            if not column.numeric:
                self._problem(file.path, feature.name, f"must hold numbers, not {column.dtype}")
                continue
            self._not_finite(file, feature.name, column)
            if column.nulls and feature.fill is None:
                self._count(file, feature.name, "null without a fill", column.nulls)
            elif column.nulls:
                filled.append((feature.name, f"{column.nulls:,} null, filled with {feature.fill:g}"))
        for what, group in itertools.groupby(filled, key=lambda named: named[1]):
            names = [name for name, _ in group]
            self.lines.append(f"  {_span(names)}: {what}{' each' if len(names) > 1 else ''}")

    def _not_finite(self, file: File, name: str, column: Column) -> None:
        self._count(file, name, "NaN", column.nans)
        self._count(file, name, "infinite", column.infinities)
        self._count(file, name, "beyond float32", column.too_large)

    def _count(self, file: File, column: str, what: str, count: int) -> None:
        if count:
            self._problem(file.path, column, what, count)

    def _clicks(
        self,
        name: str,
        files: list[File],
        context: Sequence[Feature],
        known_ids: tuple[pl.Series | None, pl.Series | None],
        advance: Advance,
    ) -> None:
        rows = clicks = size = 0
        at = len(self.lines)
        for file in files:
            try:
                file_rows, columns = file.measure((*CLICK_KEYS, *(feature.name for feature in context)))
                size += file.size_bytes
                rows += file_rows
                if not file_rows:
                    self._problem(file.path, "", "holds no rows")
                self._features(file, context, columns)
                if not self._keys(file, CLICK_KEYS, columns):
                    continue
                clicks += file.count((pl.col("click") == 1).sum())[0]
                for column, known in zip(("user_id", "restaurant_id"), known_ids, strict=True):
                    if known is not None:
                        self._count(file, column, "ids without a feature row", file.count_unknown(column, known))
            except Unreadable as error:
                self._problem(file.path, "", f"cannot be read: {error}")
            finally:
                advance()
        rate = f", click rate {clicks / rows:.4f}" if rows else ""
        many = "1 file" if len(files) == 1 else f"{len(files)} files"
        self.lines.insert(at, f"{name:<13} {rows:,} rows in {many}, {_bytes(size)}{rate}")

    def _requests(self, file: File | None, users: pl.Series | None, restaurants: pl.Series | None) -> None:
        if file is None:
            return
        try:
            rows, columns = file.measure((*_REQUEST_KEYS, _VISITED))
            self.lines.append(f"requests      {rows:,} rows, {_bytes(file.size_bytes)}")
            sound = self._keys(file, (*_REQUEST_KEYS, *(name for name in (_VISITED,) if name in columns)), columns)
            if sound:
                self.lines.append(f"  size        {_range(columns, 'size')}, max_dist {_range(columns, 'max_dist')} m")
            if sound and users is not None:
                self.lines.append(f"  cold starts {file.count_unknown('user_id', users):,}")
            if sound and restaurants is not None and _VISITED in columns:
                unknown = file.count_unknown(_VISITED, restaurants)
                self._count(file, _VISITED, "ids without a feature row", unknown)
            self._candidates(file)
        except Unreadable as error:
            self._problem(file.path, "", f"cannot be read: {error}")

    def _candidates(self, file: File) -> None:
        dtype = file.dtypes.get(_CANDIDATES)
        if dtype is None:
            return
        if not (isinstance(dtype, pl.List) and (dtype.inner.is_integer() or dtype.inner == pl.Null)):
            self._problem(file.path, _CANDIDATES, f"must hold lists of integers, not {dtype}")
            return
        lists = pl.col(_CANDIDATES)
        nulls, total, too_many = file.count(
            lists.null_count(), lists.list.len().cast(pl.Int64).sum(), (lists.list.len() > _MAX_CANDIDATES).sum()
        )
        self.lines.append(f"  candidates  {total:,} in all; {nulls:,} requests ask for whatever is near")
        self._count(file, _CANDIDATES, f"more than {_MAX_CANDIDATES:,} candidates", too_many)


class _NoSchema:
    """Stands in where the schema cannot be told: no features to look at, the keys still are."""

    user: tuple[Feature, ...] = ()
    restaurant: tuple[Feature, ...] = ()
    context: tuple[Feature, ...] = ()


def _is_not_finite(name: str, column: Column) -> pl.Expr:
    return ~pl.col(name).is_finite() if column.dtype.is_float() else pl.lit(value=False)


def _range(columns: dict[str, Column], name: str) -> str:
    column = columns.get(name)
    if column is None or column.low is None:
        return "without a value"
    return f"{column.low} .. {column.high}"


def _span(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} .. {names[-1]} ({len(names)} columns)"


_SHOWN_NAMES: Final = 2


def _names(names: Sequence[str]) -> str:
    if not names:
        return ""
    return ": " + (", ".join(names) if len(names) <= _SHOWN_NAMES else f"{names[0]} .. {names[-1]}")


def _bytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
