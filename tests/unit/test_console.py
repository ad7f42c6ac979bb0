"""What a command says while it works."""

import json

import pytest
from rich.console import Console

from hexbite import console


def test_where_there_is_no_terminal_progress_is_lines_of_json(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "_LINE_EVERY_S", 0.0)
    with console.progress("counting", 10, "sheep") as advance:
        advance(4, "so far so good")
        advance(6)
    first, _, last = (json.loads(line) for line in capfd.readouterr().err.splitlines())
    assert (first["event"], first["doing"], first["done"], first["total"]) == ("progress", "counting", 4, 10)
    assert (first["unit"], first["note"]) == ("sheep", "so far so good")
    assert first["seconds_left"] >= 0
    assert (last["event"], last["done"]) == ("done", 10)


def test_a_hushed_process_says_nothing(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "_console", Console(stderr=True))
    console.hush()
    with console.progress("counting", 10) as advance:
        advance(10)
    console.tell("validation", auc=0.9)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0.0, "0"),
        (12.4, "12"),
        (999.4, "999"),
        (999.6, "1.0k"),
        (4_900_656, "4.9M"),
        (12_345_678, "12M"),
        (2e9, "2.0G"),
    ],
)
def test_a_count_is_said_in_three_digits(count: float, said: str) -> None:
    assert console._short(count) == said
