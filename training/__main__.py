"""``python -m training``: train, evaluate, publish and score."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from hexbite.artifact import Artifact
from hexbite.console import run
from hexbite.errors import DataError
from hexbite.folder import TRAIN
from training.clicks import ClickFiles, Unknown
from training.evaluate import Evaluation, evaluate
from training.loop import Epoch, Settings, Trained, train
from training.score import score
from training.store import code_version, load, publish, save
from training.survey import Split, Survey, survey
from training.tables import read_tables

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Train a ranker on clicks, look at it, publish it.")

_DEFAULTS = Settings()

Data = Annotated[Path, typer.Option("--data", help="A data folder, see docs/architecture.md.")]
UnknownIds = Annotated[Unknown, typer.Option("--unknown", help="Rows whose user or restaurant has no features.")]
Model = Annotated[str, typer.Option("--model", help="Tag in the BentoML model store.")]
Name = Annotated[str, typer.Option("--name", help="The model's name in the BentoML model store.")]


@app.command("train")
def train_model(
    data: Data,
    epochs: Annotated[int, typer.Option(min=1)] = _DEFAULTS.epochs,
    batch_size: Annotated[int, typer.Option(min=1)] = _DEFAULTS.batch_size,
    learning_rate: Annotated[float, typer.Option(min=1e-12)] = _DEFAULTS.learning_rate,
    holdout: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="Share of the train rows that is kept for validation.")
    ] = _DEFAULTS.holdout,
    seed: Annotated[int, typer.Option(min=0, help="The same seed and data give the same weights.")] = _DEFAULTS.seed,
    unknown: UnknownIds = "error",
    name: Name = "hexbite",
) -> None:
    """Train on every file of DIR/train and save the best epoch; the last line printed is the model's tag."""
    settings = Settings(epochs, batch_size, learning_rate, holdout, seed)
    tables = read_tables(data)
    split = Split(ClickFiles(data, TRAIN, tables, unknown), holdout, seed)
    found = survey(split)
    width = tables.schema.width
    print(f"{found.rows:,} rows to train on, {len(found.validation):,} to validate on, {width} features", flush=True)
    if found.left_out:
        print(f"{found.left_out:,} rows left out: their user or restaurant has no features")
    trained = train(split, found, settings, lambda epoch: _print_epoch(epoch, settings.epochs))
    artifact = Artifact(
        schema=tables.schema,
        ranker=trained.ranker,
        user_mean=found.standardisation.mean[: len(tables.schema.user)].astype("float32"),
        training={"model": "ranknet", "best_epoch": trained.best.number, **asdict(settings), "code": code_version()},
        metrics=_metrics(trained),
        data={
            "folder": data.resolve().name,
            "users": len(tables.users.ids),
            "restaurants": len(tables.restaurants.ids),
            **_counts(found),
        },
    )
    if trained.best.number < settings.epochs:
        print(f"kept epoch {trained.best.number}, the best on the validation rows")
    print(save(artifact, name=name))


def _print_epoch(epoch: Epoch, epochs: int) -> None:
    print(f"epoch {epoch.number}/{epochs}: {epoch}", flush=True)


def _metrics(trained: Trained) -> dict[str, Any]:
    return {
        "validation": trained.best.validation,
        "epochs": [{"loss": epoch.loss, **epoch.validation} for epoch in trained.epochs],
    }


def _counts(found: Survey) -> dict[str, Any]:
    return {
        "train_files": found.files,
        "train_rows": found.rows,
        "train_click_rate": found.clicks / found.rows,
        "validation_rows": len(found.validation),
        "rows_left_out": found.left_out,
    }


@app.command("evaluate")
def evaluate_model(
    data: Data,
    model: Model = "hexbite:latest",
    unknown: UnknownIds = "error",
    json_file: Annotated[Path | None, typer.Option("--json", help="A file for the figures.")] = None,
) -> None:
    """Hold a model against DIR/test, beside two baselines; intervals are 95%, with people drawn again."""
    tag, artifact = load(model)
    figures = evaluate(artifact, data, unknown=unknown)
    _print_evaluation(tag, figures)
    if json_file is not None:
        try:
            json_file.write_text(json.dumps({"model": tag, **figures.to_json()}, indent=2, allow_nan=False) + "\n")
        except OSError as error:
            raise DataError(f"cannot be written: {error.strerror}", path=json_file) from error


def _print_evaluation(tag: str, figures: Evaluation) -> None:
    print(f"model {tag} on {figures.rows:,} test rows, click rate {figures.click_rate:.4f}")
    if figures.left_out:
        print(f"{figures.left_out:,} rows left out: their user or restaurant has no features")
    print(f"log loss {figures.log_loss:.4f}, accuracy {figures.accuracy:.4f}")
    for name, figure in figures.auc.items():
        print(f"  {name:<13} AUC     {figure}")
    if not figures.ranking:
        print("no request tells where the person went: hit@10 and NDCG@10 need that")
        return
    print(f"{figures.visits:,} visits, {figures.places_in_reach:,.0f} places in reach on average")
    for metric in ("hit@10", "ndcg@10"):
        for name, by_metric in figures.ranking.items():
            print(f"  {name:<13} {metric:<7} {by_metric[metric]}")


@app.command("publish")
def publish_model(
    source: Annotated[str, typer.Argument(help="A tag of the model store, or a folder with a model's files.")],
    name: Name = "hexbite",
) -> None:
    """Make a model the newest version again: what `bentoml serve` takes next."""
    print(publish(source, name=name))


@app.command("score")
def score_pairs(
    data: Data,
    pairs: Annotated[Path, typer.Option(help="Parquet: user_id, restaurant_id and the model's context features.")],
    out: Annotated[Path, typer.Option(help="Parquet to write: user_id, restaurant_id, logit, score.")],
    model: Model = "hexbite:latest",
    unknown: UnknownIds = "error",
) -> None:
    """Score pairs offline, as the service would."""
    tag, artifact = load(model)
    scored, left_out = score(artifact, data, pairs, out, unknown=unknown)
    skipped = f", {left_out:,} left out" if left_out else ""
    print(f"{out}: {scored:,} pairs scored by {tag}{skipped}")


if __name__ == "__main__":
    run(app)
