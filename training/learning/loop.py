"""The training loop, from the first step to the best weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from hexbite.console import progress
from hexbite.errors import Interrupted
from hexbite.networks import NETWORKS, Network
from training.judging.validation import auc_fault, validate
from training.learning.checkpoint import Checkpoint, Interruption
from training.learning.gradient import gradient_of
from training.learning.history import History, Validation
from training.learning.optimizer import Optimizer
from training.learning.ranks import Ranks
from training.learning.step import step_of
from training.reading.batches import Batches, Chunk
from training.reading.rows import FeatureRows
from training.reading.shuffle import Shuffle
from training.reading.survey import Split, Survey
from training.settings import Settings


@dataclass(frozen=True, slots=True)
class Trained:
    """The network with the weights of the best validation, and how the run went."""

    network: Network
    history: History


def train(
    split: Split,
    found: Survey,
    rows: FeatureRows,
    settings: Settings,
    *,
    ranks: Ranks,
    checkpoint: Checkpoint,
    resume: bool = False,
    report: Callable[[Validation], None] = lambda _: None,
) -> Trained:
    """Train with Adam on binary cross-entropy; keep the weights of the least validation loss, or the last without any.

    The same data and settings give the same weights on a CPU, bit for bit, interrupted or not. Raises TrainingError
    where the loss is no number any more, Interrupted after SIGTERM once the checkpoint is written.
    """
    # A step is small: a second thread would spend its time waiting, the spinning kind, for which a busy machine makes
    # both pay dearly. It gathers rows instead. One thread also adds in the same order however many cores there are.
    torch.set_num_threads(1)
    torch.manual_seed(settings.seed)
    network = NETWORKS[settings.model](rows.width).to(rows.device, rows.dtype)
    gradient = gradient_of(network, autocast=settings.precision == "bf16")
    shuffle = Shuffle(split, found.rows_by_part, settings.window_rows, settings.seed, ranks.rank, ranks.count)
    batches = Batches(shuffle, rows, settings.batch_size)
    optimizer = Optimizer(gradient.parameters, settings, settings.epochs * batches.steps)
    state = {"parameters": gradient.parameters, "best": gradient.parameters.detach().clone(), **optimizer.tensors}
    history = History()
    if resume and (loaded := checkpoint.load()) is not None:
        for name, tensor in loaded[0].items():
            state[name].copy_(tensor)
        history = History.from_json(loaded[1])
        optimizer.resume()
    step = step_of(gradient, optimizer, ranks, rows, settings.batch_size)
    validation_rows = found.validation.take(slice(ranks.rank, None, ranks.count))
    has_auc = not auc_fault(found.validation)
    validate_at = [batches.steps * number // settings.validations for number in range(1, settings.validations + 1)]

    with Interruption() as interruption, torch.no_grad():
        for chunk in _chunks(batches, history, settings, validate_at, checkpoint.every):
            for batch in chunk.batches:
                step(batch)
            history.add(chunk)
            history.note_point(chunk, optimizer.learning_rate, settings.epochs * found.rows // ranks.count)
            if history.batch in validate_at:
                figures = validate(network, rows, validation_rows).compute() if len(found.validation) else {}
                if figures and not has_auc:
                    figures["auc"] = None
                if history.add_validation(figures, ranks):
                    state["best"].copy_(gradient.parameters)
                report(history.validations[-1])
            is_asked = ranks.agree(wanted=interruption.asked)
            if ranks.leads and (is_asked or (checkpoint.every and history.step % checkpoint.every == 0)):
                checkpoint.save(state, history.to_json())
            if is_asked:
                raise Interrupted(history.step, checkpoint.path)
            if settings.patience and history.validations_since_best >= settings.patience:
                break
    gradient.parameters.copy_(state["best"])
    return Trained(network, history)


def _chunks(
    batches: Batches, history: History, settings: Settings, validate_at: list[int], save_every: int
) -> Iterator[Chunk]:
    """The chunks of every epoch from the history's place on, with progress; the clock counts reading and stepping."""
    total = int(batches.shuffle.rows_by_part.sum())
    while history.epoch <= settings.epochs:
        before = (history.epoch - 1) * batches.steps
        save_at = range(save_every - before % save_every, batches.steps, save_every) if save_every else ()
        with progress(f"epoch {history.epoch}/{settings.epochs}", total) as advance:
            advance(min(history.batch * settings.batch_size, total))
            history.start_clock()
            for chunk in batches.epoch(history.epoch, first=history.batch, ends=[*validate_at, *save_at]):
                yield chunk
                advance(sum(batch.size for batch in chunk.batches), f"loss {history.epoch_loss:.4f}")
                history.start_clock()
        history.begin_epoch(history.epoch + 1)
