"""A home of its own for services that are not to meet others in it: what is deployed, counted and logged lies there."""

import shutil
from dataclasses import replace
from pathlib import Path

from tests.e2e.conftest import Line


def with_own_home(line: Line, home: Path) -> Line:
    """The same line with its models in another, empty folder."""
    shutil.copytree(Path(line.environment["BENTOML_HOME"]) / "models", home / "models")
    return replace(line, environment={**line.environment, "BENTOML_HOME": str(home)})


def log_of(line: Line, url: str) -> Path:
    """The log of a service of the line."""
    return Path(line.environment["BENTOML_HOME"]) / f"serve-{url.rpartition(':')[2]}.log"


def folder_of(line: Line, tag: str) -> Path:
    """The folder of a model in the line's store."""
    return Path(line.environment["BENTOML_HOME"]) / "models" / tag.replace(":", "/")
