"""``python -m training``: train, evaluate, publish and score."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from data.folder.clicks import Unknown
from data.folder.tables import MAX_REJECTED
from hexbite.console import run
from hexbite.errors import DataError
from training.judging.evaluate import Evaluation, evaluate
from training.judging.metrics import Figure
from training.judging.score import score
from training.learning.ranks import joined
from training.run import run_training
from training.settings import Model, Precision, Schedule, Settings
from training.store import load, publish
from training.writable import file_fault

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Train a ranker on clicks, look at it, publish it.")

_DEFAULTS = Settings()

Data = Annotated[Path, typer.Option("--data", help="A data folder, see docs/architecture.md.")]
UnknownIds = Annotated[Unknown, typer.Option("--unknown", help="Rows whose user or restaurant has no features.")]
MaxRejected = Annotated[
    float, typer.Option("--max-rejected", help="Share of a table's rows that may be unusable.", min=0.0, max=1.0)
]
Tag = Annotated[str, typer.Option("--model", help="Tag in the BentoML model store.")]
Name = Annotated[str, typer.Option("--name", help="The model's name in the BentoML model store.")]


@app.command("train")
def train_model(
    data: Data,
    model: Annotated[Model, typer.Option(help="Which network.")] = _DEFAULTS.model,
    epochs: Annotated[int, typer.Option(min=1)] = _DEFAULTS.epochs,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows a step, over all processes.")] = _DEFAULTS.batch_size,
    learning_rate: Annotated[float, typer.Option(min=1e-12)] = _DEFAULTS.learning_rate,
    schedule: Annotated[Schedule, typer.Option(help="Of the learning rate, down to 0.")] = _DEFAULTS.schedule,
    warmup_steps: Annotated[int, typer.Option(min=0, help="Up to the learning rate.")] = _DEFAULTS.warmup_steps,
    clip_norm: Annotated[float, typer.Option(min=0.0, help="Of a gradient; 0 never clips.")] = _DEFAULTS.clip_norm,
    precision: Annotated[
        Precision, typer.Option(help="Of the products; RankNet's folded step is float32 or float64.")
    ] = _DEFAULTS.precision,
    holdout: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="Share of the train rows that is kept for validation.")
    ] = _DEFAULTS.holdout,
    holdout_files: Annotated[
        int, typer.Option(min=0, help="Keep the last files by name for validation, instead of a share.")
    ] = _DEFAULTS.holdout_files,
    validations: Annotated[int, typer.Option(min=1, help="In an epoch.")] = _DEFAULTS.validations,
    patience: Annotated[
        int, typer.Option(min=0, help="Stop after so many validations without a better one; 0 never.")
    ] = _DEFAULTS.patience,
    window_rows: Annotated[int, typer.Option(min=1, help="Rows shuffled among each other.")] = _DEFAULTS.window_rows,
    seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help="The same seed and data give the same weights.")
    ] = _DEFAULTS.seed,
    unknown: UnknownIds = "error",
    max_rejected: MaxRejected = MAX_REJECTED,
    name: Name = "hexbite",
    checkpoint: Annotated[
        Path | None, typer.Option(help="Where to keep the run's state; by default data/checkpoints/NAME.safetensors.")
    ] = None,
    checkpoint_every: Annotated[int, typer.Option(min=0, help="Steps; 0 keeps it at SIGTERM alone.")] = 10_000,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint, if there is one.")] = False,
) -> None:
    """Train on every file of DIR/train and save the best weights; the last line printed is the model's tag."""
    settings = Settings(
        model=model,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        schedule=schedule,
        warmup_steps=warmup_steps,
        clip_norm=clip_norm,
        precision=precision,
        holdout=holdout,
        holdout_files=holdout_files,
        validations=validations,
        patience=patience,
        window_rows=window_rows,
        seed=seed,
    )
    with joined() as (ranks, device):
        tag = run_training(
            data,
            settings,
            name=name,
            unknown=unknown,
            max_rejected=max_rejected,
            checkpoint_path=checkpoint or Path("data/checkpoints") / f"{name}.safetensors",
            checkpoint_every=checkpoint_every,
            resume=resume,
            ranks=ranks,
            device=device,
        )
    if tag is not None:
        print(tag)


@app.command("evaluate")
def evaluate_model(
    data: Data,
    model: Tag = "hexbite:latest",
    unknown: UnknownIds = "error",
    max_rejected: MaxRejected = MAX_REJECTED,
    json_file: Annotated[Path | None, typer.Option("--json", help="A file for the figures.")] = None,
) -> None:
    """Hold a model against DIR/test, beside two baselines; intervals are 95%, with people drawn again."""
    if json_file is not None:
        _require_writable(json_file)
    tag, artifact = load(model)
    figures = evaluate(artifact, data, unknown=unknown, max_rejected=max_rejected)
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
    for name, means in figures.means.items():
        told = ", ".join(f"{metric.replace('_', ' ')} {value:.4f}" for metric, value in means.items())
        print(f"  {name:<13} {told}")
    _print_rankings({name: {"AUC": figure} for name, figure in figures.auc.items()})
    print(f"{figures.list_count:,} lists of one person's test rows, some clicked and some not")
    _print_rankings(figures.lists)
    if figures.ranking:
        new = f", {figures.new_places:,} of them to places new to the person" if figures.new_places else ""
        print(f"{figures.visits:,} visits{new}, {figures.places_in_reach:,.0f} places in reach on average")
        _print_rankings(figures.ranking)
    beaten_by = figures.beaten_by()
    if beaten_by:
        print(
            f"warning: {' and '.join(beaten_by)} ranks better than the model; look for features that lie far off, "
            "such as distances of exchanged positions, and tell it what people did before (history = true, "
            "docs/own-data.md)"
        )


def _print_rankings(rankings: Mapping[str, Mapping[str, Figure]]) -> None:
    by_metric = list(rankings.values())
    for metric in by_metric[0]:
        if len({figures[metric] for figures in by_metric}) == 1 and by_metric[0][metric].value is None:
            print(f"  {metric:<7} {by_metric[0][metric]}")
            continue
        for name, figures in rankings.items():
            print(f"  {name:<13} {metric:<7} {figures[metric]}")


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
    model: Tag = "hexbite:latest",
    unknown: UnknownIds = "error",
    max_rejected: MaxRejected = MAX_REJECTED,
) -> None:
    """Score pairs offline, as the service would."""
    _require_writable(out)
    tag, artifact = load(model)
    scored, left_out = score(artifact, data, pairs, out, unknown=unknown, max_rejected=max_rejected)
    skipped = f", {left_out:,} left out" if left_out else ""
    print(f"{out}: {scored:,} pairs scored by {tag}{skipped}")


def _require_writable(path: Path) -> None:
    """Raise DataError before the work, where what comes of it could not be written."""
    if fault := file_fault(path):
        raise DataError(fault, path=path)


if __name__ == "__main__":
    run(app)
