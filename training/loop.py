"""The training loop, from the first epoch to the folded ranker."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from hexbite.console import Advance, progress
from hexbite.errors import TrainingError
from hexbite.features import Matrix
from hexbite.ranker import Ranker, RankNet
from training.batches import Batch, Batches
from training.clicks import Clicks
from training.metrics import click_metrics
from training.step import FoldedStep
from training.survey import Split, Survey
from training.tables import Tables

# Rows scored at once: with 40 columns of float64 some 20 MB.
_SCORED_ROWS: Final = 65_536


@dataclass(frozen=True, slots=True)
class Settings:
    """``holdout`` is the share (0..1, exclusive at 1) of train rows kept for validation."""

    epochs: int = 5
    batch_size: int = 1024
    learning_rate: float = 1e-3
    holdout: float = 0.02
    seed: int = 0


class Epoch(NamedTuple):
    """What one pass came to: mean loss, metrics on the validation rows (empty without any), and its pace."""

    number: int
    loss: float
    validation: dict[str, float | None]
    seconds: float
    rows: int

    def __str__(self) -> str:
        figures = ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in self.validation.items() if value)
        validated = f", validation {figures}" if figures else ""
        return f"loss {self.loss:.4f}{validated}, {self.rows / self.seconds:,.0f} rows/s"


class Trained(NamedTuple):
    """The ranker of the best epoch, and what each epoch came to."""

    ranker: Ranker
    best: Epoch
    epochs: list[Epoch]


def train(split: Split, found: Survey, settings: Settings, report: Callable[[Epoch], None]) -> Trained:
    """Train RankNet with Adam on binary cross-entropy and fold the epoch of the least validation loss.

    Without validation rows that is the last epoch. The same data and settings give the same weights, bit for bit.
    Raises TrainingError where the loss is no number any more.
    """
    # A step is small: a second thread would spend its time waiting, the spinning kind, for which a busy machine makes
    # both pay dearly. It gathers rows instead. One thread also adds in the same order however many cores there are.
    torch.set_num_threads(1)
    torch.manual_seed(settings.seed)
    tables, standardisation = split.files.tables, found.standardisation
    model = RankNet(tables.schema.width)
    step = FoldedStep(model, learning_rate=settings.learning_rate)
    batches = Batches(split, standardisation, settings.batch_size)
    epochs: list[Epoch] = []
    best: tuple[Epoch, RankNet] | None = None
    for number in range(1, settings.epochs + 1):
        started = time.perf_counter()
        with progress(f"epoch {number}/{settings.epochs}", found.rows) as advance:
            loss = _run_epoch(step, batches.epoch(settings.seed, number), number, advance)
        seconds = time.perf_counter() - started
        ranker = Ranker.fold(model, *standardisation)
        epoch = Epoch(number, loss, validate(ranker, tables, found.validation), seconds, found.rows)
        report(epoch)
        epochs.append(epoch)
        if best is None or _is_better(epoch, best[0]):
            best = epoch, copy.deepcopy(model)
    assert best is not None
    return Trained(Ranker.fold(best[1], *standardisation), best[0], epochs)


def _is_better(one: Epoch, other: Epoch) -> bool:
    if not one.validation:
        return True
    losses = one.validation["log_loss"], other.validation["log_loss"]
    return losses[0] is not None and losses[1] is not None and losses[0] < losses[1]


def _run_epoch(step: FoldedStep, batches: Iterator[Batch], epoch: int, advance: Advance) -> float:
    """One step a batch; the mean loss over the rows."""
    total, rows = 0.0, 0
    for batch in batches:
        loss = float(step(*batch))
        if not np.isfinite(loss):
            raise TrainingError(f"the loss became {loss} in epoch {epoch}; try a smaller --learning-rate")
        total += loss * len(batch.clicks)
        rows += len(batch.clicks)
        advance(len(batch.clicks), f"loss {total / rows:.4f}")
    return total / rows


def slices(clicks: Clicks, rows: int) -> Iterator[Clicks]:
    """Consecutive parts of so many rows; the last may be shorter."""
    for start in range(0, len(clicks), rows):
        yield clicks.take(slice(start, start + rows))


def assemble(tables: Tables, clicks: Clicks) -> Matrix:
    """Raw rows ``(N, F)`` float32, as the service assembles them."""
    users, restaurants = tables.users.features[clicks.user], tables.restaurants.features[clicks.restaurant]
    return tables.schema.assemble(users, restaurants, clicks.context)


def logits(ranker: Ranker, tables: Tables, clicks: Clicks) -> npt.NDArray[np.float64]:
    """Logits ``(N,)`` of click rows by a published ranker, in bounded memory."""
    parts = [ranker.logits(assemble(tables, part)) for part in slices(clicks, _SCORED_ROWS)]
    return np.concatenate(parts) if parts else np.empty(0)


def validate(ranker: Ranker, tables: Tables, clicks: Clicks) -> dict[str, float | None]:
    """AUC, log loss and accuracy on some rows; nothing where there are none."""
    return click_metrics(logits(ranker, tables, clicks), clicks.click) if len(clicks) else {}
