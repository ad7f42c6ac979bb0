"""A run's state in one file, written whole or not at all; and the signal that asks for it."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Final, Self

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from hexbite.errors import TrainingError
from training.writable import folder_fault

_DOCUMENT: Final = "run"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a run writes its state, and after how many steps each; 0 writes at SIGTERM alone.

    ``identity`` is what must be the same for a run to go on and is told where it is not: settings, features.
    ``digests`` are hashes of the data by what they are of, which must be the same too.
    """

    path: Path
    every: int
    identity: Mapping[str, Any]
    digests: Mapping[str, str] = field(default_factory=dict)

    def save(self, tensors: Mapping[str, Tensor], history: Mapping[str, Any]) -> None:
        """Replace the file. Raises TrainingError where that fails; what the file held before is then still there."""
        document = json.dumps({"identity": self.identity, "digests": dict(self.digests), "history": history})
        content = save({name: tensor.detach().cpu() for name, tensor in tensors.items()}, {_DOCUMENT: document})
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.path.parent, prefix=f".{self.path.name}.", delete=False) as file:
                try:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                    Path(file.name).replace(self.path)
                except BaseException:
                    Path(file.name).unlink(missing_ok=True)
                    raise
        except OSError as error:
            raise TrainingError(f"the checkpoint {self.path} cannot be written: {error.strerror or error}") from error

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Tensors and history as `save` got them; None where there is no file.

        Raises TrainingError where it is damaged, or of a run with other settings or data.
        """
        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, "pt") as file:
                document = json.loads(file.metadata()[_DOCUMENT])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
            identity, digests, history = document["identity"], document["digests"], document["history"]
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise TrainingError(f"{self.path} is no checkpoint, or a damaged one: {error}") from error
        wanted = json.loads(json.dumps(self.identity))
        told = [f"{name} was {identity.get(name)!r}, is {wanted.get(name)!r}" for name in _astray(wanted, identity)]
        told += [f"the {name} are others" for name in _astray(self.digests, digests)]
        if told:
            said = ", ".join(told)
            raise TrainingError(f"{self.path} is of another run: {said}; start without --resume, or as that run did")
        return tensors, history

    def remove(self) -> None:
        """The run is done."""
        self.path.unlink(missing_ok=True)


def require_writable(path: Path) -> None:
    """Raise TrainingError where a checkpoint could not be written, before there is one."""
    fault = "it is a folder" if path.is_dir() else folder_fault(path.parent)
    if fault:
        raise TrainingError(f"the checkpoint {path} cannot be kept: {fault}; name another with --checkpoint")


def _astray(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


class Interruption:
    """Within it, SIGTERM is noted instead of obeyed: whoever loops looks at ``asked`` and ends in good order."""

    def __init__(self) -> None:
        self.asked = False
        self._before: Any = None

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        signal.signal(signal.SIGTERM, self._before)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True
