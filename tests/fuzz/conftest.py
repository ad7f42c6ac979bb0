"""The line that the end-to-end tests serve, and the count of what was asked of it."""

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import Line, line, serve
from tests.fuzz.tally import TALLY

__all__ = ["line"]


@pytest.fixture(scope="session")
def url(line: Line) -> Iterator[str]:
    # Time enough for every answer: a 504 on a busy machine would say nothing about the request.
    with serve({**line.environment, "HEXBITE_REQUEST_TIMEOUT_S": "30"}) as address:
        yield address


def pytest_unconfigure() -> None:
    # After the last line of pytest's own.
    if TALLY.cases:
        print(TALLY)
