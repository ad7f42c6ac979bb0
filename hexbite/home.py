"""Where BentoML keeps its stores."""

from __future__ import annotations

import os
from pathlib import Path


def bentoml_home() -> Path:
    """The folder that holds ``models/`` and ``bentos/``: as BentoML documents it, ``BENTOML_HOME`` or ``~/bentoml``."""
    return Path(os.path.expandvars(os.environ.get("BENTOML_HOME", Path.home() / "bentoml")))
