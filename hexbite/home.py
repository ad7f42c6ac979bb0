"""Where BentoML keeps its stores."""

from __future__ import annotations

import os
from pathlib import Path


def bentoml_home() -> Path:
    """The folder that holds ``models/`` and ``bentos/``: as BentoML documents it, ``BENTOML_HOME`` or ``~/bentoml``."""
    home = os.environ.get("BENTOML_HOME", "~/bentoml")
    # A variable may hold a tilde or another variable.
    while (expanded := os.path.expanduser(os.path.expandvars(home))) != home:  # noqa: PTH111 - as BentoML does it
        home = expanded
    return Path(home)
