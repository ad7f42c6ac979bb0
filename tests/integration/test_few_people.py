"""Where too few people clicked, a sentence stands in the place of a figure, wherever it would be told."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from data.synthetic import Sizes, write_world
from hexbite.artifact import Artifact
from hexbite.rankings import MIN_PEOPLE
from tests.integration.trainer import REQUESTS, Trainer, change
from tests.integration.trainer import trainer as trainer


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("few") / "world"
    write_world(folder, Sizes(200, 50, 4_000, 2_000, 60), seed=3, files=2)
    change(folder / REQUESTS, visited_restaurant_id=pl.col("user_id") % 50)
    return folder


@pytest.fixture(scope="module")
def model(whole: Path, trainer: Trainer) -> str:
    return str(trainer.train(whole)[0].stdout.splitlines()[-1])


@pytest.fixture
def test_file(whole: Path) -> Iterator[Path]:
    """The one file of the test split, which is put back."""
    (path,) = (whole / "test").glob("*.parquet")
    before = path.read_bytes()
    yield path
    path.write_bytes(before)


def evaluate(trainer: Trainer, model: str, folder: Path, out: Path, *arguments: str) -> tuple[str, dict[str, Any]]:
    printed = trainer("evaluate", "--data", folder, "--model", model, "--json", out, *arguments).stdout
    return printed, json.loads(out.read_text())


def assert_none(figures: dict[str, Any], reason: str) -> None:
    assert figures.keys() >= {"model", "most_visited"}
    for name, figure in figures.items():
        assert (figure["value"], figure["low"], figure["high"]) == (None, None, None), name
        assert reason in figure["reason"]


FIRST = pl.int_range(pl.len()) == 0


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (pl.col("click").is_not_null(), None),
        ((pl.col("click") == 0) | (pl.col("click").cum_sum() == 1), "1 person with a click"),
        (pl.col("click") == 0, "0 people with a click"),
        (pl.col("click") == 1, "0 people with a row that was not clicked"),
        (pl.col("user_id") == 7, "1 person with a click, 1 person with a row that was not clicked"),
        (pl.col("user_id") < MIN_PEOPLE - 1, f"needs {MIN_PEOPLE} of each"),
        (FIRST, f"needs {MIN_PEOPLE} of each"),
    ],
)
def test_an_evaluation_tells_what_it_can(
    whole: Path, model: str, trainer: Trainer, test_file: Path, tmp_path: Path, rows: pl.Expr, said: str | None
) -> None:
    pl.read_parquet(test_file).filter(rows).write_parquet(test_file)
    printed, figures = evaluate(trainer, model, whole, tmp_path / "figures.json")
    assert 0 <= figures["clicks"]["means"]["model"]["accuracy"] <= 1
    assert figures["clicks"]["means"]["constant"]["log_loss"] >= 0
    if said is None:
        assert figures["clicks"]["auc"]["model"]["low"] < figures["clicks"]["auc"]["model"]["value"]
        assert "no figure" not in printed
        return
    assert_none(figures["clicks"]["auc"], said)
    (line,) = [line for line in printed.splitlines() if "AUC" in line]
    assert "no figure: " in line and said in line
    if figures["lists"]["lists"] < MIN_PEOPLE:
        for metric in ("hit@1", "ndcg@10"):
            of_metric = {name: by[metric] for name, by in figures["lists"].items() if name != "lists"}
            assert_none(of_metric, f"a figure needs {MIN_PEOPLE}")


@pytest.mark.parametrize(("people", "is_told"), [(1, False), (MIN_PEOPLE - 1, False), (MIN_PEOPLE, True)])
def test_visits_of_few_people_are_no_figure(
    whole: Path, model: str, trainer: Trainer, tmp_path: Path, people: int, is_told: bool
) -> None:
    kept = pl.read_parquet(whole / REQUESTS)
    try:
        # Several visits of each, as many rows as there were.
        change(whole / REQUESTS, user_id=pl.int_range(pl.len()) % people)
        printed, figures = evaluate(trainer, model, whole, tmp_path / "figures.json")
    finally:
        kept.write_parquet(whole / REQUESTS)
    assert figures["ranking"]["visits"] == 60
    for metric in ("hit@10", "ndcg@10"):
        of_metric = {name: figures["ranking"][name][metric] for name in ("model", "most_visited", "nearest")}
        if is_told:
            assert all(figure["value"] is not None for figure in of_metric.values())
        else:
            assert_none(of_metric, f"a figure needs {MIN_PEOPLE}")
    assert ("60 visits" in printed) and ("no figure: " in printed) != is_told


def test_no_row_at_all_is_an_error(whole: Path, model: str, trainer: Trainer, test_file: Path) -> None:
    change(test_file, user_id=pl.lit(-1))
    told = trainer.refused("evaluate", "--data", whole, "--model", model, "--unknown", "skip")
    assert "test: no row to use: every user or restaurant is without a feature row" in told


def test_a_validation_of_few_people_has_no_auc_and_says_so_everywhere(whole: Path, trainer: Trainer) -> None:
    told, folder = trainer.train(whole, "--holdout", "0.003")
    (line,) = [line for line in told.stdout.splitlines() if "AUC" in line]
    assert line.startswith("warning: no AUC of the validation rows: ") and f"needs {MIN_PEOPLE} of each" in line
    events = [json.loads(line) for line in told.stderr.splitlines()]
    (event,) = [event for event in events if event["event"] == "no_auc"]
    (validation,) = [event for event in events if event["event"] == "validation"]
    assert validation["figures"]["auc"] is None and validation["figures"]["log_loss"] > 0
    assert "validation log loss" in told.stdout and "validation auc" not in told.stdout
    artifact = Artifact.load(folder)
    assert artifact.metrics["no_auc"] == event["reason"] and event["reason"] in line
    assert artifact.metrics["validation"]["auc"] is None
    page = (folder / "report" / "report.html").read_text()
    assert f"No AUC of the validation rows: {event['reason']}." in page
    assert not {path.stem for path in (folder / "report").iterdir()} & {"roc", "importance"}


def test_a_validation_of_enough_people_has_one(whole: Path, trainer: Trainer) -> None:
    told, folder = trainer.train(whole, "--holdout", "0.1")
    assert "no AUC" not in told.stdout and "validation auc" in told.stdout
    assert "no_auc" not in Artifact.load(folder).metrics


def test_a_baseline_that_ranks_better_is_warned_of(
    whole: Path, model: str, trainer: Trainer, test_file: Path, tmp_path: Path
) -> None:
    assert "warning: " not in evaluate(trainer, model, whole, tmp_path / "figures.json")[0]
    # Whatever it has learnt is wrong here.
    change(test_file, click=1 - pl.col("click"))
    printed, _ = evaluate(trainer, model, whole, tmp_path / "figures.json")
    assert "warning: most_visited" in printed and "ranks better than the model" in printed
