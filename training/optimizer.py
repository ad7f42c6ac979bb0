"""Adam on one flat tensor, with the schedule and the clipping that a run asked for."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR

from training.settings import Settings


class Optimizer:
    """Steps the parameters ``(P,)`` by their ``grad``. State and schedule are torch's own.

    The step calls the operator behind `torch.optim.Adam(fused=True)`: Adam is elementwise, so that one call on a flat
    tensor steps every layer, and the bookkeeping around the operator would take a tenth of a small model's step.
    """

    def __init__(self, parameters: Tensor, settings: Settings, steps: int) -> None:
        self._parameters = parameters
        self._clip_norm = settings.clip_norm
        # Carries the learning rate for torch's schedules, which expect an optimizer that has stepped. Nothing moves it.
        carrier = torch.optim.Adam([torch.zeros(())], lr=settings.learning_rate)
        self.moments = {"exp_avg": torch.zeros_like(parameters), "exp_avg_sq": torch.zeros_like(parameters)}
        self._step = torch.zeros((), device=parameters.device)
        self._schedule = _schedule(carrier, settings, steps)
        carrier.step()
        self._group = carrier.param_groups[0]
        self._beta1, self._beta2 = self._group["betas"]
        self._eps = self._group["eps"]

    @property
    def learning_rate(self) -> float:
        """That of the next step."""
        return float(self._group["lr"])

    def step(self) -> None:
        """One step by the gradients."""
        gradient = self._parameters.grad
        assert gradient is not None
        if self._clip_norm:
            torch.nn.utils.clip_grad_norm_([self._parameters], self._clip_norm)
        self._step.add_(1)
        torch._fused_adam_(
            [self._parameters],
            [gradient],
            [self.moments["exp_avg"]],
            [self.moments["exp_avg_sq"]],
            [],
            [self._step],
            lr=self._group["lr"],
            beta1=self._beta1,
            beta2=self._beta2,
            weight_decay=0.0,
            eps=self._eps,
            amsgrad=False,
            maximize=False,
        )
        self._schedule.step()

    @property
    def steps(self) -> int:
        """Steps taken."""
        return int(self._step)

    def resume(self, steps: int) -> None:
        """Take the place that so many steps lead to; the moments are copied in by the caller."""
        self._step.fill_(steps)
        for _ in range(steps):
            self._schedule.step()


def _schedule(optimizer: torch.optim.Optimizer, settings: Settings, steps: int) -> LRScheduler:
    warmup = min(settings.warmup_steps, steps - 1)
    rest = steps - warmup
    main: LRScheduler
    if settings.schedule == "cosine":
        main = CosineAnnealingLR(optimizer, rest)
    elif settings.schedule == "linear":
        main = LinearLR(optimizer, 1.0, 0.0, rest)
    else:
        main = ConstantLR(optimizer, 1.0, rest)
    if not warmup:
        return main
    return SequentialLR(optimizer, [LinearLR(optimizer, 1.0 / (warmup + 1), 1.0, warmup), main], [warmup])
