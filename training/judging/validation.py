"""Rows scored by the ranker that would be published, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import torch
from torch import Tensor

from hexbite.networks import Network
from hexbite.ranker import Ranker
from training.judging.metrics import ClickMetrics
from training.judging.people import People
from training.reading.clicks import Clicks
from training.reading.rows import FeatureRows

#: Rows scored at once: with 256 hidden units of float64 some 30 MB.
CHUNK_ROWS: Final = 16_384


def standardised_ranker(network: Network, width: int) -> Ranker:
    """The network on rows that are standardised already, folded as the published one is."""
    return Ranker.fold(network, np.zeros(width), np.ones(width))


def gathered(rows: FeatureRows, clicks: Clicks) -> Iterator[tuple[Tensor, Clicks]]:
    """Standardised rows ``(N, F)`` float32 on the CPU, a part of the clicks at a time; overwritten by the next."""
    room = rows.empty(min(CHUNK_ROWS, len(clicks)))
    for start in range(0, len(clicks), CHUNK_ROWS):
        part = clicks.take(slice(start, start + CHUNK_ROWS))
        rows.gather(part, room[: len(part)])
        yield room[: len(part), :-1].cpu(), part


def auc_fault(clicks: Clicks) -> str:
    """Why the AUC of these validation rows is not told; empty where it is, and where there are none."""
    return People.of(clicks).auc_fault() if len(clicks) else ""


def validate(network: Network, rows: FeatureRows, clicks: Clicks) -> ClickMetrics:
    """Figures of some clicks, those of this rank."""
    metrics = ClickMetrics()
    ranker = standardised_ranker(network, rows.width)
    for standardised, part in gathered(rows, clicks):
        metrics.update(torch.from_numpy(ranker.logits(standardised.numpy())), torch.from_numpy(part.click))
    return metrics
