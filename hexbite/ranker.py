"""The model, what it is folded into, and how a request is scored and ordered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hexbite.errors import ArtifactError
from hexbite.features import Matrix

Logits = npt.NDArray[np.float64]

_FIRST: Final = 256
_SECOND: Final = 128


class RankNet(nn.Module):
    """The task's model: Linear F->256, Linear 256->128, ReLU, Linear 128->1.

    Pointwise in spite of its name: it is trained with binary cross-entropy on clicks, not on pairs (Burges et al. 2005
    is another loss). There is no activation between the first two layers, which is what lets `fold` merge them.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(width, _FIRST)
        self.second = nn.Linear(_FIRST, _SECOND)
        self.last = nn.Linear(_SECOND, 1)

    def forward(self, rows: Tensor) -> Tensor:
        """``(N, F)`` standardised rows to ``(N,)`` logits."""
        logits: Tensor = self.last(torch.relu(self.second(self.first(rows)))).squeeze(-1)
        return logits


@dataclass(frozen=True, slots=True)
class Ranker:
    """A published scorer of raw rows: Linear F->H, ReLU, Linear H->1, all float64.

    Float64 because raw features may sit far from zero (coordinates, timestamps): with the standardisation folded into
    the weights, float32 would cancel away the digits that matter.
    ``weight`` (H, F), ``bias`` (H,), ``last_weight`` (H,), ``last_bias`` (1,).
    """

    weight: Tensor
    bias: Tensor
    last_weight: Tensor
    last_bias: Tensor

    def __post_init__(self) -> None:
        if self.weight.ndim != 2:
            raise ArtifactError(f"the ranker's first weight has {self.weight.ndim} dimensions, not 2")
        hidden = self.weight.shape[0]
        for name, tensor, shape in (
            ("bias", self.bias, (hidden,)),
            ("last_weight", self.last_weight, (hidden,)),
            ("last_bias", self.last_bias, (1,)),
        ):
            if tuple(tensor.shape) != shape:
                raise ArtifactError(f"the ranker's {name} is {tuple(tensor.shape)}, its weight needs {shape}")
        for name, tensor in self.tensors().items():
            if tensor.dtype != torch.float64:
                raise ArtifactError(f"the ranker's {name} is {tensor.dtype}, not torch.float64")
            if not bool(torch.isfinite(tensor).all()):
                raise ArtifactError(f"the ranker's {name} holds NaN or infinity")

    @property
    def width(self) -> int:
        """Length of a row that it scores."""
        return self.weight.shape[1]

    def tensors(self) -> dict[str, Tensor]:
        """Its parameters by name."""
        return {
            "weight": self.weight,
            "bias": self.bias,
            "last_weight": self.last_weight,
            "last_bias": self.last_bias,
        }

    @classmethod
    def fold(cls, model: RankNet, mean: npt.NDArray[np.float64], std: npt.NDArray[np.float64]) -> Self:
        """The same function on raw rows: ``model((row - mean) / std)``; ``mean`` and ``std`` are ``(F,)``, std > 0.

        W2 (W1 (x - m) / s + b1) + b2 is one linear map: W = W2 W1 / s, b = W2 b1 + b2 - W m.
        """
        with torch.no_grad():
            first, second, last = (layer.weight.double() for layer in (model.first, model.second, model.last))
            weight = (second @ first) / torch.from_numpy(std)
            bias = second @ model.first.bias.double() + model.second.bias.double()
            bias = bias - weight @ torch.from_numpy(mean)
            return cls(weight, bias, last[0].clone(), model.last.bias.double())

    def logits(self, rows: Matrix) -> Logits:
        """Raw rows ``(N, F)`` float32 to logits ``(N,)`` float64; N may be 0."""
        with torch.inference_mode():
            hidden = torch.addmm(self.bias, torch.from_numpy(rows).double(), self.weight.T).relu_()
            scored: Logits = (hidden @ self.last_weight + self.last_bias).numpy()
        return scored


def logits_to_scores(logits: Logits) -> npt.NDArray[np.float64]:
    """Click probabilities 0..1: the logistic function, which saturates where the logits still differ."""
    return np.asarray(torch.sigmoid(torch.from_numpy(logits)).numpy())


def order(
    ids: npt.NDArray[np.int64],
    logits: Logits,
    distance_m: npt.NDArray[np.float64],
    *,
    size: int,
    by_distance: bool,
) -> npt.NDArray[np.intp]:
    """Positions of the best ``size`` of N restaurants, best first.

    By logit, then nearest, then lowest id; or by distance, then lowest id. By logit and not by score, because the
    sigmoid of confident logits is exactly 1 for many.
    """
    keys = (ids, distance_m) if by_distance else (ids, distance_m, -logits)
    return np.lexsort(keys)[:size]
