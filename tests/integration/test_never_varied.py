"""Features of which the training rows tell nothing: warned of, and without any weight in the model."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from data.synthetic import Sizes, write_world
from hexbite.artifact import Artifact
from hexbite.networks import NETWORKS
from tests.integration.trainer import RESTAURANTS, USERS, Trainer, change, change_train
from tests.integration.trainer import trainer as trainer
from training.reading.clicks import ClickFiles
from training.reading.survey import Split, survey
from training.reading.tables import read_tables


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Users 0 to 9 have no training row; the third file is for validation."""
    folder = tmp_path / "world"
    write_world(folder, Sizes(60, 50, 1_500, 100, 10), seed=3, files=3)
    shutil.rmtree(folder / "test")  # which has no such column
    change_train(folder, lambda frame: frame.filter(pl.col("user_id") >= 10).with_columns(distance_m=pl.lit(700.0)))
    (folder / "schema.json").unlink()
    return folder


def never_varied(folder: Path, *, holdout_files: int = 0) -> list[str]:
    tables = read_tables(folder)
    found = survey(Split(ClickFiles(folder, "train", tables), 0.02, holdout_files, seed=0))
    columns = [f"{group} {name}" for group in ("user", "restaurant", "context") for name in tables.schema.names(group)]
    return [columns[place] for place in np.flatnonzero(found.standardisation.never_varied)]


@pytest.mark.parametrize(
    ("column", "is_known"),
    [
        (pl.lit(0.0), False),
        (pl.lit(-1.7e9), False),
        (pl.col("user_id").cast(pl.Float64), True),
        # It varies, but only among those whom no training row meets.
        (pl.when(pl.col("user_id") < 10).then(pl.col("user_id")).otherwise(50), False),
        (pl.when(pl.col("user_id") < 11).then(pl.col("user_id")).otherwise(50), True),
        # A float32's last digit is rounding, the third last is not.
        (pl.when(pl.col("user_id") % 2 == 0).then(0.1).otherwise(0.1 + 7e-9), False),
        (pl.when(pl.col("user_id") % 2 == 0).then(0.1).otherwise(0.1 + 7e-8), True),
        # One user of many, and far from 0.
        (pl.when(pl.col("user_id") == 20).then(1e6 + 1.0).otherwise(1e6), True),
        (pl.when(pl.col("user_id") == 20).then(1e-30).otherwise(0.0), True),
    ],
)
def test_a_users_feature_varied_where_the_training_rows_say_so(world: Path, column: Any, is_known: bool) -> None:
    change(world / USERS, f03=column)
    assert ("user f03" not in never_varied(world)) == is_known


def test_restaurants_and_context_are_looked_at_alike(world: Path) -> None:
    change(world / RESTAURANTS, f02=pl.lit(4.0), f05=pl.col("restaurant_id") // 25)
    assert never_varied(world) == ["restaurant f02", "context distance_m"]
    # Now f05 varies among restaurants, but not among those that are met.
    change_train(world, lambda frame: frame.filter(pl.col("restaurant_id") < 25))
    assert never_varied(world) == ["restaurant f02", "restaurant f05", "context distance_m"]


def test_what_varies_in_validation_rows_alone_never_varied_in_training(world: Path) -> None:
    last = max((world / "train").glob("*.parquet"))
    change(last, distance_m=pl.int_range(pl.len()).cast(pl.Float64))
    assert "context distance_m" not in never_varied(world)
    assert "context distance_m" in never_varied(world, holdout_files=1)


@pytest.mark.parametrize("model", list(NETWORKS))
def test_the_trainer_warns_once_and_the_model_scores_without_them(world: Path, trainer: Trainer, model: str) -> None:
    change(world / USERS, f01=pl.lit(3.0), f03=pl.when(pl.col("user_id") < 10).then(9.0).otherwise(1.0))
    change(world / RESTAURANTS, f09=pl.lit(0.0))
    told, folder = trainer.train(world, "--model", model)
    (line,) = [line for line in told.stdout.splitlines() if "never varied" in line]
    assert line.startswith("warning: ")
    assert line.endswith("user f01, f03; restaurant f09; context distance_m")
    (event,) = [line for line in map(json.loads, told.stderr.splitlines()) if line["event"] == "never_varied"]
    by_group = {"user": ["f01", "f03"], "restaurant": ["f09"], "context": ["distance_m"]}
    assert {group: event[group] for group in by_group} == by_group

    artifact = Artifact.load(folder)
    assert artifact.data["never_varied"] == by_group
    report = (folder / "report" / "report.html").read_text()
    assert "Never varied in the training rows" in report and "user f01, f03" in report
    ranker, columns = artifact.ranker, [1, 3, 30 + 9, 40]
    assert np.flatnonzero(~ranker.looked_at).tolist() == columns
    rows = np.random.default_rng(0).normal(size=(9, 41)).astype(np.float32)
    expected = ranker.logits(rows)
    rows[:, columns] = np.nan
    np.testing.assert_array_equal(ranker.logits(rows), expected)


def test_a_run_in_which_all_features_vary_warns_of_none(world: Path, trainer: Trainer) -> None:
    change_train(world, lambda frame: frame.drop("distance_m"))
    told, folder = trainer.train(world)
    assert "never varied" not in told.stdout + told.stderr
    assert Artifact.load(folder).data["never_varied"] == {}
    assert "Never varied" not in (folder / "report" / "report.html").read_text()
