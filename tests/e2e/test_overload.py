"""One request too many: refused at once, in the one form, whichever way it comes in."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import psycopg
import pytest

from tests.e2e.conftest import Line, serve

BODY = json.dumps({"latitude": 13.87, "longitude": 100.58}).encode()


def raw(request_id: str, extra: str = "") -> bytes:
    head = f"POST /recommend/7 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-Request-Id: {request_id}\r\n"
    return f"{head}{extra}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY


def read(connection: socket.socket, answers: int = 1) -> list[tuple[int, dict[str, str], Any]]:
    """Status, headers and body of so many answers in a row."""
    found = []
    with connection.makefile("rb") as stream:
        for _ in range(answers):
            status = int(stream.readline().split()[1])
            headers = {}
            while (line := stream.readline()) != b"\r\n":
                name, _, value = line.decode().partition(":")
                headers[name.lower()] = value.strip()
            found.append((status, headers, json.loads(stream.read(int(headers["content-length"])))))
    return found


def connect(url: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def wait_for_one_at_work(blocker: psycopg.Connection[Any]) -> None:
    """Until the store lets somebody wait for the lock that ``blocker`` has."""
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'users'::regclass"
    deadline = time.monotonic() + 20
    while blocker.execute(waiting).fetchone() == (0,):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def url(line: Line) -> Iterator[str]:
    """One request at a time, which may take its time."""
    settings = {"HEXBITE_MAX_IN_FLIGHT": "1", "HEXBITE_REQUEST_TIMEOUT_S": "30"}
    with serve({**line.environment, **settings}) as address:
        yield address


def test_what_is_too_much_is_refused_alike_by_every_way_and_welcome_again_at_once(url: str, line: Line) -> None:
    first: list[int] = []
    with psycopg.connect(line.dsn) as blocker, connect(url) as whole, connect(url) as pieces, connect(url) as pipelined:
        blocker.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        waiting = threading.Thread(
            target=lambda: first.append(httpx.post(f"{url}/recommend/7", content=BODY, timeout=30).status_code)
        )
        waiting.start()
        wait_for_one_at_work(blocker)
        refusals = []
        for number in range(3):  # over one connection
            whole.sendall(raw(f"whole-{number}"))
            refusals += read(whole)
        sent = raw("pieces")
        pieces.sendall(sent[:40])
        pieces.sendall(sent[40:])
        refusals += read(pieces)
        pipelined.sendall(raw("one") + raw("two"))
        refusals += read(pipelined, 2)
        whole.sendall(raw("kept", "Connection: keep-alive\r\n"))
        refusals += read(whole)
        whole.sendall(raw("closed", "Connection: close\r\n"))
        refusals += read(whole)
        ids = [headers.pop("x-request-id") for _, headers, _ in refusals]
        assert ids == ["whole-0", "whole-1", "whole-2", "pieces", "one", "two", "kept", "closed"]
        assert refusals[-1][1].pop("connection") == "close"
        for status, headers, body in refusals:
            assert status == 503
            assert body == {
                "error": {"code": "overloaded", "message": "too many requests at once; try again", "field": None}
            }
            assert headers.pop("date")
            assert headers == refusals[0][1]
        assert refusals[0][1]["retry-after"] == "1"
        assert refusals[0][1]["x-hexbite-model"] == line.tag
        # What asks for nothing of the store is answered meanwhile, over the same connection too.
        pieces.sendall(b"GET /docs.json HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read(pieces)[0][0] == 200
        blocker.rollback()
        waiting.join()
        assert first == [200]
        pieces.sendall(raw("after"))
        assert read(pieces)[0][0] == 200
    metrics = httpx.get(f"{url}/metrics").text
    counted = next(
        line for line in metrics.splitlines() if line.startswith('hexbite_refusals_total{reason="overloaded"')
    )
    assert float(counted.split()[-1]) == 8


def test_a_refusal_names_no_request_of_another(url: str, line: Line) -> None:
    with psycopg.connect(line.dsn) as blocker:
        blocker.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        waiting = threading.Thread(target=lambda: httpx.post(f"{url}/recommend/7", content=BODY, timeout=30))
        waiting.start()
        wait_for_one_at_work(blocker)
        answer = httpx.post(f"{url}/recommend/7", content=BODY, timeout=30)
        assert answer.status_code == 503
        bad = http.client.HTTPConnection("127.0.0.1", int(url.rpartition(":")[2]), timeout=10)
        bad.request("POST", "/recommend/7", BODY, {"X-Request-Id": "a b", "Content-Type": "application/json"})
        given = bad.getresponse().getheader("x-request-id")
        assert given is not None
        assert len({given, answer.headers["x-request-id"]}) == 2
        assert len(given) == 32
        blocker.rollback()
        waiting.join()


@contextmanager
def full(url: str, line: Line) -> Iterator[None]:
    """There is no room for one more."""
    with psycopg.connect(line.dsn) as blocker:
        blocker.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        waiting = threading.Thread(target=lambda: httpx.post(f"{url}/recommend/7", content=BODY, timeout=30))
        waiting.start()
        wait_for_one_at_work(blocker)
        yield
        blocker.rollback()
        waiting.join()


def test_a_refusal_waits_for_no_body(url: str, line: Line) -> None:
    with full(url, line), connect(url) as asking:
        asking.sendall(b"POST /recommend/7 HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        status, headers, _ = read(asking)[0]
        assert status == 503
        assert "connection" not in headers
    with full(url, line), connect(url) as asking:
        # Who waits to be told sends no body now: what it sends next is no body either.
        asking.sendall(b"POST /recommend/7 HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n")
        status, headers, _ = read(asking)[0]
        assert (status, headers["connection"]) == (503, "close")


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(raw("x", f"Content-Length: {len(BODY) + 5}\r\n"), id="two lengths"),
        pytest.param(raw("x", "Transfer-Encoding: chunked\r\n"), id="a length and pieces"),
        pytest.param(raw("x", "X-Folded: a\r\n b\r\n"), id="a folded header"),
        pytest.param(raw("x").replace(b"/7 ", b"/7\n"), id="a line break in the target"),
        pytest.param(raw("x", "Content-Length : 3\r\n"), id="a space before the colon"),
    ],
)
def test_what_two_parsers_may_read_differently_is_read_by_one_only_also_when_there_is_no_room(
    url: str, line: Line, request_: bytes
) -> None:
    def answered() -> list[bytes]:
        """What one connection is answered until it is closed, or nothing comes any more."""
        lines = []
        with connect(url) as asking, asking.makefile("rb") as stream:
            asking.settimeout(1)
            asking.sendall(request_)
            with suppress(TimeoutError):
                while received := stream.readline():
                    lines += [received] if received.startswith(b"HTTP/1.1 ") else []
        return [line.split()[1] for line in lines]

    with full(url, line):
        while_full = answered()
    assert answered() == [{b"503": b"200"}.get(status, status) for status in while_full]
