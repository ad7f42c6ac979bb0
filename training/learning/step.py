"""One training step; on a GPU recorded once and replayed, since launching its small kernels costs more than they do."""

from __future__ import annotations

from collections.abc import Callable

import torch

from training.learning.gradient import Gradient
from training.learning.optimizer import Optimizer
from training.learning.ranks import Ranks
from training.reading.batches import Batch
from training.reading.rows import FeatureRows

#: Runs a function so that it can be run again, and returns what runs it again.
Recorder = Callable[[Callable[[], None]], Callable[[], None]]


class Step:
    """The gradient of a batch, added up over ranks, and Adam by it."""

    def __init__(self, gradient: Gradient, optimizer: Optimizer, ranks: Ranks) -> None:
        self._gradient, self._optimizer, self._ranks = gradient, optimizer, ranks

    def __call__(self, batch: Batch) -> None:
        """Move the parameters, and write the logits that the batch had before."""
        self._move(batch)
        self._optimizer.advance()

    def _move(self, batch: Batch) -> None:
        self._gradient.accumulate(batch)
        self._ranks.add(self._gradient.sums)
        self._gradient.finish()
        self._optimizer.apply()


class RecordedStep(Step):
    """A step on batches of one size, replayed on memory of its own; a batch of another size is stepped on as it is."""

    def __init__(
        self, gradient: Gradient, optimizer: Optimizer, rows: FeatureRows, batch_size: int, record: Recorder
    ) -> None:
        super().__init__(gradient, optimizer, Ranks())
        room = rows.empty(batch_size)
        self._batch = Batch(room, room.new_zeros(batch_size), room.new_zeros(batch_size), batch_size)
        room[:, :-1] = 0.0
        # Recording runs the step: what it moves is put back.
        moved = [gradient.parameters, *optimizer.tensors.values()]
        before = [tensor.clone() for tensor in moved]
        self._replay = record(lambda: self._move(self._batch))
        for tensor, value in zip(moved, before, strict=True):
            tensor.copy_(value)

    def __call__(self, batch: Batch) -> None:
        """As `Step`."""
        if len(batch.clicks) != len(self._batch.clicks):
            super().__call__(batch)
            return
        self._batch.rows.copy_(batch.rows)
        self._batch.clicks.copy_(batch.clicks)
        self._replay()
        batch.logits.copy_(self._batch.logits)
        self._optimizer.advance()


def record_cuda_graph(function: Callable[[], None]) -> Callable[[], None]:
    """Record on the current GPU; the memory that the function reads and writes must stay where it is."""
    # A graph is recorded after a few runs on a stream of its own, which set up the libraries' workspaces.
    aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            function()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    return graph.replay


def step_of(gradient: Gradient, optimizer: Optimizer, ranks: Ranks, rows: FeatureRows, batch_size: int) -> Step:
    """The fastest for where the rows are: replayed on one GPU, else as it comes."""
    if rows.device.type == "cuda" and ranks.count == 1:
        return RecordedStep(gradient, optimizer, rows, batch_size, record_cuda_graph)
    return Step(gradient, optimizer, ranks)
