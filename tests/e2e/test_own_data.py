"""docs/own-data.md is run: every command of the page, in one shell, and its output held against what the page says."""

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT, environment_of
from tests.e2e.test_demo import free_port

PAGE = ROOT / "docs" / "own-data.md"

# What the commands need of the project, where they are run: nothing that they write lands in it.
NEEDED = ("alembic.ini", "bento", "bentofile.yaml", "data", "db", "hexbite", "training")

_END = "--- end of "
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?(?:e-?\d+)?")
_TAG = re.compile(r"\b[a-z]+:[a-z0-9]{16}\b")

# Training ends elsewhere on another processor: numbers may differ by so much, or by a tenth where they are below one.
_SHARE = 0.25
_LEAST = 0.1


def steps(page: str) -> list[tuple[str, list[str]]]:
    """The commands of a page's ``console`` blocks, in order, each with the lines that follow it."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"^```console\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        goes_on = False
        for line in block.splitlines():
            if goes_on:
                found[-1] = (f"{found[-1][0]}\n{line}", [])
            elif line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
                continue
            goes_on = line.endswith("\\")
    return found


def differs(said: list[str], got: list[str]) -> str:
    """The first line that is not as the page says; empty where all are. A line of … stands for any lines."""
    if not said:
        return ""
    if said[0].strip() == "…":
        return "" if any(not differs(said[1:], got[at:]) for at in range(len(got) + 1)) else f"nothing like {said[1:]}"
    if not got:
        return f"missing: {said[0]}"
    if not _alike(said[0], got[0]):
        return f"said {said[0]!r}, got {got[0]!r}"
    return differs(said[1:], got[1:]) if len(said) > 1 else "".join(f"more: {line}" for line in got[1:2])


def _alike(said: str, got: str) -> bool:
    said, got = (_TAG.sub("MODEL:TAG", re.sub(r"\s+", " ", line).strip()) for line in (said, got))
    if _NUMBER.sub("#", said) != _NUMBER.sub("#", got):
        return False
    pairs = zip(_NUMBER.findall(said), _NUMBER.findall(got), strict=True)
    values = ((float(one.replace(",", "")), float(other.replace(",", ""))) for one, other in pairs)
    return all(abs(one - other) <= max(_SHARE * abs(one), _LEAST) for one, other in values)


def test_a_page_that_is_stale_is_noticed() -> None:
    page = "text\n```console\n$ one \\\n  more\n3 rows\n…\nlast 0.5\n$ two\n```\n```toml\n$ none\n```\n"
    assert steps(page) == [("one \\\n  more", ["3 rows", "…", "last 0.5"]), ("two", [])]
    said = ["hexbite:aaaaaaaaaaaaaaaa 1,000 rows", "…", "hit 0.30"]
    assert not differs(said, ["hexbite:bbbbbbbbbbbbbbbb 1,200 rows", "between", "hit 0.34"])
    assert differs(said, ["hexbite:bbbbbbbbbbbbbbbb 2,000 rows", "hit 0.30"])
    assert differs(said, ["hexbite:bbbbbbbbbbbbbbbb 1,000 lines", "hit 0.30"])
    assert differs(said, ["hexbite:bbbbbbbbbbbbbbbb 1,000 rows", "hit 0.50"])
    assert differs(said, ["hexbite:bbbbbbbbbbbbbbbb 1,000 rows", "hit 0.30", "and more"])
    assert differs(["one", "two"], ["one"])


def test_every_command_of_the_page_says_what_the_page_says(fresh_database: str, tmp_path: Path) -> None:
    page = PAGE.read_text(encoding="utf-8").replace("3000", str(free_port()))
    place = tmp_path / "root"
    place.mkdir()
    for name in NEEDED:
        (place / name).symlink_to(ROOT / name)
    environment = environment_of(fresh_database, tmp_path)
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    errors = (tmp_path / "errors").open("w+")
    shell = subprocess.Popen(
        ["/bin/bash"],
        cwd=place,
        env=environment | {"COLUMNS": "120"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        start_new_session=True,
    )
    try:
        found = steps(page)
        assert len(found) > 5
        for number, (command, said) in enumerate(found):
            got, status = _run(shell, command, number)
            errors.seek(0)
            assert status == 0, f"{command}\n{got}\n{errors.read()[-3000:]}"
            wrong = differs(said, got)
            assert not wrong, f"{command}\n{wrong}\n--- in full:\n" + "\n".join(got)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()
        errors.close()


def _run(shell: "subprocess.Popen[str]", command: str, number: int) -> tuple[list[str], int]:
    assert shell.stdin is not None
    assert shell.stdout is not None
    shell.stdin.write(f'{command}\necho "\n{_END}{number}: $?"\n')
    shell.stdin.flush()
    got: list[str] = []
    for line in shell.stdout:
        if line.startswith(f"{_END}{number}: "):
            while got and not got[-1].strip():
                got.pop()
            return got, int(line.rpartition(" ")[2])
        got.append(line.rstrip("\n"))
    pytest.fail(f"the shell ended at: {command}")
