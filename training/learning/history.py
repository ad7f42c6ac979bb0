"""How a run went so far: what its report draws, and what a checkpoint needs to go on from the same place."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, field
from typing import Any, Final, NamedTuple, Self

import psutil
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from hexbite.errors import TrainingError
from training.judging.metrics import Auc
from training.learning.ranks import Ranks
from training.reading.batches import Chunk

# About so many points a run: enough for a smooth line, few enough to cost nothing.
_POINTS: Final = 100

# Enough for the second digit of an AUC, which is what a line shows.
_AUC_ROWS: Final = 8_192


class Totals(NamedTuple):
    """Since the start, on this rank: losses added up, rows, and seconds spent in steps."""

    loss: float = 0.0
    rows: int = 0
    seconds: float = 0.0

    def since(self, other: Totals) -> Totals:
        """What came after an earlier moment."""
        return Totals(self.loss - other.loss, self.rows - other.rows, self.seconds - other.seconds)


_NOTHING: Final = Totals()


class Point(NamedTuple):
    """A moment of a run: mean loss and pace since the point before, AUC of the last rows, memory of this process."""

    step: int
    seconds: float
    loss: float
    auc: float | None
    learning_rate: float
    rows_per_s: float
    rss_mib: float


class Validation(NamedTuple):
    """Where a validation stood, the mean loss and the pace of its epoch up to there, and its figures, if any.

    ``figures`` are empty where no row is held out; an AUC is None where too few people are.
    """

    step: int
    epoch: int
    loss: float
    rows_per_s: float
    figures: dict[str, float | None]

    def __str__(self) -> str:
        told = [(name, value) for name, value in self.figures.items() if value is not None]
        said = ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in told)
        return f"loss {self.loss:.4f}{', validation ' + said if said else ''}, {self.rows_per_s:,.0f} rows/s"


@dataclass
class History:
    """Mutable: the loop adds to it. ``batch`` counts the batches done in ``epoch``; ``best`` is the kept validation."""

    epoch: int = 1
    batch: int = 0
    step: int = 0
    totals: Totals = _NOTHING
    epoch_began: Totals = _NOTHING
    last_point: Totals = _NOTHING
    best: Validation | None = None
    points: list[Point] = field(default_factory=list)
    validations: list[Validation] = field(default_factory=list)
    _clock: float = 0.0

    def start_clock(self) -> None:
        """Reading and stepping begin, or go on after something that is neither."""
        self._clock = time.perf_counter()

    def add(self, chunk: Chunk) -> None:
        """Count a chunk whose steps are done. Raises TrainingError where its loss is no number any more."""
        loss = float(binary_cross_entropy_with_logits(chunk.logits, chunk.clicks, reduction="sum"))
        self.step += len(chunk.batches)
        self.batch += len(chunk.batches)
        if not math.isfinite(loss):
            raise TrainingError(f"the loss became {loss} by step {self.step}; try a smaller --learning-rate")
        now = time.perf_counter()
        totals = self.totals
        self.totals = Totals(totals.loss + loss, totals.rows + len(chunk.clicks), totals.seconds + now - self._clock)
        self._clock = now

    def note_point(self, chunk: Chunk, learning_rate: float, planned_rows: int) -> None:
        """Add a point where one is due."""
        passed = self.totals.since(self.last_point)
        if passed.rows * _POINTS < planned_rows:
            return
        auc = Auc(shared=False)
        auc.update(chunk.logits[:_AUC_ROWS].cpu(), chunk.clicks[:_AUC_ROWS].cpu())
        self.points.append(
            Point(
                step=self.step,
                seconds=self.totals.seconds,
                loss=passed.loss / passed.rows,
                auc=auc.compute(),
                learning_rate=learning_rate,
                rows_per_s=passed.rows / passed.seconds,
                rss_mib=psutil.Process().memory_info().rss / 2**20,
            )
        )
        self.last_point = self.totals

    @property
    def epoch_loss(self) -> float:
        """Mean over the epoch's rows so far, of this rank."""
        passed = self.totals.since(self.epoch_began)
        return passed.loss / max(passed.rows, 1)

    @property
    def validations_since_best(self) -> int:
        """How many in a row brought nothing better."""
        return len(self.validations) - 1 - self.validations.index(self.best) if self.best else 0

    def add_validation(self, figures: dict[str, float | None], ranks: Ranks) -> bool:
        """Add a validation; whether it is the best so far. Every rank must call it."""
        passed = self.totals.since(self.epoch_began)
        sums = torch.tensor([passed.loss, passed.rows], dtype=torch.float64)
        ranks.add(sums)
        loss, rows = sums.tolist()
        validation = Validation(self.step, self.epoch, loss / rows, rows / passed.seconds, figures)
        self.validations.append(validation)
        is_better = self.best is None or _loss(validation) < _loss(self.best)
        if is_better or not figures:
            self.best = validation
            return True
        return False

    def begin_epoch(self, number: int) -> None:
        """The next epoch's place."""
        self.epoch, self.batch, self.epoch_began = number, 0, self.totals

    def to_json(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {name: value for name, value in asdict(self).items() if not name.startswith("_")}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        totals = {name: Totals(*document[name]) for name in ("totals", "epoch_began", "last_point")}
        validations = [Validation(*validation) for validation in document["validations"]]
        return cls(
            **document
            | totals
            | {
                "best": None if document["best"] is None else Validation(*document["best"]),
                "points": [Point(*point) for point in document["points"]],
                "validations": validations,
            }
        )


def _loss(validation: Validation) -> float:
    loss = validation.figures.get("log_loss")
    return math.inf if loss is None else loss
