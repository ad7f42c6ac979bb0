"""Which model a service at the root serves where nothing else says so: a file beside the model store.

A built bento is what it was built with, and HEXBITE_MODEL says what it says: neither looks here.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import yaml
from bentoml._internal.configuration.containers import BentoMLContainer  # where it keeps its own paths

_FILE: Final = "hexbite.deployed"


def deployed() -> str | None:
    """The tag that was deployed last; None where none was."""
    try:
        return _path().read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None


def deploy(tag: str) -> None:
    """Make a model the one to serve, in one step: a reader sees the old tag or the new one."""
    partial = _path().with_suffix(f".{os.getpid()}")
    partial.write_text(f"{tag}\n", encoding="utf-8")
    partial.replace(_path())


def built_with() -> str | None:
    """The model's tag in the built bento that this file is part of, None at the root: a build freezes its model."""
    description = Path(__file__).resolve().parents[2] / "bento.yaml"
    if not description.exists():
        return None
    services = yaml.safe_load(description.read_text())["services"]
    return next((str(model["tag"]) for service in services for model in service["models"]), None)


def _path() -> Path:
    return Path(BentoMLContainer.bentoml_home.get()) / _FILE
