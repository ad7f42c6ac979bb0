"""Which features a model leans on: how much worse it does on rows with one of them shuffled (Breiman 2001)."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import torch

from hexbite.console import progress
from hexbite.networks import Network
from training.judging.metrics import ClickMetrics
from training.judging.validation import CHUNK_ROWS, gathered, standardised_ranker
from training.reading.clicks import Clicks
from training.reading.rows import FeatureRows

# Validation rows looked at: a feature that matters shows on far fewer.
_ROWS: Final = 50_000


class Importance(NamedTuple):
    """A feature, named with its group, and what shuffling it costs: AUC lost and log loss gained."""

    feature: str
    auc_lost: float
    log_loss_gained: float


def permutation_importance(
    network: Network, rows: FeatureRows, clicks: Clicks, names: list[str], *, seed: int
) -> list[Importance]:
    """Of each of the F features ``names``, the greatest first, on a part of this rank's validation rows.

    Every rank must call it. Empty where no rank has validation rows of both kinds.
    """
    ranker = standardised_ranker(network, rows.width)
    sample = clicks.take(slice(None, None, -(-len(clicks) // _ROWS) or 1))
    clicked = torch.from_numpy(sample.click.copy())
    parts = [part.clone() for part, _ in gathered(rows, sample)]
    matrix = torch.cat(parts) if parts else torch.empty((0, rows.width))

    def measure() -> tuple[float, float]:
        metrics = ClickMetrics()
        for part, of_part in zip(torch.split(matrix, CHUNK_ROWS), torch.split(clicked, CHUNK_ROWS), strict=True):
            metrics.update(torch.from_numpy(ranker.logits(part.numpy())), of_part)
        figures = metrics.compute()
        return figures["auc"] or np.nan, figures["log_loss"] or np.nan

    auc, log_loss = measure()
    found = []
    draws = torch.Generator().manual_seed(seed)
    with progress("shuffling features", len(names), "features") as advance:
        for column, name in enumerate(names):
            kept = matrix[:, column].clone()
            matrix[:, column] = kept[torch.randperm(len(kept), generator=draws)]
            shuffled_auc, shuffled_loss = measure()
            matrix[:, column] = kept
            found.append(Importance(name, auc - shuffled_auc, shuffled_loss - log_loss))
            advance()
    found = [one for one in found if np.isfinite(one.auc_lost)]
    return sorted(found, key=lambda one: -one.log_loss_gained)
