"""One verdict on a data folder: what describe passes is loaded and trained, and what it refuses all refuse alike."""

import json
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psycopg
import pytest

from data.describe import describe
from db.loading.load import load
from hexbite.errors import FolderError
from hexbite.features import FeatureSchema
from hexbite.zones import zone_to_number
from tests.integration.folders import (
    REQUESTS,
    RESTAURANTS,
    TEST,
    TRAIN,
    USERS,
    Change,
    both,
    change,
    drop,
    first,
    move,
    put,
    rename,
    repeat,
    schema,
    split,
    texts,
    write_folder,
)
from training.reading.clicks import ClickFiles
from training.reading.survey import Split, survey
from training.reading.tables import read_tables

ROOT = Path(__file__).parents[2]
HUGE = 2**63


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "data")


def train(folder: Path, **options: Any) -> int:
    """As training begins, up to the first step; rows that it will learn from."""
    tables = read_tables(folder, defer_train=True, **options)
    found = survey(Split(ClickFiles(folder, "train", tables, options.get("unknown", "error")), 0.1, 0, 0))
    return found.rows + len(found.validation)


def verdicts(folder: Path, dsn: str, **options: Any) -> list[list[str]]:
    """The problems of the folder as describe, a load, training, and evaluation tell them."""
    told = [[str(problem) for problem in describe(folder, **options).problems]]
    for use in (
        lambda: load(dsn, folder, **options),
        lambda: train(folder, **options),
        lambda: read_tables(folder, **options),
    ):
        try:
            use()
        except FolderError as error:
            told.append([str(problem) for problem in error.problems])
        else:
            told.append([])
    return told


def stored(dsn: str) -> list[Any]:
    with psycopg.connect(dsn) as connection:
        return [
            connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()  # noqa: S608
            for table in ("feature_schemas", "users", "restaurants")
        ]


def nulls(rows: int, column: str) -> pl.Expr:
    return first(rows, None, column)


SOUND: dict[str, Change] = {
    "as it is": lambda folder: None,
    "what Spark leaves": both(
        put("train/_SUCCESS", b""),
        put("train/.a.parquet.crc", b"PAR1"),
        put("train/_metadata", b"PAR1"),
        put("_SUCCESS", b""),
        put("train/_temporary/0/part.parquet", b"half"),
        put("train/.hidden/part.parquet", b"half"),
    ),
    "notes beside": both(
        put("README.md", b"x"), put("train/notes.txt", b"x"), put("train/a.csv", b"x"), put("a.csv", b"")
    ),
    "plain folders": move("train/b.parquet", "train/more/b.parquet"),
    "hive folders": move("train/b.parquet", "train/day=2024-01-01/part-0.parquet"),
    "a context column by folders": both(
        change("t*/*.parquet", weekday=pl.lit(3)),
        change(RESTAURANTS, time_zone=pl.lit("Asia/Bangkok")),
        drop("train/b.parquet", "weekday"),
        move("train/b.parquet", "train/weekday=4/b.parquet"),
    ),
    "users in parts": split(USERS),
    "all in parts": both(split(USERS), split(RESTAURANTS, at="year=2024/{}.parquet"), split(REQUESTS)),
    "an empty part of other types": lambda folder: (
        pl.DataFrame({"user_id": [None], "z": ["x"]}).clear().write_parquet(folder / "train/empty.parquet")
    ),
    "narrow ids in one file": change("train/b.parquet", user_id=pl.col("user_id").cast(pl.Int16)),
    "integers in one file, floats in another": change(
        "train/b.parquet", distance_m=pl.col("distance_m").cast(pl.Int64)
    ),
    "what was shown": change(TRAIN, list=pl.lit("l"), position=pl.lit(1), time=pl.lit(datetime(2024, 1, 1))),
    "no test, no requests": lambda folder: [(folder / TEST).unlink(), (folder / REQUESTS).unlink()],
    "boolean labels": change("t*/*.parquet", click=pl.col("click") == 1),
    "float labels": change("t*/*.parquet", click=pl.col("click").cast(pl.Float32)),
    "a boolean feature": change(USERS, b=pl.col("b") > 9),
    "a decimal feature": change(USERS, b=pl.col("b").cast(pl.Decimal(38, 2))),
    "a half": change(USERS, b=pl.col("b").cast(pl.Float16)),
    "128 bits": change(USERS, b=pl.col("b").cast(pl.Int128)),
    "unsigned ids": change("*/*.parquet", user_id=pl.col("user_id").cast(pl.UInt64)),
    "dates": change(USERS, event_ts=pl.lit(datetime(2024, 1, 1)).cast(pl.Date)),
    "moments without a zone": change(USERS, event_ts=pl.lit(datetime(2024, 1, 1)).cast(pl.Datetime("ns"))),
    "moments somewhere": change(USERS, event_ts=pl.lit(datetime(2024, 1, 1)).dt.replace_time_zone("Asia/Bangkok")),
    "event times of nulls": change(USERS, event_ts=pl.lit(None)),
    "nulls without a type and a fill": both(
        schema(user=[{"name": "a", "fill": 0.5}, {"name": "b"}]), change(USERS, a=pl.lit(None))
    ),
    "a schema with a byte order mark": both(
        schema(),
        lambda folder: (folder / "schema.json").write_bytes(b"\xef\xbb\xbf" + (folder / "schema.json").read_bytes()),
    ),
    "columns that the schema does not want": both(
        schema(), change(USERS, name=pl.lit("x"), latitude=pl.lit(1)), change(TRAIN, dwell_s=pl.lit("x"))
    ),
    "text ids": texts(),
    "text ids by dictionary": both(texts(), change(TRAIN, user_id=pl.col("user_id").cast(pl.Categorical))),
    "text ids as the schema says": both(texts(), schema(ids={"user": "text", "restaurant": "text"})),
    "local time": both(
        change(RESTAURANTS, time_zone=pl.lit("Asia/Bangkok").cast(pl.Categorical)),
        change("t*/*.parquet", hour=pl.lit(7), weekday=pl.lit(6)),
    ),
    "candidates without a type": change(REQUESTS, candidate_restaurant_ids=pl.lit(None)),
    "one bad user among 200": change(USERS, a=first(1, float("nan"), "a")),
    "an id that occurs twice": repeat(USERS, 2),
    "two thousand features": change(USERS, **{f"f{number}": pl.lit(0.5) for number in range(2_000)}),
    "a very long name": rename(USERS, a="a" * 3_000),
}


@pytest.mark.parametrize("make", SOUND.values(), ids=SOUND)
def test_what_describe_passes_is_loaded_and_trained(migrated_database: str, folder: Path, make: Change) -> None:
    make(folder)
    assert verdicts(folder, migrated_database) == [[], [], [], []]
    assert len(stored(migrated_database)[2]) == 200
    assert train(folder) > 490


def beyond(column: str, name: str) -> tuple[Change, str]:
    return change(name, **{column: pl.lit(HUGE, pl.UInt64)}), f"column {column}: beyond signed 64 bits"


REFUSED: dict[str, tuple[Change, str]] = {
    "damaged train": (lambda f: (f / TRAIN).write_bytes((f / TRAIN).read_bytes()[:-9]), "may be damaged or cut off"),
    "train of another kind": (put(TRAIN, b"PAR1"), f"{TRAIN}: cannot be read as parquet"),
    "damaged test": (put(TEST, b""), f"{TEST}: cannot be read as parquet"),
    "damaged part": (
        both(split(USERS), put(f"{USERS}/part-1.parquet", b"")),
        f"{USERS}/part-1.parquet: cannot be read",
    ),
    "a link to nothing": (lambda f: (f / "train/c.parquet").symlink_to("nowhere"), "train/c.parquet: no such file"),
    "only csv": (
        both(move(TRAIN, "x/a"), move("train/b.parquet", "x/b"), put("train/a.csv", b"x")),
        "train/a.csv: is not read; wanted is parquet, as train/*.parquet",
    ),
    "parquet by another name": (move("train/b.parquet", "train/000000_0"), "train/000000_0: is not read"),
    "users as csv": (move(USERS, "user_features.csv"), "user_features.csv: is not read; wanted is parquet, as user_"),
    "train as a file": (
        both(move("train", "x"), move("x/a.parquet", "train.parquet")),
        "train.parquet: is not read; wanted is parquet, as train/*.parquet",
    ),
    "no row": (lambda f: pl.read_parquet(f / USERS).clear().write_parquet(f / USERS), f"{USERS}: holds no rows"),
    "no row in any part": (
        lambda f: [pl.read_parquet(path).clear().write_parquet(path) for path in (f / "train").iterdir()],
        "train: holds no rows",
    ),
    "a later column": (
        change("train/b.parquet", hour=pl.lit(1)),
        f"{TRAIN}, column hour: no such column; train/b.parquet",
    ),
    "an earlier column": (
        drop("train/b.parquet", "distance_m"),
        "train/b.parquet, column distance_m: no such column; ",
    ),
    "a later column of a table": (
        both(split(USERS), change(f"{USERS}/part-2.parquet", z=pl.lit(1))),
        f"{USERS}/part-0.parquet, column z: no such column; {USERS}/part-2.parquet has it",
    ),
    "another kind in a part": (
        both(split(USERS), change(f"{USERS}/part-2.parquet", a=pl.lit("x"))),
        f"{USERS}/part-2.parquet, column a: must hold numbers, not String",
    ),
    "a missing wanted column": (
        both(schema(), drop("train/b.parquet", "distance_m")),
        "column distance_m: no such column",
    ),
    "reserved": (change(USERS, latitude=pl.lit(1)), "column latitude: a name with a meaning of its own; rename it"),
    "reserved, of restaurants": (
        change(RESTAURANTS, click=pl.lit(1)),
        "column click: a name with a meaning of its own",
    ),
    "no identifier": (rename(USERS, a="a b"), "column a b: feature name 'a b' is not an identifier"),
    "no request can tell": (change("train/*.parquet", dwell_s=pl.lit(1)), "column dwell_s: no request can tell it"),
    "no request can tell, by schema": (
        both(schema(context=[{"name": "position"}]), change("t*/*.parquet", position=pl.lit(1))),
        "schema.json, column position: no request can tell it",
    ),
    "no time zone": (change("t*/*.parquet", hour=pl.lit(1)), f"{RESTAURANTS}, column time_zone: no such column"),
    "no such zone": (
        both(change("t*/*.parquet", hour=pl.lit(1)), change(RESTAURANTS, time_zone=pl.lit("Asia/Atlantis"))),
        "column time_zone: no time zone of the IANA database, such as Asia/Bangkok (200 rows)",
    ),
    "nulls without a fill": (change(USERS, a=pl.lit(None)), "column a: null without a fill (200 rows)"),
    "text labels": (
        change("train/*.parquet", click=pl.col("click").cast(pl.String)),
        "column click: must hold numbers",
    ),
    "other labels": (change(TRAIN, click=pl.lit(0.5)), "column click: neither 0 nor 1 (300 rows)"),
    "one label": (change("train/*.parquet", click=pl.lit(1)), "train: all 500 rows say click 1; nothing to learn"),
    "text times": (change(USERS, event_ts=pl.lit("2024-01-01")), "column event_ts: must be a timestamp, not String"),
    "a wide number": (change(USERS, a=pl.lit(1e300)), "column a: beyond float32 (200 rows)"),
    "NaN": (change(USERS, a=first(3, float("nan"), "a")), "column a: NaN (3 rows)"),
    "infinities": (change(RESTAURANTS, c=first(3, float("-inf"), "c")), "column c: infinite (3 rows)"),
    "wide ids": beyond("user_id", USERS),
    "wide ids of clicks": beyond("restaurant_id", TRAIN),
    "float ids": (
        change(USERS, user_id=pl.col("user_id").cast(pl.Float64)),
        "column user_id: must hold integers, not Fl",
    ),
    "float ids of clicks": (change(TRAIN, user_id=pl.col("user_id").cast(pl.Float64)), "as int64"),
    "text ids in clicks alone": (change(TRAIN, user_id=pl.lit("u")), f"{TRAIN}, column user_id: must hold integers"),
    "integers in clicks alone": (texts(but=TRAIN), f"{TRAIN}, column user_id: must hold text, not Int64"),
    "text where the schema says integers": (
        both(texts(), schema()),
        f"{USERS}, column user_id: must hold integers, not",
    ),
    "integers where it says text": (
        schema(ids={"user": "text"}),
        f"{USERS}, column user_id: must hold text, not Int64",
    ),
    "text ids that can be none": (
        both(texts(), change(USERS, user_id=first(3, "", "user_id"))),
        "column user_id: is empty (3 rows)",
    ),
    "null ids in clicks": (change(TRAIN, user_id=nulls(2, "user_id")), "column user_id: null (2 rows)"),
    "unknown ids": (change(TRAIN, user_id=first(2, 999, "user_id")), "column user_id: ids without a feature row; add"),
    "exchanged": (
        rename(RESTAURANTS, latitude="longitude", longitude="latitude"),
        f"{RESTAURANTS}, column latitude: latitude and longitude look exchanged (200 rows)",
    ),
    "exchanged requests": (rename(REQUESTS, latitude="longitude", longitude="latitude"), "look exchanged (5 rows)"),
    "out of range": (
        change(RESTAURANTS, latitude=first(9, 91.0, "latitude")),
        "column latitude: outside -90..90 (9 rows)",
    ),
    "too many twice": (
        change(USERS, user_id=first(9, 100, "user_id")),
        "occurs more than once, another row of it stays (9",
    ),
    "requests": (change(REQUESTS, size=pl.lit(0)), f"{REQUESTS}, column size: outside 1..1,000 (5 rows)"),
    "visits of no restaurant": (change(REQUESTS, visited_restaurant_id=pl.lit(999)), "ids without a feature row"),
    "a schema that is none": (put("schema.json", b"{"), "schema.json: "),
    "a schema of NaN": (
        schema(user=[{"name": "a", "fill": float("nan")}]),
        "schema.json: feature a: its fill must be a",
    ),
    "a huge fill": (
        schema(user=[{"name": "a", "fill": 10**400}]),
        "schema.json: feature a: its fill is beyond float32",
    ),
    "an empty group": (schema(user=[]), "schema.json: the user group is empty"),
    "no feature": (drop(USERS, "a", "b"), f"{USERS}: holds no feature"),
    "no restaurants": (move(RESTAURANTS, "x/y"), f"{RESTAURANTS}: no such file"),
}


@pytest.mark.parametrize(("spoil", "said"), REFUSED.values(), ids=REFUSED)
def test_what_describe_refuses_all_refuse_in_the_same_words(
    migrated_database: str, folder: Path, spoil: Change, said: str
) -> None:
    load(migrated_database, folder)
    before = stored(migrated_database)
    spoil(folder)
    described, *others = verdicts(folder, migrated_database)
    assert any(said in problem for problem in described), described
    assert others == [described] * 3
    assert stored(migrated_database) == before
