"""What is not public of the libraries below stands in one room, and is where it was."""

import re
from pathlib import Path
from pkgutil import resolve_name

import pytest

from bento.process import private
from hexbite.errors import SettingsError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("piece", private.PIECES)
def test_a_private_piece_is_where_it_was_and_says_what_for_and_until_when(piece: str) -> None:
    resolve_name(piece)
    assert re.search("until|goes with", private.PIECES[piece])


def test_all_of_them_are_found() -> None:
    private.require()


@pytest.mark.parametrize(
    ("piece", "package"),
    [
        ("bentoml._internal.utils.circus:Arbiter.gone", "bentoml"),
        ("bentoml._internal.gone:Arbiter", "bentoml"),
        ("circus.process:GONE", "circus"),
        ("uvicorn.config:GONE", "uvicorn"),
    ],
)
def test_a_piece_that_was_moved_is_named_with_the_version_that_lacks_it(
    piece: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private, "PIECES", private.PIECES | {piece: "until it is found"})
    with pytest.raises(SettingsError, match=rf"^{package} [0-9.]+ has no {re.escape(piece)}.*requirements/service.txt"):
        private.require()


def test_nobody_else_reaches_into_a_library() -> None:
    private_parts = re.compile(r"\b(?:bentoml\._internal|_bentoml_\w+|circus|uvicorn)[.\w]*\b")
    found = {
        str(file.relative_to(ROOT))
        for package in ("bento", "training", "db", "data", "hexbite", "demo")
        for file in (ROOT / package).rglob("*.py")
        for line in file.read_text().splitlines()
        if re.match(r"\s*(?:from|import) ", line) and private_parts.search(line)
    }
    assert found == {"bento/process/offers.py", "bento/process/supervisor.py", "bento/process/worker.py"}
