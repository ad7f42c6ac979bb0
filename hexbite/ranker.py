"""What a network is published as, and how a request is scored and ordered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hexbite.errors import ArtifactError
from hexbite.features import Matrix
from hexbite.networks import LinearMap, Network

Logits = npt.NDArray[np.float64]

# Hidden units of so many rows stay in the processor's cache, and memory does not grow with the candidates.
_ROWS_AT_ONCE: Final = 1_024

_NAME: Final = re.compile(r"(layers|crosses|inputs)\.(\d+)\.(weight|bias)")


@dataclass(frozen=True, slots=True)
class Ranker:
    """A published scorer of raw rows, all float64: a diagonal map of the inputs and cross layers, then linear layers.

    ``layers`` are linear maps with ReLU between them, the last to one logit. ``crosses`` are maps of a row to its own
    width, each applied as x -> x0 * (W x + b) + x; where there are any, ``inputs`` holds the one elementwise map (F,),
    (F,) that standardises a row before them, else standardisation is folded into the first layer and it is empty.
    Float64 because raw features may sit far from zero (coordinates, timestamps): with the standardisation folded into
    the weights, float32 would cancel away the digits that matter.
    A column without any weight is not looked at: it may hold anything, NaN and infinity too.
    """

    layers: tuple[LinearMap, ...]
    crosses: tuple[LinearMap, ...] = ()
    inputs: tuple[LinearMap, ...] = ()

    def __post_init__(self) -> None:
        for name, tensor in self.tensors().items():
            if tensor.dtype != torch.float64:
                raise ArtifactError(f"the ranker's {name} is {tensor.dtype}, not torch.float64")
            if not bool(torch.isfinite(tensor).all()):
                raise ArtifactError(f"the ranker's {name} holds NaN or infinity")
        if not self.layers or any(layer.weight.ndim != 2 for layer in self.layers):
            raise ArtifactError("the ranker's layers must be matrices, one at the least")
        if len(self.inputs) != bool(self.crosses):
            raise ArtifactError("the ranker's cross layers need one map of the inputs before them, and only they do")
        widths = [self.width, *(layer.weight.shape[0] for layer in self.layers)]
        if widths[-1] != 1:
            raise ArtifactError(f"the ranker's last layer has {widths[-1]} outputs, not one logit")
        expected = {f"layers.{number}": pair for number, pair in enumerate(pairwise(widths))}
        expected |= {f"crosses.{number}": (self.width, self.width) for number in range(len(self.crosses))}
        for name, (inward, outward) in expected.items():
            self._require_shape(f"{name}.weight", (outward, inward))
            self._require_shape(f"{name}.bias", (outward,))
        for number in range(len(self.inputs)):
            self._require_shape(f"inputs.{number}.weight", (self.width,))
            self._require_shape(f"inputs.{number}.bias", (self.width,))

    def _require_shape(self, name: str, shape: tuple[int, ...]) -> None:
        found = tuple(self.tensors()[name].shape)
        if found != shape:
            raise ArtifactError(f"the ranker's {name} is {found}, its neighbours need {shape}")

    @property
    def width(self) -> int:
        """Length of a row that it scores."""
        return self.layers[0].weight.shape[1]

    @property
    def looked_at(self) -> npt.NDArray[np.bool_]:
        """Which columns of a row ``(F,)`` can move a score: those with a weight that is not 0."""
        if self.inputs:
            weight, bias = self.inputs[0]
            return np.asarray(((weight != 0) | (bias != 0)).numpy())
        return np.asarray((self.layers[0].weight != 0).any(dim=0).numpy())

    def tensors(self) -> dict[str, Tensor]:
        """Its parameters by name: ``layers.0.weight`` and so on."""
        groups = {"layers": self.layers, "crosses": self.crosses, "inputs": self.inputs}
        return {
            f"{group}.{number}.{part}": tensor
            for group, maps in groups.items()
            for number, linear in enumerate(maps)
            for part, tensor in linear._asdict().items()
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """The inverse of `tensors`. Raises ArtifactError that names what is missing or unknown."""
        groups: dict[str, list[LinearMap]] = {"layers": [], "crosses": [], "inputs": []}
        for name in tensors:
            if not _NAME.fullmatch(name):
                raise ArtifactError(f"the ranker has no part {name!r}")
        for group, maps in groups.items():
            while f"{group}.{len(maps)}.weight" in tensors:
                at = f"{group}.{len(maps)}"
                if f"{at}.bias" not in tensors:
                    raise ArtifactError(f"the ranker lacks {at}.bias")
                maps.append(LinearMap(tensors[f"{at}.weight"], tensors[f"{at}.bias"]))
        ranker = cls(*(tuple(maps) for maps in groups.values()))
        astray = sorted(set(tensors) - set(ranker.tensors()))
        if astray:
            raise ArtifactError(f"the ranker's {', '.join(astray)} stand alone")
        return ranker

    @classmethod
    def fold(cls, network: Network, mean: npt.NDArray[np.float64], std: npt.NDArray[np.float64]) -> Self:
        """The same function on raw rows: ``network((row - mean) / std)``; both are ``(F,)``, std > 0.

        W (x - m) / s + b is one linear map again: W / s and b - (W / s) m. Where std is infinite, a column never varied
        in training: it was 0 in every row, its weights are still those drawn at the start, and become 0.
        """
        shift, scale = torch.from_numpy(mean), torch.from_numpy(std)
        has_varied = torch.isfinite(scale).double()
        (weight, bias), *others = network.layers
        weight = weight * has_varied
        if network.crosses:
            # What is 0 before a cross layer is 0 behind it.
            crosses = (
                LinearMap(weight * torch.outer(has_varied, has_varied), bias * has_varied)
                for weight, bias in network.crosses
            )
            inputs = LinearMap(1.0 / scale, -shift / scale)
            return cls((LinearMap(weight, bias), *others), tuple(crosses), (inputs,))
        weight = weight / scale
        return cls((LinearMap(weight, bias - weight @ shift), *others))

    def logits(self, rows: Matrix) -> Logits:
        """Raw rows ``(N, F)`` float32 to logits ``(N,)`` float64; N may be 0."""
        return Scorer(self, 0).logits(np.empty(0, dtype=np.float32), rows)


class Scorer:
    """A ranker made ready to score many restaurants for one user, whose ``user_width`` features every row begins with.

    What the first layer makes of the user is the same in every row, so that it is computed once. Columns without any
    weight are taken out of the rows first: 0 times NaN would be NaN.
    """

    def __init__(self, ranker: Ranker, user_width: int) -> None:
        looked_at = ranker.looked_at
        self._of_users, self._of_rows = _places(looked_at[:user_width]), _places(looked_at[user_width:])
        kept = torch.from_numpy(looked_at)
        self._inputs = [LinearMap(scale[kept], shift[kept]) for scale, shift in ranker.inputs]
        self._crosses = [LinearMap(weight[kept][:, kept].T.contiguous(), bias[kept]) for weight, bias in ranker.crosses]
        (weight, bias), *others = ranker.layers
        weight = weight[:, kept]
        # Cross layers mix the user into everything: there the first layer is given whole rows.
        split = 0 if ranker.crosses else int(looked_at[:user_width].sum())
        self._of_user = LinearMap(weight[:, :split].contiguous(), bias)
        transposed = [weight[:, split:].T.contiguous(), *(linear.weight.T.contiguous() for linear in others)]
        self._weights, self._last = transposed[:-1], transposed[-1][:, 0]
        self._biases = [linear.bias for linear in others]

    def logits(self, user: Matrix, rows: npt.NDArray[np.floating]) -> Logits:
        """The user's ``(U,)`` and the rest of each row ``(N, F - U)``, raw, to logits ``(N,)`` float64; N may be 0."""
        if len(rows) > _ROWS_AT_ONCE:
            parts = (rows[start : start + _ROWS_AT_ONCE] for start in range(0, len(rows), _ROWS_AT_ONCE))
            return np.concatenate([self.logits(user, part) for part in parts])
        known = torch.from_numpy(user if self._of_users is None else user[self._of_users]).double()
        hidden = torch.from_numpy(rows if self._of_rows is None else rows.take(self._of_rows, axis=1)).double()
        if self._crosses:
            scale, shift = self._inputs[0]
            standardised = torch.addcmul(shift, torch.cat((known.expand(len(rows), -1), hidden), dim=1), scale)
            hidden = standardised
            for weight, bias in self._crosses:
                hidden = torch.addcmul(hidden, standardised, torch.addmm(bias, hidden, weight))
            bias = self._of_user.bias
        else:
            bias = torch.addmv(self._of_user.bias, self._of_user.weight, known)
        for weight, following in zip(self._weights, self._biases, strict=True):
            hidden = torch.addmm(bias, hidden, weight).relu_()
            bias = following
        logits: Logits = torch.mv(hidden, self._last).add_(bias).numpy()
        return logits


def _places(looked_at: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp] | None:
    """The columns that are looked at; None where all are, so that nothing is copied."""
    return None if looked_at.all() else np.flatnonzero(looked_at)


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
    if by_distance:
        return nearest(ids, distance_m, size)
    best = _first(-logits, size)
    return best[np.lexsort((ids[best], distance_m[best], -logits[best]))[:size]]


def nearest(ids: npt.NDArray[np.int64], distance_m: npt.NDArray[np.float64], size: int) -> npt.NDArray[np.intp]:
    """Positions of the nearest ``size`` of N restaurants, nearest first; of equally near ones the lowest id first."""
    near = _first(distance_m, size)
    return near[np.lexsort((ids[near], distance_m[near]))[:size]]


def _first(key: npt.NDArray[np.float64], size: int) -> npt.NDArray[np.intp]:
    """Positions of the lowest ``size`` keys and of all that equal the last of them: few to sort where N is large."""
    if size >= len(key):
        return np.arange(len(key))
    return np.flatnonzero(key <= np.partition(key, size - 1)[size - 1])
