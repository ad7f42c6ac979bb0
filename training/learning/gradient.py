"""Gradients of the mean binary cross-entropy: by autograd for any network, through the folded map for RankNet (ADR 5).

Either first adds up what the rows of this rank say in ``sums``, which ranks add to each other's, then turns that into
the gradient of every parameter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from hexbite.networks import Network, RankNet
from training.reading.batches import Batch


class Gradient(ABC):
    """``parameters`` ``(P,)`` holds all of a network's, and its ``grad`` their gradients; the network's are views."""

    parameters: Tensor
    sums: Tensor

    @abstractmethod
    def accumulate(self, batch: Batch) -> None:
        """Write this rank's share of ``sums``, and the logits of its rows into the batch."""

    @abstractmethod
    def finish(self) -> None:
        """Turn ``sums``, added up over ranks, into gradients."""


def gradient_of(network: Network, *, autocast: bool = False) -> Gradient:
    """The fastest exact way for a network; ``autocast`` runs its matrix products in bfloat16."""
    if isinstance(network, RankNet) and not autocast:
        return FoldedGradient(network)
    return AutogradGradient(network, autocast=autocast)


class AutogradGradient(Gradient):
    """Forward and backward as torch does it."""

    def __init__(self, network: Network, *, autocast: bool) -> None:
        self._network = network
        self._autocast = autocast
        self.parameters = torch.cat([parameter.detach().reshape(-1) for parameter in network.parameters()])
        self.parameters.grad = self.sums = torch.zeros_like(self.parameters)
        start = 0
        for parameter in network.parameters():
            view = slice(start, start + parameter.numel())
            parameter.data = self.parameters[view].view_as(parameter)
            parameter.grad = self.sums[view].view_as(parameter)
            start += parameter.numel()

    def accumulate(self, batch: Batch) -> None:
        """``sums`` are the gradients themselves."""
        self.sums.zero_()
        if not len(batch.clicks):
            return
        with torch.enable_grad():
            with torch.autocast(batch.rows.device.type, torch.bfloat16, enabled=self._autocast):
                logits = self._network(batch.rows[:, :-1])
            logits = logits.to(batch.logits.dtype)
            loss = binary_cross_entropy_with_logits(logits, batch.clicks, reduction="sum") / batch.size
            torch.autograd.backward(loss)
        batch.logits.copy_(logits.detach())

    def finish(self) -> None:
        """Nothing is left to do."""


class FoldedGradient(Gradient):
    """RankNet's gradients at an eighth of the arithmetic, in homogeneous coordinates: every row ends in a 1.

    There is no activation between the first two layers, so they are one map of a row, A = [W1 | b1]' W2' with b2 added
    to its last row. With the mask M of the units that are on and the gradient d of the logits, the rows x add up to
    S = (diag(d) x)' M, from which the gradient of A is S diag(w3), that of w3 the column sums of S * A, that of b3 the
    sum of d. With G that of A, the chain rule gives the layers' own: [W1 | b1] G for W2', the last row of G for b2, and
    G W2 for [W1 | b1]'. Nothing is approximated; both layers keep their parameters and their optimizer state.
    """

    def __init__(self, network: RankNet) -> None:
        first, second, last = network.first, network.second, network.last
        width, hidden, units = first.in_features, first.out_features, second.out_features
        # Transposed, and b1 below W1': of all layouts the one with the fastest products.
        shapes = (units,), (1,), (units,), (width + 1, hidden), (hidden, units)
        sizes = [torch.Size(shape).numel() for shape in shapes]
        self.parameters = first.weight.new_empty(sum(sizes)).detach()
        self._bias, self._b3, self._last, self._first, self._second = _views(self.parameters, sizes, shapes)
        with torch.no_grad():
            for parameter, view in (
                (first.weight, self._first[:width].T),
                (first.bias, self._first[width]),
                (second.weight, self._second.T),
                (second.bias, self._bias),
                (last.weight, self._last[None]),
                (last.bias, self._b3),
            ):
                parameter.data = view.copy_(parameter)
        # S with the sum of d behind it, which ranks add up, runs into the gradients: the last row of S becomes that of
        # b2, and the sum of d is that of b3.
        room = self.parameters.new_zeros(width * units + sum(sizes))
        self.sums = room[: (width + 1) * units + 1]
        self.parameters.grad = room[width * units :]
        self._s, self._sum_d = self.sums[:-1].view(width + 1, units), self.sums[-1]
        _, _, self._to_last, self._to_first, self._to_second = _views(self.parameters.grad, sizes, shapes)
        self._map, self._products = torch.empty_like(self._s), torch.empty_like(self._s)
        # Views that every step needs, made once: beside products this small, making them anew would show.
        self._map_bias = self._map[width]
        self._first_t, self._second_t = self._first.T, self._second.T
        self._rooms: dict[int, _Room] = {}

    def accumulate(self, batch: Batch) -> None:
        """``sums`` are S and the sum of d: 41 x 128 + 1 numbers for 40 features, an eighth of the gradients'."""
        rows, clicks, logits, size = batch
        torch.mm(self._first, self._second, out=self._map)
        self._map_bias.add_(self._bias)
        count = clicks.shape[0]
        if not count:
            self.sums.zero_()
            return
        hidden, d, d_column, weighted, weighted_t = self._room(count)
        torch.mm(rows, self._map, out=hidden).relu_()
        torch.addmv(self._b3, hidden, self._last, out=logits)
        torch.sigmoid(logits, out=d).sub_(clicks).div_(size)
        torch.sum(d, 0, out=self._sum_d)
        torch.mul(rows, d_column, out=weighted)
        # What the ReLU let through is positive: its sign is the mask.
        torch.mm(weighted_t, hidden.sign_(), out=self._s)

    def finish(self) -> None:
        """From S to the layers; overwrites ``sums`` but for what is b2's and b3's gradient already."""
        torch.sum(torch.mul(self._s, self._map, out=self._products), 0, out=self._to_last)
        self._s.mul_(self._last)
        torch.mm(self._first_t, self._s, out=self._to_second)
        torch.mm(self._s, self._second_t, out=self._to_first)

    def _room(self, rows: int) -> _Room:
        if rows not in self._rooms:
            empty, (inputs, units) = self.parameters.new_empty, self._s.shape
            d, weighted = empty(rows), empty((rows, inputs))
            self._rooms[rows] = _Room(empty((rows, units)), d, d[:, None], weighted, weighted.T)
        return self._rooms[rows]


def _views(flat: Tensor, sizes: list[int], shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    return [part.view(shape) for part, shape in zip(torch.split(flat, sizes), shapes, strict=True)]


class _Room(NamedTuple):
    """Memory for what a batch of N rows becomes: hidden units, d and d as a column, rows times d and transposed."""

    hidden: Tensor
    d: Tensor
    d_column: Tensor
    weighted: Tensor
    weighted_t: Tensor
