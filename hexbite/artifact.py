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
FORMAT: Final = 2

_WEIGHTS: Final = "ranker.safetensors"
_DOCUMENT: Final = "model.json"
_USER_MEAN: Final = "user_mean"


@dataclass(frozen=True, slots=True)
class Artifact:
    """A ranker, the schema of the rows it scores, and the row of an average user.

    ``user_mean`` ``(U,)`` float32 is the training mean of the user features: the stand-in for an unknown user.
    ``training`` (model, settings, seed, code version), ``metrics`` and ``data`` (row counts, rates) are JSON objects.
    Raises ArtifactError where a width disagrees with the schema's.
    """

    schema: FeatureSchema
    ranker: Ranker
    user_mean: Matrix
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.ranker.width != self.schema.width:
            raise ArtifactError(
                f"the ranker scores rows of {self.ranker.width}, the schema names {self.schema.width} features"
            )
        if self.user_mean.shape != (len(self.schema.user),) or self.user_mean.dtype != np.float32:
            raise ArtifactError(
                f"the mean user is {self.user_mean.dtype} {self.user_mean.shape}, "
                f"the schema needs float32 ({len(self.schema.user)},)"
            )
        if not np.isfinite(self.user_mean).all():
            raise ArtifactError("the mean user holds NaN or infinity")

    def save(self, folder: Path) -> None:
        """Write the two files into an existing folder."""
        tensors = self.ranker.tensors() | {_USER_MEAN: torch.from_numpy(self.user_mean.copy())}
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / _WEIGHTS)
        document = {
            "format": FORMAT,
            "fingerprint": self.schema.fingerprint,
            "schema": self.schema.to_json(),
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
            user_mean = tensors.pop(_USER_MEAN).numpy()
            ranker = Ranker.from_tensors(tensors)
            return cls(schema, ranker, user_mean, document["training"], document["metrics"], document["data"])
        except (KeyError, TypeError, SchemaError) as error:
            raise ArtifactError(f"{folder}: not a complete model folder: {error}") from error
