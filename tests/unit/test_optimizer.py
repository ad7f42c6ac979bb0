"""The learning rate goes where it should, and clipping clips."""

import pytest
import torch

from training.learning.optimizer import Optimizer
from training.settings import Settings


def rates(steps: int = 100, **settings: object) -> list[float]:
    parameters = torch.zeros(3)
    parameters.grad = torch.ones(3)
    optimizer = Optimizer(parameters, Settings(learning_rate=0.5, **settings), steps)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.learning_rate)
        optimizer.apply()
        optimizer.advance()
    return seen


def test_a_schedule_ends_near_zero_unless_it_is_constant() -> None:
    assert rates(schedule="constant") == [0.5] * 100
    cosine, linear = rates(schedule="cosine"), rates(schedule="linear")
    assert cosine[0] == linear[0] == 0.5
    assert cosine[50] == pytest.approx(0.25) == linear[50]
    assert 0 < cosine[-1] < linear[-1] == pytest.approx(0.005)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_warm_up_climbs_to_the_full_rate_and_then_the_schedule_begins(schedule: str) -> None:
    seen = rates(schedule=schedule, warmup_steps=10)
    assert seen[0] == pytest.approx(0.5 / 11)
    assert seen[:11] == sorted(seen[:11])
    assert seen[10] == pytest.approx(0.5) == max(seen)
    assert (seen[-1] < 0.01) == (schedule != "constant")


def test_a_warm_up_longer_than_the_run_is_cut_to_it() -> None:
    assert rates(steps=3, warmup_steps=1_000)[-1] == pytest.approx(0.5)


def test_a_resumed_schedule_is_at_the_same_rate() -> None:
    seen = rates(warmup_steps=7)
    parameters = torch.zeros(3)
    optimizer = Optimizer(parameters, Settings(learning_rate=0.5, warmup_steps=7), 100)
    optimizer.tensors["step"].fill_(42)
    optimizer.resume()
    assert optimizer.learning_rate == seen[42]


def test_a_gradient_longer_than_the_norm_is_shortened_to_it() -> None:
    parameters = torch.zeros(4)
    parameters.grad = torch.full((4,), 3.0)
    Optimizer(parameters, Settings(clip_norm=1.5), 10).apply()
    assert parameters.grad.norm() == pytest.approx(1.5, rel=1e-5)
    parameters.grad = torch.full((4,), 0.1)
    Optimizer(parameters, Settings(clip_norm=1.5), 10).apply()
    assert parameters.grad.norm() == pytest.approx(0.2)
