"""One step of RankNet through its folded map: the plain network's gradients, at an eighth of its arithmetic."""

from __future__ import annotations

import torch
from torch import Tensor

from hexbite.ranker import RankNet


class FoldedStep:
    """Forward, backward and Adam on one batch.

    There is no activation between the first two layers, so they are one map, W = W2 W1 and b = W2 b1 + b2. With
    G = dL/dW and g = dL/db, the chain rule gives the layers' own gradients: dW2 = G W1' + g b1', db2 = g, dW1 = W2' G,
    db1 = W2' g. Nothing is approximated; both layers keep their parameters and their optimizer state.
    """

    def __init__(self, model: RankNet, *, learning_rate: float) -> None:
        self._model = model
        # One flat parameter that the layers' are views of: Adam is elementwise, and so one operator instead of six.
        layers = list(model.parameters())
        self._flat = torch.cat([layer.detach().reshape(-1) for layer in layers]).requires_grad_()
        self._flat.grad = torch.zeros_like(self._flat)
        start = 0
        for layer in layers:
            view = slice(start, start + layer.numel())
            layer.data = self._flat.data[view].view_as(layer)
            layer.grad = self._flat.grad[view].view_as(layer)
            start += layer.numel()
        self._optimizer = torch.optim.Adam([self._flat], lr=learning_rate, fused=True)

    def __call__(self, rows: Tensor, clicks: Tensor) -> Tensor:
        """Step on standardised rows ``(N, F)`` and clicks ``(N,)`` 0 or 1; the mean loss before it, a scalar."""
        loss = self.set_gradients(rows, clicks)
        self._optimizer.step()
        return loss

    @torch.no_grad()
    def set_gradients(self, rows: Tensor, clicks: Tensor) -> Tensor:
        """Write the gradients of the mean cross-entropy into the parameters and return it."""
        first, second, last = self._model.first, self._model.second, self._model.last
        weight = second.weight @ first.weight
        bias = torch.addmv(second.bias, second.weight, first.bias)
        hidden = torch.addmm(bias, rows, weight.T).relu_()
        logits = torch.addmv(last.bias, hidden, last.weight[0])
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, clicks)

        to_logits = logits.sigmoid_().sub_(clicks).div_(len(clicks))
        _gradient(last.weight)[0] = to_logits @ hidden
        _gradient(last.bias)[0] = to_logits.sum()
        to_hidden = torch.ops.aten.threshold_backward(torch.outer(to_logits, last.weight[0]), hidden, 0)
        to_weight, to_bias = to_hidden.T @ rows, to_hidden.sum(0)
        torch.addmm(torch.outer(to_bias, first.bias), to_weight, first.weight.T, out=_gradient(second.weight))
        _gradient(second.bias).copy_(to_bias)
        torch.mm(second.weight.T, to_weight, out=_gradient(first.weight))
        torch.mv(second.weight.T, to_bias, out=_gradient(first.bias))
        return loss


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad
