"""A look into a data folder names every problem by file, column and count."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from data.describe import describe
from data.synthetic import Sizes, write_world
from hexbite.errors import DataError

USERS, RESTAURANTS, TRAIN = "user_features.parquet", "restaurant_features.parquet", "train/train_00.parquet"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_world(tmp_path / "w", Sizes(50, 60, 500, 100, 10), seed=1)
    return tmp_path / "w"


def change(path: Path, **columns: Any) -> None:
    pl.read_parquet(path).with_columns(**columns).write_parquet(path)


def problems(folder: Path) -> list[str]:
    return [str(problem) for problem in describe(folder).problems]


def test_a_sound_folder_has_no_problems_and_is_summed_up(folder: Path) -> None:
    found = describe(folder)
    assert found.problems == []
    text = "\n".join(found.lines)
    for said in ("50 rows", "60 rows", "500 rows in 1 file", "30 wide", "requests      10 rows"):
        assert said in text


def times_from(unit: Any, ticks: int) -> pl.Expr:
    return (pl.int_range(pl.len()) + ticks).cast(pl.Date if unit == "d" else pl.Datetime(unit))


@pytest.mark.parametrize("times", [pl.lit(None), times_from("d", 20_000), times_from("ns", 0), times_from("ms", -1)])
def test_event_times_that_a_load_takes_are_no_problem(folder: Path, times: pl.Expr) -> None:
    change(folder / USERS, event_ts=times)
    assert problems(folder) == []


def nan_at(rows: int) -> pl.Expr:
    return pl.when(pl.int_range(pl.len()) < rows).then(float("nan")).otherwise(pl.col("f03")).cast(pl.Float32)


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda f: change(f / USERS, f03=nan_at(3)), f"{USERS}, column f03: NaN (3 rows)"),
        (lambda f: change(f / USERS, f04=pl.lit(np.inf)), f"{USERS}, column f04: infinite (50 rows)"),
        (lambda f: change(f / USERS, event_ts=times_from("us", 2**62)), f"{USERS}, column event_ts: before year 1 or"),
        (lambda f: change(f / USERS, event_ts=times_from("ms", -(2**62))), "after year 9999 (50 rows)"),
        (lambda f: change(f / USERS, event_ts=times_from("d", 2_932_896)), "after year 9999 (49 rows)"),
        (lambda f: change(f / USERS, event_ts=7), "column event_ts: must be a timestamp, not Int32"),
        (lambda f: change(f / USERS, f05=pl.lit("1")), f"{USERS}, column f05: must hold numbers, not String"),
        (
            lambda f: change(f / USERS, user_id=pl.lit(7)),
            f"{USERS}, column user_id: occurs more than once, another row of it stays (49",
        ),
        (lambda f: change(f / RESTAURANTS, latitude=pl.lit(91.0)), "column latitude: outside -90..90 (60 rows)"),
        (lambda f: change(f / TRAIN, click=pl.lit(2)), f"{TRAIN}, column click: neither 0 nor 1 (500 rows)"),
        (lambda f: change(f / TRAIN, user_id=pl.lit(99)), "column user_id: ids without a feature row; add them"),
        (lambda f: pl.read_parquet(f / TRAIN).clear().write_parquet(f / TRAIN), f"{TRAIN}: holds no rows"),
        (lambda f: (f / TRAIN).write_bytes((f / TRAIN).read_bytes()[:-50]), f"{TRAIN}: cannot be read"),
        (lambda f: (f / USERS).unlink(), f"{USERS}: no such file"),
        (lambda f: pl.read_parquet(f / USERS).drop("f07").write_parquet(f / USERS), "column f07: no such column"),
        (lambda f: (f / "schema.json").write_text("{"), "schema.json"),
        (
            lambda f: change(f / USERS, user_id=pl.col("user_id").cast(pl.UInt64) + 2**63),
            f"{USERS}, column user_id: beyond signed 64 bits (50 rows)",
        ),
        (
            lambda f: (
                change(f / USERS, user_id=pl.col("user_id") - 9),
                change(f / TRAIN, user_id=pl.lit(8, pl.UInt64)),
                change(f / TRAIN, restaurant_id=pl.lit(60, pl.UInt64)),
            ),
            f"{TRAIN}, column restaurant_id: ids without a feature row; add them, or leave such rows out ",
        ),
        (lambda f: change(f / "requests.parquet", size=pl.lit(0)), "column size: outside 1..1,000 (10 rows)"),
    ],
)
def test_a_problem_is_named_with_its_file_column_and_count(folder: Path, break_it: Any, said: str) -> None:
    break_it(folder)
    assert any(said in problem for problem in problems(folder)), problems(folder)


def test_a_folder_that_is_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no folder"):
        describe(tmp_path / "nowhere")
