"""The networks that can be trained: each scores standardised rows, and says how to be published."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final, NamedTuple, cast

import torch
from torch import Tensor, nn

_FIRST: Final = 256
_SECOND: Final = 128
_CROSSES: Final = 3


class LinearMap(NamedTuple):
    """x to W x + b: ``weight`` (out, in), ``bias`` (out,)."""

    weight: Tensor
    bias: Tensor

    @classmethod
    def of(cls, layer: nn.Linear) -> LinearMap:
        """A layer's map in float64, cut loose from the layer."""
        return cls(layer.weight.detach().double().clone(), layer.bias.detach().double().clone())


class Network(nn.Module, ABC):
    """``(N, F)`` standardised rows to ``(N,)`` logits: cross layers, then linear ones with ReLU between them."""

    @abstractmethod
    def forward(self, rows: Tensor) -> Tensor:
        """``(N, F)`` to ``(N,)``."""

    @property
    def crosses(self) -> list[LinearMap]:
        """The maps of the cross layers, float64; empty where there are none."""
        return []

    @property
    @abstractmethod
    def layers(self) -> list[LinearMap]:
        """The maps between which a ReLU stands, float64; the last has one output."""


class RankNet(Network):
    """The task's model: Linear F->256, Linear 256->128, ReLU, Linear 128->1.

    Pointwise in spite of its name: it is trained with binary cross-entropy on clicks, not on pairs (Burges et al. 2005
    is another loss). There is no activation between the first two layers, so that they are one map, W2 W1.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(width, _FIRST)
        self.second = nn.Linear(_FIRST, _SECOND)
        self.last = nn.Linear(_SECOND, 1)

    def forward(self, rows: Tensor) -> Tensor:
        """``(N, F)`` to ``(N,)``."""
        hidden = torch.relu(self.second(self.first(rows)))
        return cast("Tensor", self.last(hidden)).squeeze(-1)

    @property
    def layers(self) -> list[LinearMap]:
        """The first two as one map, and the last."""
        first, second = LinearMap.of(self.first), LinearMap.of(self.second)
        merged = LinearMap(second.weight @ first.weight, second.weight @ first.bias + second.bias)
        return [merged, LinearMap.of(self.last)]


class Mlp(Network):
    """RankNet with the activation that it lacks: Linear F->256, ReLU, Linear 256->128, ReLU, Linear 128->1."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.deep = _deep(width)

    def forward(self, rows: Tensor) -> Tensor:
        """``(N, F)`` to ``(N,)``."""
        return cast("Tensor", self.deep(rows)).squeeze(-1)

    @property
    def layers(self) -> list[LinearMap]:
        """The three linear layers."""
        return _maps(self.deep)


class DcnV2(Network):
    """Deep & Cross Network v2, stacked (Wang et al. 2021, equation 1): three full-rank cross layers, then `Mlp`.

    A cross layer multiplies features with each other, x -> x0 * (W x + b) + x, which a dot product of tastes needs.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cross = nn.ModuleList(nn.Linear(width, width) for _ in range(_CROSSES))
        self.deep = _deep(width)

    def forward(self, rows: Tensor) -> Tensor:
        """``(N, F)`` to ``(N,)``."""
        crossed = rows
        for layer in self.cross:
            crossed = torch.addcmul(crossed, rows, layer(crossed))
        return cast("Tensor", self.deep(crossed)).squeeze(-1)

    @property
    def crosses(self) -> list[LinearMap]:
        """The cross layers, in order."""
        return [LinearMap.of(cast("nn.Linear", layer)) for layer in self.cross]

    @property
    def layers(self) -> list[LinearMap]:
        """The three linear layers behind them."""
        return _maps(self.deep)


def _deep(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, _FIRST), nn.ReLU(), nn.Linear(_FIRST, _SECOND), nn.ReLU(), nn.Linear(_SECOND, 1)
    )


def _maps(deep: nn.Sequential) -> list[LinearMap]:
    return [LinearMap.of(layer) for layer in deep if isinstance(layer, nn.Linear)]


#: By the name that `--model` takes; each is built from the length of a row.
NETWORKS: Final[dict[str, Callable[[int], Network]]] = {"ranknet": RankNet, "mlp": Mlp, "dcn": DcnV2}
