"""One training run: from a data folder to a model in the store, with its report."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil
import torch

from data.folder.clicks import Unknown
from hexbite.artifact import Artifact
from hexbite.console import tell
from hexbite.features import GROUPS, FeatureSchema
from hexbite.folder import TRAIN
from hexbite.ranker import Ranker
from training.judging.importance import permutation_importance
from training.judging.validation import auc_fault, validate
from training.learning.checkpoint import Checkpoint, require_writable
from training.learning.history import Validation
from training.learning.loop import train
from training.learning.ranks import Ranks
from training.reading.clicks import ClickFiles
from training.reading.rows import FeatureRows
from training.reading.survey import Split, Survey, survey
from training.reading.tables import Tables, read_tables
from training.report.page import Run, write_report
from training.settings import Settings
from training.store import code_version, require_storable, save

_DTYPES: Final = {"float32": torch.float32, "bf16": torch.float32, "float64": torch.float64}


def run_training(
    folder: Path,
    settings: Settings,
    *,
    name: str,
    unknown: Unknown,
    max_rejected: float,
    checkpoint_path: Path,
    checkpoint_every: int,
    resume: bool,
    ranks: Ranks,
    device: torch.device,
) -> str | None:
    """Train and save; the model's tag, None on a rank that does not write.

    Raises DataError, SchemaError, TrainingError or ModelStoreError; then the store is as it was.
    """
    if ranks.leads:
        require_storable(name)
        require_writable(checkpoint_path)
    tables = read_tables(folder, unknown=unknown, max_rejected=max_rejected, defer_train=True)
    split = Split(ClickFiles(folder, TRAIN, tables, unknown), settings.holdout, settings.holdout_files, settings.seed)
    found = survey(split)
    never_varied = _never_varied(tables.schema, found)
    why_no_auc = auc_fault(found.validation)
    if ranks.leads:
        _tell_survey(tables, found)
        _warn(never_varied, why_no_auc)
    identity = asdict(settings) | {"features": tables.schema.fingerprint[:12]}
    checkpoint = Checkpoint(checkpoint_path, checkpoint_every, identity, found.digests)
    rows = FeatureRows(tables, found.standardisation, device, _DTYPES[settings.precision])

    def report(validation: Validation) -> None:
        if ranks.leads:
            print(f"epoch {validation.epoch}/{settings.epochs}: {validation}", flush=True)
            tell("validation", **validation._asdict())

    trained = train(split, found, rows, settings, ranks=ranks, checkpoint=checkpoint, resume=resume, report=report)
    ours = found.validation.take(slice(ranks.rank, None, ranks.count))
    curves = validate(trained.network, rows, ours).curves()
    names = [f"{group} {name}" for group in GROUPS for name in tables.schema.names(group)]
    importance = [] if why_no_auc else permutation_importance(trained.network, rows, ours, names, seed=settings.seed)
    if not ranks.leads:
        return None

    best = trained.history.best
    assert best is not None
    if best != trained.history.validations[-1]:
        print(f"kept the weights of step {best.step:,}, the best on the validation rows")
    training = {**asdict(settings), "steps": best.step, "ranks": ranks.count, "code": code_version()}
    data = _data(folder, tables, found) | {"never_varied": never_varied}
    run = Run(
        name=name,
        command=shlex.join(["python", "-m", "training", *sys.argv[1:]]),
        training=training,
        data=data,
        history=trained.history,
        curves=curves,
        why_no_auc=why_no_auc,
        importance=importance,
        peak_rss_mib=_peak_rss_mib(),
    )
    user_mean, restaurant_mean, _ = np.split(
        found.standardisation.mean.astype(np.float32),
        [len(tables.schema.user), len(tables.schema.user) + len(tables.schema.restaurant)],
    )
    artifact = Artifact(
        schema=tables.schema,
        ranker=Ranker.fold(trained.network, *found.standardisation),
        user_mean=user_mean,
        restaurant_mean=restaurant_mean,
        training=training | {"command": run.command},
        metrics={
            "validation": best.figures,
            **({"no_auc": why_no_auc} if why_no_auc else {}),
            "validations": [
                {"step": one.step, "epoch": one.epoch, "loss": one.loss, **one.figures}
                for one in trained.history.validations
            ],
        },
        data=data,
    )
    tag = save(artifact, name=name, pages=write_report(run))
    checkpoint.remove()
    return tag


def _tell_survey(tables: Tables, found: Survey) -> None:
    validated = f"{len(found.validation):,} to validate on"
    print(f"{found.rows:,} rows to train on, {validated}, {tables.schema.width} features", flush=True)
    if tables.rejected:
        print(f"{tables.rejected:,} rows of the feature tables rejected; python -m data describe DIR says why")
    if found.left_out:
        print(f"{found.left_out:,} rows left out: their user or restaurant has no features")


def _never_varied(schema: FeatureSchema, found: Survey) -> dict[str, list[str]]:
    """The features of which no training row tells anything, by group; only groups that have some."""
    columns = [(group, name) for group in GROUPS for name in schema.names(group)]
    by_group: dict[str, list[str]] = {}
    for (group, name), never in zip(columns, found.standardisation.never_varied, strict=True):
        if never:
            by_group.setdefault(group, []).append(name)
    return by_group


_SHOWN_NAMES: Final = 8


def _first(names: list[str]) -> str:
    more = len(names) - _SHOWN_NAMES
    return ", ".join(names[:_SHOWN_NAMES]) + (f" and {more:,} more, which the report names" if more > 0 else "")


def _warn(never_varied: dict[str, list[str]], why_no_auc: str) -> None:
    if never_varied:
        told = "; ".join(f"{group} {_first(names)}" for group, names in never_varied.items())
        print(f"warning: the model does not look at what never varied in the training rows: {told}", flush=True)
        tell("never_varied", **never_varied)
    if why_no_auc:
        print(f"warning: no AUC of the validation rows: {why_no_auc}", flush=True)
        tell("no_auc", reason=why_no_auc)


def _data(folder: Path, tables: Tables, found: Survey) -> dict[str, Any]:
    return {
        "folder": folder.resolve().name,
        "users": len(tables.users.ids),
        "restaurants": len(tables.restaurants.ids),
        "train_files": found.files,
        "train_rows": found.rows,
        "train_click_rate": round(found.clicks / found.rows, 6),
        "validation_rows": len(found.validation),
        "rows_left_out": found.left_out,
    }


def _peak_rss_mib() -> float:
    """The most resident memory that this process ever had; what it has now where the system does not tell."""
    try:
        import resource
    except ImportError:  # no such module on Windows
        return float(psutil.Process().memory_info().rss) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # bytes there, KiB elsewhere
