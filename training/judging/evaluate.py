"""A model on the test split: clicks told apart, lists and visited places ranked, a baseline beside each figure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from data.folder.clicks import Unknown
from hexbite.artifact import Artifact
from hexbite.console import progress
from hexbite.errors import DataError
from hexbite.features import DISTANCE_M, Matrix
from hexbite.folder import TEST, TRAIN
from hexbite.ranker import Ranker
from training.judging.counted import Counted
from training.judging.lists import Lists
from training.judging.metrics import Auc, Figure, Means, bootstrap_mean, rank_to_hit, rank_to_ndcg
from training.judging.people import People
from training.judging.ranking import rank_visits, read_visits
from training.reading.clicks import ClickFiles, Clicks
from training.reading.tables import Tables, read_tables

#: The restaurant feature that counts visits, where there is one; else train clicks are counted.
VISITS_FEATURE: Final = "log_visits"

#: Cut of the visited places' rankings.
K: Final = 10

_SEED: Final = 0
_RANKINGS: Final = ("model", "most_visited", "nearest")

# People are dealt into so many groups, which the interval of an AUC draws again in the place of people.
_GROUPS: Final = 100

# Rows scored at once: with 40 columns of float64 some 20 MB.
_SCORED_ROWS: Final = 65_536


class Popularity(NamedTuple):
    """Visits of each restaurant ``(R,)``, and the share of clicks among the train rows, None where none was read."""

    visits: npt.NDArray[np.float64]
    click_rate: float | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Figures by ranking (``model``, ``most_visited``, ``nearest``).

    ``means`` are log loss, accuracy and calibration error of the ``model`` and of a ``constant`` score, the click rate.
    ``lists`` (of clicks) and ``ranking`` (of visits) go by ranking and metric; ``ranking`` is empty where no visits
    are known. ``new_places`` are visits where the person had not been before, as far as the folder's events tell.
    """

    rows: int
    left_out: int
    click_rate: float
    means: Mapping[str, Mapping[str, float]]
    auc: dict[str, Figure]
    lists: dict[str, dict[str, Figure]]
    list_count: int
    visits: int
    new_places: int
    places_in_reach: float
    ranking: dict[str, dict[str, Figure]]

    def beaten_by(self) -> list[str]:
        """The baselines that do better than the model in any figure that is told, by name."""
        rankings: list[Mapping[str, Mapping[str, Figure]]] = [
            {name: {"AUC": figure} for name, figure in self.auc.items()},
            self.lists,
            self.ranking,
        ]
        better = {
            name
            for by_name in rankings
            for name, of_name in by_name.items()
            for metric, figure in of_name.items()
            if (mine := by_name["model"][metric].value) is not None and figure.value is not None and figure.value > mine
        }
        return sorted(better)

    def to_json(self) -> dict[str, Any]:
        """For a file: ``clicks``, ``lists`` and ``ranking``; a figure is ``{"value", "low", "high"}``.

        Where there is none these are null, and ``reason`` says why.
        """
        clicks = {name: getattr(self, name) for name in ("rows", "left_out", "click_rate")}
        clicks |= {"means": self.means, "auc": self.auc}
        visits = {"visits": self.visits, "new_places": self.new_places, "places_in_reach": self.places_in_reach}
        lists = {"lists": self.list_count}
        document: dict[str, Any] = _named(
            {"clicks": clicks, "lists": lists | self.lists, "ranking": visits | self.ranking}
        )
        return document


def _named(value: Any) -> Any:
    if isinstance(value, Figure):
        told = {"value": value.value, "low": value.low, "high": value.high}
        return told | {"reason": value.fault} if value.fault else told
    return {name: _named(inner) for name, inner in value.items()} if isinstance(value, dict) else value


def evaluate(artifact: Artifact, folder: Path, *, unknown: Unknown, max_rejected: float) -> Evaluation:
    """Score the test split of a data folder, in memory that does not grow with it.

    Raises FolderError where the folder cannot be used, SchemaError where the folder's features are not the model's.
    """
    counts_clicks = VISITS_FEATURE not in artifact.schema.names("restaurant")
    wanted = (TRAIN, TEST) if counts_clicks else (TEST,)
    tables = read_tables(folder, artifact.schema, wanted=wanted, unknown=unknown, max_rejected=max_rejected)
    popularity = _popularity(folder, tables, unknown)
    files = ClickFiles(folder, TEST, tables, unknown)
    context = tables.schema.names("context")
    rankings = _RANKINGS if DISTANCE_M in context else _RANKINGS[:2]
    group_of = torch.from_numpy(np.random.default_rng(_SEED).integers(_GROUPS, size=len(tables.users.ids)))
    aucs, means, lists = {name: Auc(_GROUPS) for name in rankings}, Means(), Lists(rankings, len(tables.users.ids))
    people = People(len(tables.users.ids))
    rows = clicked = left_out = 0
    with progress("scoring test rows", sum(part.rows for part in files.parts)) as advance:
        for part in files.parts:
            clicks, without_features = files.read(part)
            scores = {"model": logits(artifact.ranker, tables, clicks)}
            scores["most_visited"] = popularity.visits[clicks.restaurant]
            if "nearest" in rankings:
                scores["nearest"] = -clicks.context[:, context.index(DISTANCE_M)].astype(np.float64)
            click = torch.from_numpy(clicks.click)
            for name, auc in aucs.items():
                auc.update(torch.from_numpy(scores[name]), click, group_of[clicks.user])
            means.update(torch.from_numpy(scores["model"]), click)
            lists.add(clicks, scores)
            people.add(clicks)
            rows, clicked = rows + len(clicks), clicked + int(np.count_nonzero(clicks.click))
            left_out += without_features
            advance(part.rows)
    if not rows:
        raise DataError(f"no row to evaluate on: all {left_out:,} are left out", path=folder / TEST)
    of_lists, click_rate = lists.figures(seed=_SEED), clicked / rows
    train_rate = click_rate if popularity.click_rate is None else popularity.click_rate
    return Evaluation(
        rows=rows,
        left_out=left_out,
        click_rate=click_rate,
        means={"model": means.compute(), "constant": _constant(train_rate, click_rate)},
        auc={name: auc.interval(seed=_SEED, fault=people.auc_fault()) for name, auc in aucs.items()},
        lists=of_lists,
        list_count=lists.count,
        **_ranking(artifact, tables, popularity.visits),
    )


def _constant(score: float, click_rate: float) -> dict[str, float]:
    """The means of one score, above 0 and below 1, for every row."""
    return {
        "log_loss": -click_rate * math.log(score) - (1 - click_rate) * math.log(1 - score),
        "accuracy": click_rate if score > 0.5 else 1 - click_rate,
        "calibration_error": abs(score - click_rate),
    }


def _popularity(folder: Path, tables: Tables, unknown: Unknown) -> Popularity:
    names = tables.schema.names("restaurant")
    if VISITS_FEATURE in names:
        return Popularity(tables.restaurants.features[:, names.index(VISITS_FEATURE)].astype(np.float64), None)
    counts, rows = np.zeros(len(tables.restaurants.ids)), 0
    files = ClickFiles(folder, TRAIN, tables, unknown)
    with progress("counting train clicks", sum(part.rows for part in files.parts)) as advance:
        for part in files.parts:
            clicks, _ = files.read(part)
            counts += np.bincount(clicks.restaurant, clicks.click, len(counts))
            rows += len(clicks)
            advance(part.rows)
    return Popularity(counts, float(counts.sum()) / rows if rows else None)


def _ranking(artifact: Artifact, tables: Tables, popularity: npt.NDArray[np.float64]) -> dict[str, Any]:
    visits = read_visits(tables)
    if visits is None:
        return {"visits": 0, "new_places": 0, "places_in_reach": 0.0, "ranking": {}}
    counted = None if tables.events is None else Counted(tables, tables.events, visits)
    ranks = rank_visits(artifact, tables, visits, popularity, counted)
    is_new = np.zeros(len(visits.user_ids), dtype=np.bool_) if counted is None else counted.are_new(visits)
    ranking: dict[str, dict[str, Figure]] = {}
    for name, of_visits in zip(_RANKINGS, ranks[:3], strict=True):
        ranking[name] = {
            f"{metric}@{K}": bootstrap_mean(measure(of_visits, K), visits.user_ids, seed=_SEED)
            for metric, measure in (("hit", rank_to_hit), ("ndcg", rank_to_ndcg))
        }
        if is_new.any():
            hits = rank_to_hit(of_visits[is_new], K)
            ranking[name][f"new hit@{K}"] = bootstrap_mean(hits, visits.user_ids[is_new], seed=_SEED)
    return {
        "visits": len(visits.user_ids),
        "new_places": int(np.count_nonzero(is_new)),
        "places_in_reach": float(ranks.in_reach.mean()),
        "ranking": ranking,
    }


def assemble(tables: Tables, clicks: Clicks) -> Matrix:
    """Raw rows ``(N, F)`` float32, as the service assembles them."""
    users, restaurants = tables.users.features[clicks.user], tables.restaurants.features[clicks.restaurant]
    return tables.schema.assemble(users, restaurants, clicks.context)


def logits(ranker: Ranker, tables: Tables, clicks: Clicks) -> npt.NDArray[np.float64]:
    """Logits ``(N,)`` of click rows by a published ranker, in bounded memory."""
    parts = [
        ranker.logits(assemble(tables, clicks.take(slice(start, start + _SCORED_ROWS))))
        for start in range(0, len(clicks), _SCORED_ROWS)
    ]
    return np.concatenate(parts) if parts else np.empty(0)
