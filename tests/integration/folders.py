"""A small good data folder, and the ways to spoil it, for the tests of the verdict."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

USERS, RESTAURANTS, REQUESTS = "user_features.parquet", "restaurant_features.parquet", "requests.parquet"
TRAIN, TEST = "train/a.parquet", "test/a.parquet"

#: What makes of a good folder another one.
Change = Callable[[Path], Any]


def write_folder(folder: Path) -> Path:
    """200 users, 200 restaurants of Bangkok, two train files, a test file, requests; no schema.json."""
    draws = np.random.default_rng(4)
    for name in ("train", "test"):
        (folder / name).mkdir(parents=True)
    ids = np.arange(200)
    pl.DataFrame({"user_id": ids, "a": draws.normal(size=200), "b": ids / 2}).write_parquet(folder / USERS)
    places = {"latitude": 13.7 + ids / 1e4, "longitude": 100.5 + ids / 1e4}
    pl.DataFrame({"restaurant_id": ids, **places, "c": draws.normal(size=200)}).write_parquet(folder / RESTAURANTS)
    for name, rows in (("train/a", 300), ("train/b", 200), ("test/a", 100)):
        keys = {"user_id": draws.integers(0, 200, rows), "restaurant_id": draws.integers(0, 200, rows)}
        frame = pl.DataFrame({**keys, "click": np.arange(rows) % 2, "distance_m": draws.uniform(0, 5_000, rows)})
        frame.write_parquet(folder / f"{name}.parquet")
    asked = {"user_id": ids[:5], "latitude": [13.7] * 5, "longitude": [100.5] * 5, "size": [10] * 5}
    lists = {"candidate_restaurant_ids": [[1, 2], None, [3], [], [4]], "max_dist": [1_000] * 5, "sort_dist": [0] * 5}
    pl.DataFrame(asked | lists).write_parquet(folder / REQUESTS)
    return folder


def change(name: str, /, **columns: Any) -> Change:
    """Other columns in every parquet file that a pattern names."""

    def spoil(folder: Path) -> None:
        for path in sorted(folder.glob(name)):
            pl.read_parquet(path).with_columns(**columns).write_parquet(path)

    return spoil


def drop(name: str, *columns: str) -> Change:
    """Fewer columns in every file that a pattern names."""

    def spoil(folder: Path) -> None:
        for path in sorted(folder.glob(name)):
            pl.read_parquet(path).drop(columns).write_parquet(path)

    return spoil


def rename(name: str, /, **columns: str) -> Change:
    """Other names for columns."""

    def spoil(folder: Path) -> None:
        for path in sorted(folder.glob(name)):
            pl.read_parquet(path).rename(columns).write_parquet(path)

    return spoil


def first(rows: int, value: Any, column: str) -> pl.Expr:
    """A column with another value in its first rows."""
    return pl.when(pl.int_range(pl.len()) < rows).then(pl.lit(value)).otherwise(pl.col(column)).alias(column)


def repeat(name: str, rows: int) -> Change:
    """The first rows of a file once more, at its end."""

    def spoil(folder: Path) -> None:
        frame = pl.read_parquet(folder / name)
        pl.concat([frame, frame.head(rows)]).write_parquet(folder / name)

    return spoil


def split(name: str, *, into: int = 3, at: str = "part-{}.parquet") -> Change:
    """A file of a table in parts, in a folder by its name."""

    def spoil(folder: Path) -> None:
        frame = pl.read_parquet(folder / name)
        (folder / name).unlink()
        for number in range(into):
            path = folder / name / at.format(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            frame.gather_every(into, number).write_parquet(path)

    return spoil


def move(old: str, new: str) -> Change:
    """A file to another place."""

    def spoil(folder: Path) -> None:
        (folder / new).parent.mkdir(parents=True, exist_ok=True)
        (folder / old).rename(folder / new)

    return spoil


def put(name: str, content: bytes) -> Change:
    """A file of some bytes."""

    def spoil(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)

    return spoil


def schema(**changes: Any) -> Change:
    """The schema.json of the good folder, changed."""
    document = {
        "user": [{"name": "a"}, {"name": "b"}],
        "restaurant": [{"name": "c"}],
        "context": [{"name": "distance_m"}],
    }
    return put("schema.json", json.dumps(document | changes).encode())


def both(*changes: Change) -> Change:
    """One after the other."""

    def spoil(folder: Path) -> None:
        for one in changes:
            one(folder)

    return spoil


def texts(*, but: str = "") -> Change:
    """Ids that are text everywhere, but in the columns of one file."""

    def spoil(folder: Path) -> None:
        for path in sorted(folder.rglob("*.parquet")):
            frame = pl.read_parquet(path)
            if path.relative_to(folder).as_posix() == but:
                continue
            names = [name for name in ("user_id", "restaurant_id") if name in frame.columns]
            frame = frame.with_columns(pl.format("x{}", pl.col(name)).alias(name) for name in names)
            if "candidate_restaurant_ids" in frame.columns:
                lists = pl.col("candidate_restaurant_ids").list.eval(pl.format("x{}", pl.element()))
                frame = frame.with_columns(lists)
            frame.write_parquet(path)

    return spoil
