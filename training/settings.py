"""What decides a model besides its data: one frozen object, recorded with the model."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal

from hexbite.errors import TrainingError

Model = Literal["ranknet", "mlp", "dcn"]
Schedule = Literal["constant", "linear", "cosine"]
Precision = Literal["float32", "bf16", "float64"]


@dataclass(frozen=True, slots=True)
class Settings:
    """How to train.

    ``model`` is a name of `NETWORKS`. ``batch_size`` is that of the whole run, however many processes share it.
    ``schedule`` leads the learning rate from its full value, reached after ``warmup_steps``, to zero at the last step
    (or keeps it). ``clip_norm`` bounds the norm of a gradient; 0 does not. ``holdout`` is the share (0..1, exclusive at
    1) of train rows kept for validation, or ``holdout_files`` the number of train files, the last ones by name.
    ``patience`` is how many validations in a row may pass without a smaller loss; 0 never stops early. There are
    ``validations`` of them in an epoch. Rows are shuffled within ``window_rows``. Raises TrainingError where one is NaN
    or infinite.
    """

    model: Model = "ranknet"
    epochs: int = 5
    batch_size: int = 1024
    learning_rate: float = 1e-3
    schedule: Schedule = "cosine"
    warmup_steps: int = 0
    clip_norm: float = 0.0
    precision: Precision = "float32"
    holdout: float = 0.02
    holdout_files: int = 0
    validations: int = 1
    patience: int = 0
    window_rows: int = 1 << 20
    seed: int = 0

    def __post_init__(self) -> None:
        # One of them would train, and then not be recorded: JSON has no word for it.
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise TrainingError(f"--{field.name.replace('_', '-')} must be a number, not {value}")
