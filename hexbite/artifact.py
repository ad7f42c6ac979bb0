"""What a published model is made of: one folder with weights as safetensors and everything else as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from hexbite.errors import ArtifactError, SchemaError
from hexbite.features import FeatureSchema, Matrix
from hexbite.ranker import Ranker

#: Raised by one where an older reader would misread a newer folder.
FORMAT: Final = 3

_WEIGHTS: Final = "ranker.safetensors"
_DOCUMENT: Final = "model.json"
_MEANS: Final = ("user_mean", "restaurant_mean")

#: What a missing feature was to the model, in training as in serving; a person reads it in the document.
_MISSING: Final = {
    "value": "the fill of its feature in the schema; without a fill it is refused where data is loaded",
    "row": "user_mean or restaurant_mean: for who has no row, or one older than the service's max_feature_age_s",
}


@dataclass(frozen=True, slots=True)
class Artifact:
    """A ranker, the schema of the rows it scores, and what stands in for a row that is missing.

    ``user_mean`` ``(U,)`` and ``restaurant_mean`` ``(R,)`` float32 are the training means of the tables' features: the
    stand-ins for an unknown user, and for a user or restaurant whose row is too old to count.
    ``training`` (model, settings, seed, code version), ``metrics`` and ``data`` (row counts, rates) are JSON objects.
    Raises ArtifactError where a width disagrees with the schema's.
    """

    schema: FeatureSchema
    ranker: Ranker
    user_mean: Matrix
    restaurant_mean: Matrix
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.ranker.width != self.schema.width:
            raise ArtifactError(
                f"the ranker scores rows of {self.ranker.width}, the schema names {self.schema.width} features"
            )
        for group, mean in (("user", self.user_mean), ("restaurant", self.restaurant_mean)):
            width = len(self.schema.group(group))
            if mean.shape != (width,) or mean.dtype != np.float32:
                raise ArtifactError(
                    f"the mean {group} is {mean.dtype} {mean.shape}, the schema needs float32 ({width},)"
                )
            if not np.isfinite(mean).all():
                raise ArtifactError(f"the mean {group} holds NaN or infinity")

    def save(self, folder: Path) -> None:
        """Write the two files into an existing folder."""
        tensors = self.ranker.tensors() | {name: torch.from_numpy(getattr(self, name).copy()) for name in _MEANS}
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / _WEIGHTS)
        document = {
            "format": FORMAT,
            "fingerprint": self.schema.fingerprint,
            "schema": self.schema.to_json(),
            "missing": _MISSING,
            "training": self.training,
            "metrics": self.metrics,
            "data": self.data,
        }
        (folder / _DOCUMENT).write_text(json.dumps(document, indent=2, allow_nan=False) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote. Raises ArtifactError that names the file where anything is missing or at odds."""
        document_path, weights_path = folder / _DOCUMENT, folder / _WEIGHTS
        try:
            document = json.loads(document_path.read_text())
            tensors = load_file(weights_path)
        except (OSError, ValueError, SafetensorError) as error:
            raise ArtifactError(f"{folder}: not a complete model folder: {error}") from error
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            found = document.get("format") if isinstance(document, dict) else document
            raise ArtifactError(f"{document_path}: format {found!r}, this code reads {FORMAT}; train the model again")
        try:
            schema = FeatureSchema.from_json(document["schema"])
            if document["fingerprint"] != schema.fingerprint:
                raise ArtifactError(f"{document_path}: the fingerprint is not that of the schema beside it")
            user_mean, restaurant_mean = (tensors.pop(name).numpy() for name in _MEANS)
            ranker = Ranker.from_tensors(tensors)
            return cls(
                schema,
                ranker,
                user_mean,
                restaurant_mean,
                document["training"],
                document["metrics"],
                document["data"],
            )
        except (KeyError, TypeError, SchemaError) as error:
            raise ArtifactError(f"{folder}: not a complete model folder: {error}") from error
