"""Which models answer: what was asked for, what a bento was built with, what was deployed, what a run has settled.

At the root, where nothing else says so, the model is that of a file beside the model store. A built bento is what it
was built with, and HEXBITE_MODEL says what it says: neither looks there. All workers of a run answer by what its
supervisor has settled, whatever `latest` means when one of them is replaced.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final, NamedTuple

import bentoml
import yaml
from bentoml.exceptions import BentoMLException

from bento.settings import Settings
from hexbite.errors import ModelStoreError
from hexbite.home import bentoml_home

_FILE: Final = "hexbite.deployed"
_SETTLED: Final = "models.json"


class Tags(NamedTuple):
    """The models of a service, by their tags in the model store."""

    primary: str
    split: str | None
    shadow: str | None


def chosen(settings: Settings) -> Tags:
    """What the settings name; where they do not, as it was built, deployed, or trained last."""
    primary = settings.model or built_with() or deployed() or "hexbite:latest"
    return Tags(primary, settings.split_model, settings.shadow_model)


def full_tag(tag: str) -> str:
    """``hexbite:VERSION`` of ``hexbite:latest``. Raises ModelStoreError where the model store has no such model."""
    try:
        return str(bentoml.models.get(tag).tag)
    except (BentoMLException, ValueError) as error:
        raise ModelStoreError(
            f"the model store has no {tag!r}; `bentoml models list` shows what it has, "
            "`python -m training train` makes one"
        ) from error


def settle(tags: Tags, run: Path) -> None:
    """Write down, in the folder of a run, what its workers answer by: full tags."""
    _write(run / _SETTLED, json.dumps(tags))


def settled(run: Path) -> Tags:
    """What was settled last in the folder of a run."""
    return Tags(*json.loads((run / _SETTLED).read_text(encoding="utf-8")))


def deployed() -> str | None:
    """The tag that was deployed last; None where none was."""
    try:
        return (bentoml_home() / _FILE).read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None


def deploy(tag: str) -> None:
    """Make a model the one to serve, in one step: a reader sees the old tag or the new one."""
    _write(bentoml_home() / _FILE, f"{tag}\n")


def built_with() -> str | None:
    """The model's tag in the built bento that this file is part of, None at the root: a build freezes its model."""
    description = Path(__file__).resolve().parents[3] / "bento.yaml"
    if not description.exists():
        return None
    services = yaml.safe_load(description.read_text())["services"]
    return next((str(model["tag"]) for service in services for model in service["models"]), None)


def _write(path: Path, text: str) -> None:
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
