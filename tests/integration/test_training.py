"""From a data folder to a stored model, by the commands that a person types."""

import json
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import bentoml
import numpy as np
import polars as pl
import pytest
import torch

from data.synthetic import Sizes, write_world
from hexbite.artifact import Artifact
from hexbite.errors import DataError
from hexbite.features import Feature, FeatureSchema
from hexbite.ids import IdKinds
from hexbite.networks import NETWORKS
from hexbite.ranker import Ranker, logits_to_scores
from tests.integration.trainer import RESTAURANTS, USERS, Trainer, change
from tests.integration.trainer import trainer as trainer
from training.judging.evaluate import assemble, logits
from training.judging.score import score
from training.learning.checkpoint import Checkpoint
from training.learning.loop import Trained, train
from training.learning.ranks import Ranks
from training.reading.clicks import ClickFiles, Clicks
from training.reading.rows import FeatureRows
from training.reading.survey import Split, Survey, survey
from training.reading.tables import read_tables
from training.settings import Settings


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training") / "world"
    write_world(folder, Sizes(300, 200, 30_000, 4_000, 10), seed=3, files=3)
    return folder


@pytest.fixture
def copy(world: Path, tmp_path: Path) -> Path:
    """The world, to be broken."""
    return Path(shutil.copytree(world, tmp_path / "copy"))


def drop(path: Path, column: str) -> None:
    pl.read_parquet(path).drop(column).write_parquet(path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def scratch(path: Path) -> None:
    """Change bytes in the midst of the pages; the footer still tells what should be there."""
    content = bytearray(path.read_bytes())
    content[100:2_000] = bytes(1_900)
    path.write_bytes(content)


def look(folder: Path, **settings: Any) -> tuple[Split, Survey]:
    chosen = Settings(**settings)
    files = ClickFiles(folder, "train", read_tables(folder))
    split = Split(files, chosen.holdout, chosen.holdout_files, chosen.seed)
    return split, survey(split)


def fit(folder: Path, **settings: Any) -> tuple[Split, Survey, Trained, Ranker]:
    chosen = Settings(**{"epochs": 2, "holdout": 0.1, "batch_size": 256} | settings)
    split, found = look(folder, holdout=chosen.holdout, holdout_files=chosen.holdout_files, seed=chosen.seed)
    rows = FeatureRows(split.files.tables, found.standardisation, torch.device("cpu"))
    checkpoint = Checkpoint(folder / "unused", 0, {})
    trained = train(split, found, rows, chosen, ranks=Ranks(), checkpoint=checkpoint)
    return split, found, trained, Ranker.fold(trained.network, *found.standardisation)


@pytest.mark.parametrize("model", list(NETWORKS))
def test_a_model_learns_the_drawn_world_nearly_as_well_as_can_be(world: Path, model: str) -> None:
    ceiling = json.loads((world / "world.json").read_text())["ceiling"]
    _, _, trained, ranker = fit(world, epochs=3, model=model)
    tables = read_tables(world)
    (part,) = ClickFiles(world, "test", tables).parts
    rows, _ = ClickFiles(world, "test", tables).read(part)
    correct = (logits(ranker, tables, rows) > 0) == (rows.click > 0)
    assert correct.mean() > ceiling["accuracy"] - 0.02
    assert trained.history.best is not None
    assert trained.history.best.figures["auc"] > 0.97


def test_the_same_seed_gives_the_same_weights_bit_for_bit_and_another_does_not(world: Path) -> None:
    first, again, other = (fit(world, epochs=1, seed=seed)[3].tensors() for seed in (1, 1, 2))
    assert all(bool((first[name] == again[name]).all()) for name in first)
    assert not bool((first["layers.0.weight"] == other["layers.0.weight"]).all())


def everything(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(folder / "train" / "*.parquet")


def test_the_holdout_is_a_share_of_every_file_and_no_row_is_lost(world: Path) -> None:
    split, found = look(world, holdout=0.1)
    met = [split.read(number)[0] for number in range(3)]
    assert [len(clicks) for clicks in met] == found.rows_by_part.tolist()
    assert all(8_700 < len(clicks) < 9_300 for clicks in met)
    assert found.rows + len(found.validation) == 30_000
    together = Clicks.concatenate([*met, found.validation])
    assert np.sort(together.user).tolist() == everything(world)["user_id"].sort().to_list()
    assert int(together.click.sum()) == everything(world)["click"].sum()


def test_the_holdout_can_be_the_last_files(world: Path) -> None:
    _, found = look(world, holdout_files=1)
    assert found.rows_by_part.tolist() == [10_000, 10_000, 0]
    last = pl.read_parquet(world / "train" / "train_02.parquet")
    assert found.validation.user.tolist() == last["user_id"].to_list()
    best = fit(world, epochs=1, holdout_files=1)[2].history.best
    assert best is not None and best.figures["auc"] > 0.9
    with pytest.raises(DataError, match="--holdout-files 3 leaves none of its 3 files"):
        look(world, holdout_files=3)


def test_a_file_is_read_in_parts_that_are_its_row_groups(world: Path, copy: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("data.folder.clicks.PART_ROWS", 1_024)
    split, found = look(world, holdout=0.1)
    assert len(split.files.parts) == 30
    assert found.rows + len(found.validation) == 30_000


def test_standardisation_is_computed_on_the_tables_and_streamed_for_the_context(copy: Path) -> None:
    draws = np.random.default_rng(0)
    for path in sorted(copy.glob("t*/*.parquet")):
        count = pl.scan_parquet(path).select(pl.len()).collect().item()
        change(path, distance_m=pl.Series(draws.gamma(2.0, 800.0, count)) + 1e5)
    (copy / "schema.json").unlink()
    change(copy / USERS, f29=pl.lit(0.1, pl.Float32))
    split, found = look(copy, holdout=0.0)
    tables = split.files.tables
    assert tables.schema.names("context") == ("distance_m",)
    mean, std = found.standardisation
    np.testing.assert_allclose(mean[:30], tables.users.features.mean(axis=0, dtype=np.float64))
    np.testing.assert_allclose(std[30:40], tables.restaurants.features.std(axis=0, dtype=np.float64))
    metres = pl.read_parquet(copy / "train" / "*.parquet")["distance_m"].cast(pl.Float32).cast(pl.Float64).to_numpy()
    np.testing.assert_allclose((mean[40], std[40]), (metres.mean(), metres.std()), rtol=1e-9)
    assert np.isinf(std[29])


def test_sparse_ids_in_any_order_train_the_same_model(world: Path, copy: Path) -> None:
    def sparse(name: str) -> pl.Expr:
        return pl.col(name) * 1_000_003 - 7_000_000_000

    for path, names in ((copy / USERS, ["user_id"]), (copy / RESTAURANTS, ["restaurant_id"])):
        pl.read_parquet(path).with_columns(sparse(name) for name in names).reverse().write_parquet(path)
    for path in copy.glob("t*/*.parquet"):
        change(path, user_id=sparse("user_id"), restaurant_id=sparse("restaurant_id"))
    ours, theirs = (fit(folder, epochs=1)[3].tensors() for folder in (world, copy))
    for name, weights in ours.items():
        np.testing.assert_allclose(weights.numpy(), theirs[name].numpy(), rtol=1e-6, atol=1e-9)


def test_float64_files_and_fills_mean_the_same_as_in_the_store(copy: Path) -> None:
    frame = pl.read_parquet(copy / USERS).with_columns(pl.col("f00").cast(pl.Float64))
    frame.with_columns(f00=pl.when(pl.col("user_id") < 9).then(None).otherwise(pl.col("f00"))).write_parquet(
        copy / USERS
    )
    document = json.loads((copy / "schema.json").read_text())
    document["user"][0]["fill"] = None
    (copy / "schema.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"user_features.parquet, column f00: null without a fill \(9 rows\)"):
        read_tables(copy)
    document["user"][0]["fill"] = 0.25
    (copy / "schema.json").write_text(json.dumps(document))
    tables = read_tables(copy)
    assert tables.users.features[:9, 0].tolist() == [0.25] * 9
    # A model's own fills apply, whatever the folder says.
    schema = FeatureSchema.from_json(document)
    other = FeatureSchema((Feature("f00", -1.0), *schema.user[1:]), schema.restaurant)
    assert read_tables(copy, other).users.features[0, 0] == -1.0


@pytest.mark.parametrize("model", list(NETWORKS))
def test_the_published_ranker_is_the_trained_network(world: Path, model: str) -> None:
    _, found, trained, ranker = fit(world, epochs=1, model=model)
    standardised = torch.empty((len(found.validation), 41))
    # Training has standardised the tables where they lay.
    FeatureRows(read_tables(world), found.standardisation, torch.device("cpu")).gather(found.validation, standardised)
    with torch.no_grad():
        expected = trained.network(standardised[:, :-1])
    scored = ranker.logits(assemble(read_tables(world), found.validation))
    np.testing.assert_allclose(scored, expected.numpy(), atol=1e-4)
    assert np.corrcoef(logits_to_scores(scored), found.validation.click)[0, 1] > 0.7


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda f: change(f / "train/train_01.parquet", user_id=pl.lit(300)), r"train_01.*user_id.*\(10,000 rows\)"),
        (lambda f: change(f / "train/train_02.parquet", restaurant_id=pl.lit(-1)), r"train_02.*restaurant_id"),
        (lambda f: change(f / "train/train_00.parquet", click=pl.lit(2)), r"train_00.*click: neither 0 nor 1"),
        (lambda f: change(f / "train/train_00.parquet", click=pl.lit(None, pl.Int64)), "click: null"),
        (lambda f: change(f / USERS, f03=pl.lit(float("nan"))), r"f03: NaN.*\(300 rows\)"),
        (lambda f: change(f / RESTAURANTS, f03=pl.lit("x")), "f03: must hold numbers"),
        (lambda f: change(f / USERS, user_id=pl.lit(1)), r"user_id: occurs more than once.*\(299 rows\)"),
        (lambda f: pl.read_parquet(f / USERS).drop("f03").write_parquet(f / USERS), "f03: no such column"),
        (
            lambda f: [pl.read_parquet(path).clear().write_parquet(path) for path in (f / "train").iterdir()],
            "train: holds no rows",
        ),
        (lambda f: (f / "train/train_01.parquet").write_bytes(b"PAR1 cut"), "train_01.*cut off"),
        (lambda f: (f / "train/train_01.parquet").write_bytes(b""), "train_01.*cut off"),
        (lambda f: cut(f / "train/train_01.parquet"), "train_01.*cut off"),
        (lambda f: scratch(f / "train/train_01.parquet"), "train_01.*damaged"),
        (lambda f: cut(f / USERS), "user_features.*cut off"),
        (lambda f: drop(f / "train/train_02.parquet", "click"), "train_02.parquet, column click: no such column"),
        (lambda f: drop(f / RESTAURANTS, "restaurant_id"), "restaurant_id: no such column"),
        (
            lambda f: change(f / "train/train_01.parquet", user_id=pl.lit("u1")),
            "user_id: must hold integers, not String",
        ),
        (
            lambda f: change(f / "train/train_01.parquet", user_id=pl.lit(1.0)),
            "user_id: must hold integers, not Float64",
        ),
        (
            lambda f: change(f / "train/train_01.parquet", user_id=pl.lit(None, pl.Int64)),
            r"user_id: null \(10,000 rows\)",
        ),
        (lambda f: change(f / "train/train_01.parquet", click=pl.lit("1")), "click: must hold numbers, not String"),
        (lambda f: change(f / "train/train_01.parquet", click=pl.lit(float("nan"))), "click: neither 0 nor 1"),
        (lambda f: change(f / RESTAURANTS, f09=pl.lit(float("-inf"))), r"f09: infinite \(200 rows\)"),
        (lambda f: change(f / RESTAURANTS, f09=pl.lit(1e39)), "f09: beyond float32"),
        (lambda f: change(f / RESTAURANTS, latitude=pl.lit(None, pl.Float64)), "latitude: null"),
        (lambda f: [change(path, click=pl.lit(1)) for path in (f / "train").iterdir()], "all .* rows say click 1"),
        (lambda f: (f / "schema.json").write_text("{"), "schema.json"),
        (lambda f: [path.unlink() for path in (f / "train").iterdir()], "train: no parquet file"),
        (lambda f: [change(path, click=pl.lit(0)) for path in (f / "train").iterdir()], "all .* rows say click 0"),
    ],
)
def test_what_cannot_be_used_is_an_error_that_names_file_column_and_count(copy: Path, break_it: Any, said: str) -> None:
    break_it(copy)
    with pytest.raises(DataError, match=said):
        look(copy)


def test_a_context_value_that_is_no_number_is_an_error(copy: Path) -> None:
    for path in copy.glob("t*/*.parquet"):
        change(path, distance_m=pl.when(pl.int_range(pl.len()) < 4).then(float("inf")).otherwise(1.0))
    (copy / "schema.json").unlink()
    with pytest.raises(DataError, match=r"train_00.parquet, column distance_m: infinite \(4 rows\)"):
        look(copy)


def test_unknown_ids_can_be_left_out_and_are_counted(copy: Path, trainer: Trainer) -> None:
    for table, column in ((USERS, "user_id"), (RESTAURANTS, "restaurant_id")):
        pl.read_parquet(copy / table).filter(pl.col(column) > 5).write_parquet(copy / table)
    said = trainer.refused("train", "--data", copy)
    assert "cannot be used; problems 8\n" in said
    assert "train/train_02.parquet, column user_id: ids without a feature row; add them" in said
    assert "--unknown skip" in said
    trained, _ = trainer.train(copy, "--unknown", "skip", "--name", "skipped")
    rows = pl.read_parquet(copy / "train" / "*.parquet")
    left_out = rows.filter((pl.col("user_id") <= 5) | (pl.col("restaurant_id") <= 5)).height
    assert f"{left_out:,} rows left out" in trained.stdout


class Links(HTMLParser):
    """What a page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href")]


def assert_report(folder: Path, command: str) -> None:
    pictures = {"loss", "auc", "pace", "memory", "calibration", "roc", "scores", "importance"}
    assert {path.name for path in folder.iterdir()} == {"report.html", *(f"{name}.png" for name in pictures)}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in folder.glob("*.png"))
    page = (folder / "report.html").read_text()
    links = Links()
    links.feed(page)
    # Nothing beside the page is needed: every picture is in it.
    assert len(links.found) == len(pictures)
    assert all(link.startswith("data:image/png;base64,") for link in links.found)
    for said in (command, "seed", "train click rate", "restaurant f0", "validation", "commit", "peak resident memory"):
        assert said in page


def assert_json_lines(told: str) -> None:
    lines = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    assert {line["event"] for line in lines} >= {"done", "validation"}
    (epoch,) = [line for line in lines if line["event"] == "done" and line["doing"] == "epoch 2/2"]
    assert epoch["done"] == epoch["total"]
    assert epoch["unit"] == "rows" and epoch["per_s"] > 0 and epoch["seconds_left"] == 0
    validations = [line for line in lines if line["event"] == "validation"]
    assert [line["epoch"] for line in validations] == [1, 2]
    assert {"auc", "log_loss", "accuracy", "calibration_error"} == validations[0]["figures"].keys()


def test_a_run_without_validation_rows_keeps_the_last_weights_and_says_what_it_cannot(
    world: Path, trainer: Trainer
) -> None:
    trained, folder = trainer.train(world, "--holdout", "0", "--name", "blind")
    assert "30,000 rows to train on, 0 to validate on" in trained.stdout
    assert "No row was held out" in (folder / "report" / "report.html").read_text()
    assert Artifact.load(folder).metrics["validation"] == {}


def test_a_model_goes_through_the_store_with_all_that_is_known_of_it(
    world: Path, trainer: Trainer, tmp_path: Path
) -> None:
    trained, folder = trainer.train(world, "--epochs", "2")
    tag = trained.stdout.splitlines()[-1]
    assert tag.startswith("hexbite:")
    told: Any = bentoml.models.get(tag).info.metadata
    assert told["data"]["train_rows"] + told["data"]["validation_rows"] == 30_000
    assert told["metrics"]["validation"]["auc"] > 0.9
    assert told["training"]["code"]["hexbite"]
    assert {path.name for path in folder.iterdir()} == {"ranker.safetensors", "model.json", "model.yaml", "report"}
    assert_report(folder / "report", command="python -m training train --data")
    assert_json_lines(trained.stderr)
    artifact = Artifact.load(folder)
    assert told["fingerprint"] == artifact.schema.fingerprint
    tables = read_tables(world)
    for mean, table in ((artifact.user_mean, tables.users), (artifact.restaurant_mean, tables.restaurants)):
        np.testing.assert_allclose(mean, table.features.mean(axis=0, dtype=np.float64), rtol=1e-6)

    newer = trainer.train(world)[0].stdout.splitlines()[-1]
    assert "hexbite:latest" not in (tag, newer)
    back = trainer("publish", tag).stdout.strip()
    assert back not in (tag, newer)
    latest = Path(bentoml.models.get("hexbite:latest").path)
    assert latest == trainer.folder(back)
    for file in ("ranker.safetensors", "report/report.html"):
        assert (latest / file).read_bytes() == (folder / file).read_bytes()

    report = tmp_path / "figures.json"
    printed = trainer("evaluate", "--data", world, "--model", tag, "--json", report).stdout
    assert "AUC" in printed
    figures = json.loads(report.read_text())
    assert figures["model"] == tag
    assert figures["clicks"]["auc"]["model"]["low"] > figures["clicks"]["auc"]["most_visited"]["high"]

    pairs, out = tmp_path / "pairs.parquet", tmp_path / "scores.parquet"
    pl.DataFrame({"user_id": [5, 7, 5], "restaurant_id": [9, 0, 9]}).write_parquet(pairs)
    arguments = ["score", "--data", world, "--pairs", pairs, "--out", out, "--model", tag]
    trainer(*arguments)
    scored = pl.read_parquet(out)
    assert scored["user_id"].to_list() == [5, 7, 5]
    tables = read_tables(world)
    expected = artifact.ranker.logits(
        np.hstack([tables.users.features[[5, 7, 5]], tables.restaurants.features[[9, 0, 9]]])
    )
    np.testing.assert_allclose(scored["logit"].to_numpy(), expected)
    np.testing.assert_allclose(scored["score"].to_numpy(), 1 / (1 + np.exp(-expected)))
    pl.DataFrame({"user_id": [5, 999], "restaurant_id": [9, 0]}).write_parquet(pairs)
    assert "column user_id" in trainer.refused(*arguments)
    assert "1 left out" in trainer(*arguments, "--unknown", "skip").stdout


def test_a_folder_of_another_schema_and_a_model_that_does_not_exist_are_errors_of_one_line(
    world: Path, copy: Path, trainer: Trainer
) -> None:
    trainer.train(world, "--name", "one")
    (copy / "schema.json").unlink()
    change(copy / USERS, extra=pl.lit(1.0))
    for arguments, said in (
        (("evaluate", "--data", copy, "--model", "one:latest"), "feature schema"),
        (("evaluate", "--data", world, "--model", "none:latest"), "no 'none:latest'"),
        (("publish", "none:latest"), "no 'none:latest'"),
        (("publish", world), "not a complete model folder"),
        (("train", "--data", world / "nowhere"), "is no folder"),
    ):
        assert said in trainer.refused(*arguments)


def test_pairs_are_scored_under_the_ids_that_they_came_with(copy: Path, tmp_path: Path) -> None:
    said = pl.format("u{}", "user_id").alias("user_id")
    for path in (copy / USERS, *copy.glob("t*/*.parquet"), copy / "requests.parquet"):
        pl.read_parquet(path).with_columns(said).write_parquet(path)
    schema = replace(FeatureSchema.from_json(json.loads((copy / "schema.json").read_text())), ids=IdKinds(user="text"))
    (copy / "schema.json").write_text(json.dumps(schema.to_json()))
    artifact = Artifact(schema, fit(copy, epochs=1)[3], *(np.zeros(w, np.float32) for w in (30, 10)))
    pairs, out = tmp_path / "pairs.parquet", tmp_path / "scores.parquet"
    frame = pl.DataFrame({"user_id": ["u7", "u300", "u5"], "restaurant_id": [0, 1, 2]})
    frame.write_parquet(pairs)
    assert score(artifact, copy, pairs, out, unknown="skip", max_rejected=0) == (2, 1)
    scored = pl.read_parquet(out)
    assert scored.select("user_id", "restaurant_id").equals(frame[[0, 2]])
    assert len(set(scored["logit"].to_list())) == 2
