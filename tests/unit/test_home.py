"""Where BentoML keeps its stores is where it says itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ASK = """
from bentoml._internal.configuration.containers import BentoMLContainer
from hexbite.home import bentoml_home
print(bentoml_home())
print(BentoMLContainer.bentoml_home.get())
"""


@pytest.mark.parametrize("setting", [None, "store", "${HOME}/elsewhere", "~/store", "$ELSEWHERE"])
def test_the_home_is_bentoml_s_own(setting: str | None, tmp_path: Path) -> None:
    keep = {name: value for name, value in os.environ.items() if name != "BENTOML_HOME"}
    environment = keep | {
        "HOME": str(tmp_path),
        "ELSEWHERE": "~/there",
        "PYTHONPATH": str(ROOT),
        "BENTOML_DO_NOT_TRACK": "True",
    }
    if setting is not None:
        environment["BENTOML_HOME"] = setting
    told = subprocess.run(
        [sys.executable, "-c", ASK], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    ours, theirs = told.stdout.splitlines()
    assert ours == theirs
