"""How a replay speaks to a service that is busy, away for a moment, or something else: answers that are scripted."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from data.replay import service as asked
from data.replay.service import Service
from hexbite.errors import ReplayError

BUSY = (503, {"error": {"code": "overloaded", "message": "too many requests at once; try again", "field": None}})
NOT_SET_UP = (503, {"error": {"code": "misconfigured", "message": "the service is not set up", "field": None}})
EVENTS = [{"event_id": "a"}, {"event_id": "b"}]


def told(*outcomes: str, **more: str) -> tuple[int, dict[str, Any]]:
    return 200, {"events": [{"outcome": outcome} | more for outcome in outcomes]}


@contextmanager
def scripted(*answers: tuple[int, dict[str, Any]]) -> Iterator[str]:
    """The address of a server that gives these answers in turn, and the last one for ever."""
    left = list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            status, document = left.pop(0) if len(left) > 1 else left[0]
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked, "_PAUSE_S", 0.0)


def test_what_a_busy_service_does_not_take_is_told_again() -> None:
    with scripted(BUSY, BUSY, told("taken", "taken")) as url, Service(url) as service:
        assert service.tell(EVENTS) == Counter(taken=2)


def test_what_was_taken_without_an_answer_is_known_when_told_again_and_counts_as_taken() -> None:
    with scripted(BUSY, told("known", "known")) as url, Service(url) as service:
        assert service.tell(EVENTS) == Counter(taken=2)
    with scripted(told("known", "taken")) as url, Service(url) as service:
        assert service.tell(EVENTS) == Counter(known=1, taken=1)


def test_a_service_that_never_takes_what_it_is_told_ends_the_replay() -> None:
    with scripted(BUSY) as url, Service(url) as service, pytest.raises(ReplayError, match="takes no events"):
        service.tell(EVENTS)


def test_a_service_that_is_not_set_up_is_not_asked_again() -> None:
    script = NOT_SET_UP, told("taken", "taken")
    with scripted(*script) as url, Service(url) as service, pytest.raises(ReplayError, match="503: the service is not"):
        service.tell(EVENTS)
    with scripted(NOT_SET_UP) as url, Service(url) as service, pytest.raises(ReplayError, match="not set up"):
        service.ask({})


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("too_late", "HEXBITE_MAX_EVENT_AGE_S"),
        ("in_the_future", "HEXBITE_MAX_EVENT_AHEAD_S"),
        ("before_retention", "db expire"),
        ("of another kind", "of another kind"),
    ],
)
def test_an_event_that_is_refused_names_the_setting_that_takes_it(reason: str, said: str) -> None:
    with scripted(told("taken", "refused", reason=reason)) as url, Service(url) as service:
        with pytest.raises(ReplayError, match=said) as refused:
            service.tell(EVENTS)
        assert "'a'" in str(refused.value) or "'b'" in str(refused.value)


def test_questions_without_an_answer_are_counted_until_they_are_too_many_in_a_row() -> None:
    found = (200, {"restaurants": [{"id": 7}, {"id": "x"}]})
    with scripted(BUSY, found, BUSY) as url, Service(url) as service:
        assert service.ask({}) is None
        answer = service.ask({})
        assert answer is not None
        assert answer.ids == ["7", "x"]
        with pytest.raises(ReplayError, match="none of the last 20"):
            for _ in range(100):
                service.ask({})
        assert service.failed == Counter({"503 overloaded": 21})
        assert len(service.asked_s) == 1


def test_something_else_at_the_address_is_named() -> None:
    with scripted((404, {})) as url, Service(url) as service, pytest.raises(ReplayError, match="service of Hexbite"):
        service.ask({})
