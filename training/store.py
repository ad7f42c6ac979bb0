"""Models in the BentoML model store: put one there, get one back."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

# Before its import: whoever trains did not ask for usage statistics to be sent.
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")

import bentoml
import numpy as np
import torch
from bentoml.exceptions import BentoMLException, NotFound
from bentoml.models import ModelContext
from safetensors import SafetensorError

import hexbite
from hexbite.artifact import Artifact
from hexbite.errors import ArtifactError, ModelStoreError
from hexbite.home import bentoml_home
from training.writable import folder_fault

#: The folder of a model that holds its report.
REPORT: Final = "report"

_ROOT: Final = Path(__file__).resolve().parent.parent


def require_storable(name: str) -> None:
    """Raise ModelStoreError where a model could not be stored under a name, before there is one."""
    try:
        tag = bentoml.Tag(name, None)
        if name.endswith("\n"):  # which BentoML's pattern lets pass
            raise ValueError(name)
    except ValueError as error:
        raise ModelStoreError(
            f"{name!r} can be no model's name: BentoML takes up to 63 of a-z, 0-9, '.', '_' and '-', "
            "and begins and ends with a letter or digit"
        ) from error
    home = bentoml_home()
    for folder in (home, home / "models", home / "models" / tag.name):
        if fault := folder_fault(folder):
            raise ModelStoreError(f"no model can be stored: {fault}; BENTOML_HOME names another place for the store")
    try:
        # Where BentoML puts a model together. Python looks for it by writing, and finds none on a full disk.
        fault = folder_fault(Path(tempfile.gettempdir()))
    except OSError as error:
        fault = str(error.strerror or error)
    if fault:
        raise ModelStoreError(f"no model can be stored: {fault}; TMPDIR names another place to put one together")


def save(artifact: Artifact, *, name: str, pages: Mapping[str, bytes] | None = None) -> str:
    """Put a model into the store as its newest version and return the tag.

    What the artifact says of itself is metadata too, so that ``bentoml models get`` shows it. ``pages`` are the files
    of its report. The model appears whole or not at all, whatever ends this. Raises ModelStoreError.
    """
    said = {
        "fingerprint": artifact.schema.fingerprint,
        "schema": artifact.schema.to_json(),
        "training": artifact.training,
        "metrics": artifact.metrics,
        "data": artifact.data,
    }
    store = bentoml_home() / "models"
    try:
        model = bentoml.Model.create(
            name,
            module="",
            api_version="v1",
            signatures={},
            labels={"framework": "hexbite"},
            metadata=_told(said),
            context=ModelContext("", {}),
        )
        artifact.save(Path(model.path))
        (Path(model.path) / REPORT).mkdir()
        for page, content in (pages or {}).items():
            (Path(model.path) / REPORT / page).write_bytes(content)
        model.flush()  # type: ignore[no-untyped-call]  # the library has no types here
        _put(model, store)
    except (BentoMLException, OSError, ValueError, SafetensorError) as error:
        raise ModelStoreError(f"the model cannot be stored as {name!r}: {error}") from error
    return str(model.tag)


def _put(model: bentoml.Model, store: Path) -> None:
    """Into the store in one step: BentoML itself copies file by file into the model's final place."""
    versions = store / model.tag.name
    store.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=store.parent) as scratch:
        complete, latest = Path(scratch) / "model", Path(scratch) / "latest"
        shutil.copytree(model.path, complete)
        latest.write_text(str(model.tag.version))
        versions.mkdir(exist_ok=True)
        complete.rename(versions / str(model.tag.version))
        latest.replace(versions / "latest")


def load(tag: str) -> tuple[str, Artifact]:
    """A stored model by its tag (``name``, ``name:latest`` or ``name:version``), and its full tag.

    Raises ModelStoreError where there is no such model or no store, ArtifactError where it is none of ours.
    """
    try:
        model = bentoml.models.get(tag)
    except (NotFound, BentoMLException, ValueError) as error:
        raise ModelStoreError(
            f"the model store has no {tag!r}; `bentoml models list` shows what it has, "
            "`python -m training train` makes one"
        ) from error
    except OSError as error:
        raise ModelStoreError(
            f"the model store in {bentoml_home()} cannot be opened: {error.strerror or error}; "
            "BENTOML_HOME names another place"
        ) from error
    return str(model.tag), Artifact.load(Path(model.path))


def publish(source: str, *, name: str) -> str:
    """Make a stored model, or a folder with a model's files, the newest version; the new tag.

    Raises ModelStoreError or ArtifactError.
    """
    require_storable(name)
    folder = Path(source)
    if folder.is_dir():
        origin, artifact = str(folder), Artifact.load(folder)
    elif os.sep in source:
        raise ArtifactError(f"{folder}: no such folder")
    else:
        origin, artifact = load(source)
        folder = Path(bentoml.models.get(source).path)
    artifact.training["published_from"] = origin
    pages = {page.name: page.read_bytes() for page in sorted((folder / REPORT).glob("*"))}
    return save(artifact, name=name, pages=pages)


def _told(document: Any) -> Any:
    """The document without its nulls, which the store's metadata cannot hold."""
    if isinstance(document, dict):
        return {name: _told(value) for name, value in document.items() if value is not None}
    if isinstance(document, list):
        return [_told(value) for value in document]
    return document


def code_version() -> dict[str, str | None]:
    """What a model was made by: the project's version and commit, and the libraries that its numbers depend on."""
    return {
        "hexbite": hexbite.__version__,
        "commit": _commit(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def _commit() -> str | None:
    """The commit of this checkout, with a plus where files differ from it; None outside of one."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*", "--abbrev=40"],  # noqa: S607 - the git on the path
            cwd=_ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None  # no git, or an unpacked archive
    return described.stdout.strip()
