"""A model on the test split: clicks told apart, and visited places ranked, beside two baselines."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hexbite.artifact import Artifact
from hexbite.console import progress
from hexbite.features import DISTANCE_M
from hexbite.folder import TEST, TRAIN
from training.clicks import ClickFiles, Unknown
from training.loop import logits
from training.metrics import Auc, Figure, accuracy, bootstrap, bootstrap_mean, log_loss, rank_to_hit, rank_to_ndcg
from training.ranking import rank_visits, read_visits
from training.tables import Tables, read_tables

#: The restaurant feature that counts visits, where there is one; else train clicks are counted.
VISITS_FEATURE: Final = "log_visits"

_K: Final = 10
_SEED: Final = 0
_RANKINGS: Final = ("model", "most_visited", "nearest")


class Evaluation(NamedTuple):
    """Figures by ranking (``model``, ``most_visited``, ``nearest``) and metric; those of ranking need known visits."""

    rows: int
    left_out: int
    click_rate: float
    log_loss: float
    accuracy: float
    auc: dict[str, Figure]
    visits: int
    places_in_reach: float
    ranking: dict[str, dict[str, Figure]]

    def to_json(self) -> dict[str, Any]:
        """For a file: ``clicks`` and ``ranking``."""
        return {
            "clicks": {
                "rows": self.rows,
                "left_out": self.left_out,
                "click_rate": self.click_rate,
                "log_loss": self.log_loss,
                "accuracy": self.accuracy,
                "auc": {name: figure._asdict() for name, figure in self.auc.items()},
            },
            "ranking": {
                "visits": self.visits,
                "places_in_reach": self.places_in_reach,
                **{
                    name: {metric: figure._asdict() for metric, figure in figures.items()}
                    for name, figures in self.ranking.items()
                },
            },
        }


def evaluate(artifact: Artifact, folder: Path, *, unknown: Unknown) -> Evaluation:
    """Score the test split of a data folder.

    Raises DataError where a file cannot be used, SchemaError where the folder's features are not the model's.
    """
    tables = read_tables(folder, artifact.schema)
    popularity = _popularity(folder, tables, unknown)
    files = ClickFiles(folder, TEST, tables, unknown)
    users, clicks, left_out = [], [], 0
    scores: dict[str, list[npt.NDArray[np.float64]]] = {name: [] for name in _RANKINGS}
    with progress("scoring test rows", len(files.paths), "files") as advance:
        for path in files.paths:
            rows, without_features = files.read(path)
            left_out += without_features
            users.append(rows.user)
            clicks.append(rows.click)
            scores["model"].append(logits(artifact.ranker, tables, rows))
            scores["most_visited"].append(popularity[rows.restaurant])
            if DISTANCE_M in tables.schema.names("context"):
                metres = rows.context[:, tables.schema.names("context").index(DISTANCE_M)]
                scores["nearest"].append(-metres.astype(np.float64))
            advance()
    user, click = np.concatenate(users), np.concatenate(clicks)
    model = np.concatenate(scores["model"])
    auc = {}
    with progress("bootstrapping", len(_RANKINGS), "rankings") as advance:
        for name, parts in scores.items():
            if parts:
                auc[name] = bootstrap(Auc(np.concatenate(parts), click), user, seed=_SEED)
            advance()
    return Evaluation(
        rows=len(click),
        left_out=left_out,
        click_rate=float(click.mean()),
        log_loss=log_loss(model, click),
        accuracy=accuracy(model, click),
        auc=auc,
        **_ranking(artifact, folder, tables, popularity),
    )


def _popularity(folder: Path, tables: Tables, unknown: Unknown) -> npt.NDArray[np.float64]:
    names = tables.schema.names("restaurant")
    if VISITS_FEATURE in names:
        return tables.restaurants.features[:, names.index(VISITS_FEATURE)].astype(np.float64)
    counts = np.zeros(len(tables.restaurants.ids))
    files = ClickFiles(folder, TRAIN, tables, unknown)
    with progress("counting train clicks", len(files.paths), "files") as advance:
        for path in files.paths:
            rows, _ = files.read(path)
            counts += np.bincount(rows.restaurant, rows.click, len(counts))
            advance()
    return counts


def _ranking(artifact: Artifact, folder: Path, tables: Tables, popularity: npt.NDArray[np.float64]) -> dict[str, Any]:
    visits = read_visits(folder, tables)
    if visits is None:
        return {"visits": 0, "places_in_reach": 0.0, "ranking": {}}
    ranks = rank_visits(artifact, tables, visits, popularity)
    ranking = {
        name: {
            f"{metric}@{_K}": bootstrap_mean(measure(of_visits, _K), visits.user_ids, seed=_SEED)
            for metric, measure in (("hit", rank_to_hit), ("ndcg", rank_to_ndcg))
        }
        for name, of_visits in zip(_RANKINGS, ranks[:3], strict=True)
    }
    return {"visits": len(visits.user_ids), "places_in_reach": float(ranks.in_reach.mean()), "ranking": ranking}
