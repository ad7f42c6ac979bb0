"""The folded step takes the plain network's steps."""

import torch
from torch import nn

from hexbite.ranker import RankNet
from training.step import FoldedStep


def twins(dtype: torch.dtype) -> tuple[RankNet, RankNet]:
    torch.manual_seed(3)
    one, other = RankNet(40).to(dtype), RankNet(40).to(dtype)
    other.load_state_dict(one.state_dict())
    return one, other


def batches(count: int, dtype: torch.dtype) -> list[tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(4)
    taste = torch.randn(40, dtype=dtype)
    rows = [torch.randn(64, 40, dtype=dtype) for _ in range(count)]
    return [(row, (torch.rand(64, dtype=dtype) < torch.sigmoid(row @ taste)).to(dtype)) for row in rows]


def plain_losses(model: RankNet, data: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for rows, clicks in data:
        optimizer.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(model(rows), clicks)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)


def test_gradients_are_those_of_autograd() -> None:
    plain, folded = twins(torch.float64)
    step = FoldedStep(folded, learning_rate=1e-3)
    for rows, clicks in batches(5, torch.float64):
        plain.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(plain(rows), clicks)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        assert torch.allclose(step.set_gradients(rows, clicks), loss.detach(), rtol=0, atol=1e-12)
        for (name, ours), theirs in zip(folded.named_parameters(), plain.parameters(), strict=True):
            assert ours.grad is not None and theirs.grad is not None
            assert torch.allclose(ours.grad, theirs.grad, rtol=0, atol=1e-10), name


def test_a_thousand_steps_have_the_plain_networks_losses_in_float64() -> None:
    plain, folded = twins(torch.float64)
    data = batches(1_000, torch.float64)
    step = FoldedStep(folded, learning_rate=1e-3)
    losses = torch.stack([step(rows, clicks) for rows, clicks in data])
    expected = plain_losses(plain, data)
    assert torch.allclose(losses, expected, rtol=0, atol=1e-9)
    assert expected[-100:].mean() < 0.7 * expected[:100].mean()
    assert not torch.equal(folded.first.weight, plain.second.weight)


def test_in_float32_the_losses_stay_together() -> None:
    plain, folded = twins(torch.float32)
    data = batches(300, torch.float32)
    step = FoldedStep(folded, learning_rate=1e-3)
    losses = torch.stack([step(rows, clicks) for rows, clicks in data])
    assert torch.allclose(losses, plain_losses(plain, data), rtol=0, atol=1e-3)
