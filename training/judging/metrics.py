"""Streamed figures of clicks, and their intervals.

The streamed ones are torchmetrics' `Metric`, which adds them up over ranks. Its own streaming AUC compares each row
with each threshold, and its calibration error keeps every row: a histogram does in one pass.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torchmetrics import Metric

from hexbite.rankings import RESAMPLES, Figure, Values, interval

# A score's bin is even in asinh(score / fineness): even below it, and 0.2% of the score wide above.
_BINS: Final = 1 << 14
_FINENESS: Final = 1e-3
_RANGE: Final = 19.2  # asinh(1e5 / 1e-3); what lies beyond shares the outermost bins
_BIN_WIDTH: Final = 2 * _RANGE / (_BINS - 1)

# Of the score, between 0 and 1: torchmetrics' default.
CALIBRATION_BINS: Final = 15

# Of a drawn distribution.
_DRAWN_BINS: Final = 80


class Auc(Metric):
    """Area under the ROC curve: how often a click scores above a non-click, ties counting half.

    Scores of either sign within 0.2% of each other (2e-6 near zero) count as ties; no more is kept of a row than the
    count in its bin. ``groups`` splits the rows for an interval; ``shared`` adds up the rows of all ranks, and then
    every rank must ask.
    """

    higher_is_better = True
    full_state_update = False
    histogram: Tensor

    def __init__(self, groups: int = 1, *, shared: bool = True) -> None:
        super().__init__(sync_on_compute=shared)
        self.add_state("histogram", torch.zeros((groups, 2, _BINS), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, scores: Tensor, clicks: Tensor, groups: Tensor | None = None) -> None:
        """Count N scores of any range, with clicks ``(N,)`` 0 or 1 and the rows' groups ``(N,)`` int64 from 0."""
        bins = torch.asinh(scores.double() / _FINENESS).clamp_(-_RANGE, _RANGE)
        bins = ((bins + _RANGE) / _BIN_WIDTH).long().add_(clicks.long(), alpha=_BINS)
        if groups is not None:
            bins.add_(groups, alpha=2 * _BINS)
        self.histogram += torch.bincount(bins, minlength=self.histogram.numel()).view_as(self.histogram)

    def compute(self) -> float | None:
        """None where there is only one class."""
        return _area(self.histogram.sum(0).numpy().astype(np.float64))

    def counts(self) -> tuple[Values, Values, Values]:
        """Rows without a click, with one, and the scores ``(B + 1,)`` between which they lie; equally many bins."""
        left, clicked = self.histogram.sum(0).numpy().astype(np.float64)
        return left, clicked, _FINENESS * np.sinh(_BIN_WIDTH * np.arange(_BINS + 1) - _RANGE)

    def interval(self, *, seed: int, fault: str = "") -> Figure:
        """The area, and its percentile interval with whole groups drawn again (Efron 1979); or its ``fault``."""
        if fault:
            return Figure.none(fault)
        histogram = self.histogram.numpy().astype(np.float64)
        draws = np.random.default_rng(seed)
        again = []
        for _ in range(RESAMPLES):
            counts = np.bincount(draws.integers(len(histogram), size=len(histogram)), minlength=len(histogram))
            again.append(_area(np.tensordot(counts.astype(np.float64), histogram, 1)))
        return interval(_area(histogram.sum(0)), again)


def _area(histogram: Values) -> float | None:
    left, clicked = histogram
    pairs = float(clicked.sum() * left.sum())
    below = np.cumsum(left) - left
    return float((clicked * (below + left / 2)).sum()) / pairs if pairs else None


class Means(Metric):
    """Log loss, accuracy and expected calibration error (Naeini et al. 2015) of logits."""

    full_state_update = False
    sums: Tensor

    def __init__(self) -> None:
        super().__init__()
        # By bin of the score: rows, scores, clicks, losses and right sides of one half, added up.
        self.add_state("sums", torch.zeros((5, CALIBRATION_BINS), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, clicks: Tensor) -> None:
        """Add N logits and clicks ``(N,)`` 0 or 1."""
        logits, clicks = logits.double(), clicks.double()
        scores = logits.sigmoid()
        bins = (scores * CALIBRATION_BINS).long().clamp_(max=CALIBRATION_BINS - 1)
        losses = binary_cross_entropy_with_logits(logits, clicks, reduction="none")
        right = ((logits > 0) == (clicks > 0)).double()
        for row, values in zip(self.sums, (torch.ones_like(scores), scores, clicks, losses, right), strict=True):
            row += torch.bincount(bins, values, CALIBRATION_BINS)

    def compute(self) -> dict[str, float]:
        """Natural logarithm; calibration error is the mean distance of score and click rate over the bins' rows."""
        rows, scores, clicks, losses, right = self.sums
        total = max(float(rows.sum()), 1.0)
        return {
            "log_loss": float(losses.sum()) / total,
            "accuracy": float(right.sum()) / total,
            "calibration_error": float((scores - clicks).abs().sum()) / total,
        }


class Curves(NamedTuple):
    """Mean score, click rate and rows of each score bin that has any ``(B,)``; rows without and with a click between
    ``edges`` of the logit ``(D,)``; false and true positive rate by falling threshold ``(T,)``.
    """

    score: Values
    click_rate: Values
    rows: Values
    edges: Values
    left: Values
    clicked: Values
    false_positive: Values
    true_positive: Values


class ClickMetrics:
    """AUC and the means, of logits that come in parts, over all ranks."""

    def __init__(self) -> None:
        self.auc, self.means = Auc(), Means()

    def update(self, logits: Tensor, clicks: Tensor) -> None:
        """Add N logits and clicks ``(N,)`` 0 or 1."""
        self.auc.update(logits, clicks)
        self.means.update(logits, clicks)

    def compute(self) -> dict[str, float | None]:
        """An AUC of None means that there is only one class. Every rank must ask."""
        return {"auc": self.auc.compute(), **self.means.compute()}

    def curves(self) -> Curves | None:
        """What a report draws; None where there are no rows. Every rank must ask."""
        with self.auc.sync_context(), self.means.sync_context():
            left, clicked, edges = self.auc.counts()
            rows, scores, clicks = (sums.numpy() for sums in self.means.sums[:3])
        if not rows.sum():
            return None
        held = np.flatnonzero(left + clicked)
        even = np.linspace(float(edges[held[0]]), float(edges[held[-1] + 1]), _DRAWN_BINS + 1)
        middles = (edges[:-1] + edges[1:]) / 2
        kept = rows > 0
        # By falling score: a threshold passes ever more rows of either kind.
        false_positive, true_positive = (
            np.concatenate([[0.0], np.cumsum(side[held][::-1])]) / max(side.sum(), 1.0) for side in (left, clicked)
        )
        return Curves(
            score=scores[kept] / rows[kept],
            click_rate=clicks[kept] / rows[kept],
            rows=rows[kept],
            edges=even,
            left=np.histogram(middles, even, weights=left)[0],
            clicked=np.histogram(middles, even, weights=clicked)[0],
            false_positive=false_positive,
            true_positive=true_positive,
        )
