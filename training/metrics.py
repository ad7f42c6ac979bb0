"""Figures of a ranking and their intervals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

_RESAMPLES: Final = 300
_TAILS: Final = (2.5, 97.5)


class Figure(NamedTuple):
    """A value, and the 95% interval of it over other people like these; None where it is undefined."""

    value: float | None
    low: float | None
    high: float | None

    def __str__(self) -> str:
        if self.value is None or self.low is None or self.high is None:
            return "-"
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


class Auc:
    """Area under the ROC curve of N scores: how often a click scores above a non-click, ties counting half.

    Sorted once, so that it can be asked for many weightings ``(N,)`` of the rows.
    """

    def __init__(self, scores: npt.NDArray[Any], clicks: npt.NDArray[Any]) -> None:
        distinct, self._group = np.unique(scores, return_inverse=True)
        self._groups = len(distinct)
        self._clicks = clicks.astype(np.float64)

    def __call__(self, weights: Values | None = None) -> float | None:
        """None where there is only one class."""
        weights = np.ones(len(self._clicks)) if weights is None else weights
        clicked = np.bincount(self._group, weights * self._clicks, self._groups)
        left = np.bincount(self._group, weights * (1 - self._clicks), self._groups)
        pairs = float(clicked.sum() * left.sum())
        below = np.cumsum(left) - left
        return float((clicked * (below + left / 2)).sum()) / pairs if pairs else None


def log_loss(logits: Values, clicks: npt.NDArray[Any]) -> float:
    """Mean binary cross-entropy, natural logarithm."""
    return float(np.logaddexp(0.0, np.where(clicks > 0, -logits, logits)).mean())


def accuracy(logits: Values, clicks: npt.NDArray[Any]) -> float:
    """Share of rows on whose side of one half the score lies."""
    return float(((logits > 0) == (clicks > 0)).mean())


def click_metrics(logits: Values, clicks: npt.NDArray[Any]) -> dict[str, float | None]:
    """AUC, log loss and accuracy of N logits; an AUC of None means that there is only one class."""
    return {
        "auc": Auc(logits, clicks)(),
        "log_loss": log_loss(logits, clicks),
        "accuracy": accuracy(logits, clicks),
    }


def rank_to_hit(ranks: npt.NDArray[np.int64], k: int) -> Values:
    """1 where the one relevant place is among the first ``k``, by its rank from 1."""
    return (ranks <= k).astype(np.float64)


def rank_to_ndcg(ranks: npt.NDArray[np.int64], k: int) -> Values:
    """NDCG at ``k`` with one relevant place (Jarvelin, Kekalainen 2002): 1 / log2(1 + rank), 0 past ``k``."""
    return np.where(ranks <= k, 1.0 / np.log2(1.0 + ranks), 0.0)


def bootstrap(statistic: Callable[[Values], float | None], people: npt.NDArray[Any], *, seed: int) -> Figure:
    """A statistic of row weights, and its percentile interval with whole people drawn again (Efron 1979).

    ``people`` ``(N,)`` says whose each row is: rows of one person are alike, and drawing rows would promise too much.
    """
    distinct, whose = np.unique(people, return_inverse=True)
    value = statistic(np.ones(len(people)))
    draws = np.random.default_rng(seed)
    again = []
    for _ in range(_RESAMPLES):
        counts = np.bincount(draws.integers(len(distinct), size=len(distinct)), minlength=len(distinct))
        again.append(statistic(counts[whose].astype(np.float64)))
    defined = [drawn for drawn in again if drawn is not None]
    if value is None or not defined:
        return Figure(None, None, None)
    low, high = np.percentile(defined, _TAILS).tolist()
    return Figure(value, low, high)


def bootstrap_mean(values: Values, people: npt.NDArray[Any], *, seed: int) -> Figure:
    """`bootstrap` of a mean ``(N,)``."""

    def mean(weights: Values) -> float | None:
        total = weights.sum()
        return float((weights * values).sum() / total) if total else None

    return bootstrap(mean, people, seed=seed)
