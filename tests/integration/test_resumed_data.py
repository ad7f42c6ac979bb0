"""A run goes on with the data that it began with, or not at all; what differs is told."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from data.synthetic import Sizes, write_world
from tests.integration.trainer import RESTAURANTS, USERS, Trainer, change, change_train
from tests.integration.trainer import trainer as trainer
from training.reading.clicks import ClickFiles
from training.reading.survey import Split, survey
from training.reading.tables import read_tables

USER_IDS, USER_FEATURES = "ids of the user table", "features of the user table"
RESTAURANT_IDS, RESTAURANT_FEATURES = "ids of the restaurant table", "features of the restaurant table"
SIZES, PAIRS = "sizes of the train files' parts", "users and restaurants of the train rows"
CLICKS, CONTEXT = "clicks of the train rows", "context features of the train rows"
VALIDATION = "validation rows"


@pytest.fixture
def world(tmp_path: Path) -> Path:
    folder = tmp_path / "world"
    write_world(folder, Sizes(60, 50, 1_500, 100, 10), seed=3, files=3)
    shutil.rmtree(folder / "test")  # which has no such column
    change_train(folder, lambda frame: frame.with_columns(distance_m=pl.int_range(pl.len()).cast(pl.Float32)))
    (folder / "schema.json").unlink()
    return folder


def digests(folder: Path, *, holdout: float = 0.1, holdout_files: int = 0, seed: int = 0) -> dict[str, str]:
    return survey(Split(ClickFiles(folder, "train", read_tables(folder)), holdout, holdout_files, seed)).digests


def swap(one: Path, other: Path) -> None:
    aside = one.with_suffix(".aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def swap_files(folder: Path) -> None:
    first, *_, last = sorted((folder / "train").glob("*.parquet"))
    swap(first, last)


def swap_rows(folder: Path) -> None:
    """Two rows that trade places, with all that is theirs."""
    path = min((folder / "train").glob("*.parquet"))
    frame = pl.read_parquet(path)
    pl.concat([frame[1], frame[0], frame[2:]]).write_parquet(path)


def permuted(name: str) -> Callable[[Path], None]:
    def permute(folder: Path) -> None:
        # Moments, counts and rates stay as they are.
        change_train(folder, lambda frame: frame.with_columns(pl.col(name).shuffle(seed=1)))

    return permute


def renumbered(table: str, name: str) -> Callable[[Path], None]:
    def renumber(folder: Path) -> None:
        # Others in the same order: the same row numbers.
        for path in (folder / table, *(folder / "train").glob("*.parquet")):
            change(path, **{name: pl.col(name) * 2})

    return renumber


def cut_elsewhere(folder: Path) -> None:
    """The same rows in the same order, the last of one file the first of the next."""
    one, other, _ = sorted((folder / "train").glob("*.parquet"))
    before, after = pl.read_parquet(one), pl.read_parquet(other)
    before[:-1].write_parquet(one)
    pl.concat([before[-1:], after]).write_parquet(other)


@pytest.mark.parametrize(
    ("do", "differs"),
    [
        (permuted("click"), {CLICKS, VALIDATION}),
        (permuted("user_id"), {PAIRS, VALIDATION}),
        (permuted("restaurant_id"), {PAIRS, VALIDATION}),
        (permuted("distance_m"), {CONTEXT, VALIDATION}),
        (swap_files, {PAIRS, CLICKS, VALIDATION}),
        (swap_rows, {PAIRS, CONTEXT}),
        (cut_elsewhere, {SIZES}),
        (renumbered(USERS, "user_id"), {USER_IDS}),
        (renumbered(RESTAURANTS, "restaurant_id"), {RESTAURANT_IDS}),
        (lambda folder: change(folder / USERS, f00=pl.col("f00").reverse()), {USER_FEATURES}),
        (lambda folder: change(folder / USERS, f00=pl.col("f01"), f01=pl.col("f00")), {USER_FEATURES}),
        (lambda folder: change(folder / RESTAURANTS, f00=pl.col("f00").reverse()), {RESTAURANT_FEATURES}),
    ],
)
def test_what_is_of_other_data_is_told(world: Path, do: Callable[[Path], None], differs: set[str]) -> None:
    before = digests(world)
    assert digests(world) == before
    do(world)
    after = digests(world)
    astray = {name for name in before if before[name] != after[name]}
    # Rows that lie elsewhere may also be held out where they were not.
    assert differs <= astray if {PAIRS, SIZES} & differs else differs == astray


def test_what_changes_no_weight_is_the_same_data(world: Path) -> None:
    before = digests(world)
    change(world / USERS, note=pl.lit("of nobody's concern"))
    pl.read_parquet(world / USERS).reverse().drop("note").write_parquet(world / USERS)
    for number, path in enumerate(sorted((world / "train").glob("*.parquet"))):
        path.rename(path.with_name(f"part-{number}.parquet"))
    assert digests(world) == before


@pytest.mark.parametrize("other", [{"holdout": 0.2}, {"seed": 1}, {"holdout_files": 1}])
def test_which_rows_are_held_out_is_part_of_it(world: Path, other: dict[str, Any]) -> None:
    assert digests(world)[VALIDATION] != digests(world, **other)[VALIDATION]


def test_a_run_is_not_resumed_with_permuted_labels_and_goes_on_with_its_own(
    world: Path, tmp_path: Path, trainer: Trainer, monkeypatch: Any
) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(world, whole)
    arguments: tuple[str | Path, ...] = ("train", "--data", world, "--epochs", "3", "--batch-size", "64")
    arguments = (*arguments, "--checkpoint", tmp_path / "run.safetensors")
    with monkeypatch.context() as patch:
        patch.setattr("training.run.tell", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
        assert "--resume goes on from" in trainer(*arguments, "--holdout", "0.2", status=143).stderr
    arguments = (*arguments, "--resume")
    permuted("click")(world)
    told = trainer.refused(*arguments, "--holdout", "0.2")
    assert f"the {CLICKS} are others, the {VALIDATION} are others; start without --resume" in told
    assert "features" not in told
    told = trainer.refused(*arguments, "--holdout", "0.1")
    assert "holdout was 0.2, is 0.1" in told
    shutil.rmtree(world)
    whole.rename(world)
    resumed = trainer(*arguments, "--holdout", "0.2").stdout
    assert "epoch 1/3" not in resumed and "epoch 3/3" in resumed
