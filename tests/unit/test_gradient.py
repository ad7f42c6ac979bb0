"""Either way to a gradient takes the plain network's steps; the folded one exactly."""

from collections.abc import Callable, Iterator
from statistics import median
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from hexbite.networks import NETWORKS, Network, RankNet
from training.learning.gradient import AutogradGradient, FoldedGradient, Gradient, gradient_of
from training.learning.optimizer import Optimizer
from training.learning.ranks import Ranks
from training.learning.step import RecordedStep, Step
from training.reading.batches import Batch
from training.reading.rows import FeatureRows
from training.settings import Settings

ROWS, WIDTH = 64, 40
SETTINGS = Settings(schedule="constant")


def plain(dtype: torch.dtype, kind: str = "ranknet") -> Network:
    torch.manual_seed(3)
    return NETWORKS[kind](WIDTH).to(dtype)


def batches(count: int, dtype: torch.dtype, seed: int = 4) -> Iterator[Batch]:
    draws = torch.Generator().manual_seed(seed)
    taste = torch.randn(WIDTH, dtype=dtype, generator=draws)
    for _ in range(count):
        rows = torch.ones(ROWS, WIDTH + 1, dtype=dtype)
        rows[:, :-1] = torch.randn(ROWS, WIDTH, dtype=dtype, generator=draws)
        chances = torch.sigmoid(rows[:, :-1] @ taste)
        clicks = (torch.rand(ROWS, dtype=dtype, generator=draws) < chances).to(dtype)
        yield Batch(rows, clicks, torch.empty(ROWS, dtype=dtype), ROWS)


def loss_of(logits: Tensor, clicks: Tensor) -> Tensor:
    return nn.functional.binary_cross_entropy_with_logits(logits, clicks)


def plain_losses(network: Network, data: Iterator[Batch], *, reverse: bool = False) -> Tensor:
    optimizer = torch.optim.Adam(network.parameters(), lr=SETTINGS.learning_rate)
    losses = []
    for batch in data:
        rows, clicks = batch.rows[:, :-1], batch.clicks
        if reverse:
            rows, clicks = rows.flip(0), clicks.flip(0)
        optimizer.zero_grad()
        loss = loss_of(network(rows), clicks)
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)


@torch.no_grad()
def our_losses(gradient: Gradient, data: Iterator[Batch], *, recorded: bool = False) -> Tensor:
    optimizer = Optimizer(gradient.parameters, SETTINGS, 1_000)
    step = Step(gradient, optimizer, Ranks())
    if recorded:
        step = RecordedStep(gradient, optimizer, cast("FeatureRows", Room()), ROWS, run_thrice)
    losses = []
    for batch in data:
        step(batch)
        losses.append(loss_of(batch.logits, batch.clicks))
    return torch.stack(losses)


class Room:
    """Stands in for the tables."""

    def empty(self, rows: int) -> Tensor:
        return torch.ones(rows, WIDTH + 1, dtype=torch.float64)


def run_thrice(function: Callable[[], None]) -> Callable[[], None]:
    """What recording a graph does before it can be replayed, without the GPU that a graph takes."""
    for _ in range(3):
        function()
    return function


def folded(network: Network) -> FoldedGradient:
    assert isinstance(network, RankNet)
    return FoldedGradient(network)


def test_the_folded_gradients_are_those_of_autograd_to_1e_10() -> None:
    expected, network = plain(torch.float64), plain(torch.float64)
    gradient = folded(network)
    parameters = dict(network.named_parameters())
    for batch in batches(5, torch.float64):
        expected.zero_grad()
        torch.autograd.backward(loss_of(expected(batch.rows[:, :-1]), batch.clicks))
        with torch.no_grad():
            gradient.accumulate(batch)
            gradient.finish()
        flat = gradient.parameters.grad
        assert flat is not None
        for name, theirs in expected.named_parameters():
            # A parameter is a view of the flat tensor: its gradient is the same view of the flat gradient.
            view = parameters[name]
            ours = flat.as_strided(view.shape, view.stride(), flat.storage_offset() + view.storage_offset())
            assert theirs.grad is not None
            torch.testing.assert_close(ours, theirs.grad, rtol=0, atol=1e-10)


def test_a_thousand_folded_steps_have_the_plain_networks_losses_to_1e_9_in_float64() -> None:
    network = plain(torch.float64)
    losses = our_losses(folded(network), batches(1_000, torch.float64))
    expected = plain_losses(plain(torch.float64), batches(1_000, torch.float64))
    torch.testing.assert_close(losses, expected, rtol=0, atol=1e-9)
    assert expected[-100:].mean() < 0.7 * expected[:100].mean()


def test_in_float32_the_folded_steps_stray_no_further_than_the_plain_ones_with_rows_reversed() -> None:
    # One ReLU that flips moves all that follows, so that how far a run strays is luck: the middle of nine runs is held
    # against the middle of nine. Both are rounding, 2e-8; the factor is what is left of the luck.
    by_folding, by_reversing = [], []
    for seed in range(9):
        expected = plain_losses(plain(torch.float32), batches(300, torch.float32, seed))
        ours = our_losses(folded(plain(torch.float32)), batches(300, torch.float32, seed))
        reversed_rows = plain_losses(plain(torch.float32), batches(300, torch.float32, seed), reverse=True)
        by_folding.append(float((ours - expected).square().mean().sqrt()))
        by_reversing.append(float((reversed_rows - expected).square().mean().sqrt()))
    assert 0 < median(by_folding) < 1.5 * median(by_reversing)


@pytest.mark.parametrize("kind", list(NETWORKS))
@pytest.mark.parametrize("way", [lambda network: AutogradGradient(network, autocast=False), gradient_of])
def test_every_network_takes_torchs_own_adam_steps(kind: str, way: Callable[[Network], Gradient]) -> None:
    losses = our_losses(way(plain(torch.float64, kind)), batches(50, torch.float64))
    expected = plain_losses(plain(torch.float64, kind), batches(50, torch.float64))
    torch.testing.assert_close(losses, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", list(NETWORKS))
def test_a_recorded_step_is_the_plain_one_also_on_a_batch_of_another_size(kind: str) -> None:
    def odd() -> Iterator[Batch]:
        for number, batch in enumerate(batches(20, torch.float64)):
            yield batch if number != 7 else Batch(batch.rows[:9], batch.clicks[:9], batch.logits[:9], 9)

    plain_steps = our_losses(gradient_of(plain(torch.float64, kind)), odd())
    recorded = our_losses(gradient_of(plain(torch.float64, kind)), odd(), recorded=True)
    torch.testing.assert_close(recorded, plain_steps, rtol=0, atol=1e-12)


def test_ranknet_is_folded_and_others_are_not() -> None:
    assert isinstance(gradient_of(plain(torch.float32)), FoldedGradient)
    assert isinstance(gradient_of(plain(torch.float32), autocast=True), AutogradGradient)
    assert isinstance(gradient_of(plain(torch.float32, "mlp")), AutogradGradient)


@pytest.mark.parametrize("kind", list(NETWORKS))
def test_bfloat16_stays_close(kind: str) -> None:
    exact = our_losses(gradient_of(plain(torch.float32, kind)), batches(100, torch.float32))
    rough = our_losses(gradient_of(plain(torch.float32, kind), autocast=True), batches(100, torch.float32))
    assert not torch.equal(exact, rough)
    torch.testing.assert_close(rough, exact, rtol=0, atol=0.1)


@pytest.mark.parametrize("kind", list(NETWORKS))
@torch.no_grad()
def test_a_rank_without_rows_adds_nothing(kind: str) -> None:
    gradient = gradient_of(plain(torch.float64, kind))
    (batch,) = batches(1, torch.float64)
    gradient.accumulate(batch)
    gradient.accumulate(Batch(batch.rows[:0], batch.clicks[:0], batch.logits[:0], ROWS))
    assert not gradient.sums.any()


@pytest.mark.parametrize("kind", list(NETWORKS))
@torch.no_grad()
def test_ranks_that_share_a_batch_come_to_its_gradient(kind: str) -> None:
    batch, later = batches(2, torch.float64)
    alone, *ranks = (gradient_of(plain(torch.float64, kind)) for _ in range(4))
    for whole, shares in (
        (batch, (slice(0, 10), slice(10, 10), slice(10, None))),
        (later, (slice(0),) * 2 + (slice(None),)),
    ):
        alone.accumulate(whole)
        alone.finish()
        for rank, share in zip(ranks, shares, strict=True):
            rank.accumulate(Batch(whole.rows[share], whole.clicks[share], whole.logits[share], ROWS))
        total = torch.stack([rank.sums for rank in ranks]).sum(0)
        for gradient in (alone, *ranks):
            if gradient is not alone:
                gradient.sums.copy_(total)
                gradient.finish()
            assert gradient.parameters.grad is not None and alone.parameters.grad is not None
            torch.testing.assert_close(gradient.parameters.grad, alone.parameters.grad, rtol=0, atol=1e-12)
            gradient.parameters.sub_(alone.parameters.grad)
