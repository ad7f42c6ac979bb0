"""Adam on one flat tensor, with the schedule and the clipping that a run asked for."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR

from training.settings import Settings


class Optimizer:
    """Steps the parameters ``(P,)`` by their ``grad``: `apply` moves them, `advance` leads on the learning rate.

    `apply` calls the operator behind `torch.optim.Adam(fused=True)`: Adam is elementwise, so that one call on a flat
    tensor steps every layer, and the bookkeeping around the operator would take a tenth of a small model's step.
    """

    def __init__(self, parameters: Tensor, settings: Settings, steps: int) -> None:
        self._parameters = parameters
        self._clip_norm = settings.clip_norm
        #: What Adam keeps: both moments and the number of steps.
        self.tensors = {
            "exp_avg": torch.zeros_like(parameters, requires_grad=False),
            "exp_avg_sq": torch.zeros_like(parameters, requires_grad=False),
            "step": torch.zeros((), device=parameters.device),
        }
        # Carries the learning rate for torch's schedules, which expect an optimizer that has stepped. Nothing moves it.
        carrier = torch.optim.Adam([torch.zeros(())], lr=settings.learning_rate)
        self._schedule = _schedule(carrier, settings, steps)
        carrier.step()
        self._group = carrier.param_groups[0]
        self._beta1, self._beta2 = self._group["betas"]
        self._eps = self._group["eps"]
        # On a GPU a tensor, so that a recorded step reads what it is by then.
        self._rate: float | Tensor = settings.learning_rate
        if parameters.is_cuda:
            self._rate = torch.zeros((), device=parameters.device)
        self._set_rate()

    @property
    def learning_rate(self) -> float:
        """That of the next step."""
        return float(self._group["lr"])

    def apply(self) -> None:
        """Move the parameters by their gradients."""
        gradient = self._parameters.grad
        assert gradient is not None
        if self._clip_norm:
            torch.nn.utils.clip_grad_norm_([self._parameters], self._clip_norm)
        exp_avg, exp_avg_sq, step = self.tensors.values()
        step.add_(1)
        torch._fused_adam_(
            [self._parameters],
            [gradient],
            [exp_avg],
            [exp_avg_sq],
            [],
            [step],
            lr=self._rate,
            beta1=self._beta1,
            beta2=self._beta2,
            weight_decay=0.0,
            eps=self._eps,
            amsgrad=False,
            maximize=False,
        )

    def advance(self) -> None:
        """Lead the learning rate on by a step."""
        self._schedule.step()
        self._set_rate()

    def resume(self) -> None:
        """Lead the learning rate on to the number of steps that ``tensors`` hold by now."""
        for _ in range(int(self.tensors["step"])):
            self._schedule.step()
        self._set_rate()

    def _set_rate(self) -> None:
        if isinstance(self._rate, Tensor):
            self._rate.fill_(self._group["lr"])
        else:
            self._rate = self._group["lr"]


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
