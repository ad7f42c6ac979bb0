"""ops/nginx.conf as ops/nginx.sh starts it, and ops/health.sh, before replicas that answer, refuse or stand still."""

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import httpx
import psutil
import pytest

from tests.e2e.conftest import ROOT

needs_nginx = pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")

BODY: Final = {"latitude": 13.75, "longitude": 100.5}
DESCRIPTORS: Final = 256


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def replica(status: int = 200) -> Iterator[int]:
    """A service that answers everything with a status; its port."""

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(status)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@contextmanager
def frozen() -> Iterator[int]:
    """As a service that is stopped by SIGSTOP: the kernel accepts its connections, and nobody answers; its port."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(128)
        yield listening.getsockname()[1]


@dataclass
class Front:
    url: str
    own_url: str
    log: Path
    pid: int

    def connections(self) -> int:
        """How many of clients it holds."""
        ours = httpx.URL(self.url).port
        workers = psutil.Process(self.pid).children()
        held = [each for worker in workers for each in worker.net_connections() if each.laddr.port == ours]
        return sum(each.status == psutil.CONN_ESTABLISHED for each in held)


@contextmanager
def front(folder: Path, first: int, second: int, **settings: str) -> Iterator[Front]:
    """nginx before replicas on two ports, with what `.env` would set."""
    port, own_port = free_port(), free_port()
    log = folder / "log"
    where = {
        "/tmp/": f"{folder}/",
        "/etc/nginx/nginx.conf": str(folder / "nginx.conf"),
        "/dev/stdout": str(log),
        "replica-a:3000": f"127.0.0.1:{first}",
        "replica-b:3000": f"127.0.0.1:{second}",
        "listen 8080": f"listen 127.0.0.1:{port}",
        "listen 8081": f"listen 127.0.0.1:{own_port}",
    }
    for name in ("nginx.conf", "nginx.sh"):
        text = (ROOT / "ops" / name).read_text()
        for here, there in where.items():
            text = text.replace(here, there)
        (folder / name).write_text(text)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEXBITE_")}
    # As many descriptors as a system may give by itself, or fewer.
    command = ["sh", "-c", f"ulimit -S -n {DESCRIPTORS} && exec sh '{folder / 'nginx.sh'}'"]
    started = subprocess.Popen(command, env=kept | settings, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while True:
            assert started.poll() is None and time.monotonic() < deadline
            with suppress(httpx.TransportError):
                assert httpx.get(f"http://127.0.0.1:{own_port}/", timeout=1).status_code == 204
                break
            time.sleep(0.05)
        yield Front(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{own_port}", log, started.pid)
    finally:
        started.send_signal(signal.SIGTERM)
        started.wait(10)


def ask(front: Front) -> tuple[httpx.Response, float]:
    """An answer, and how many seconds it took."""
    began = time.monotonic()
    answer = httpx.post(f"{front.url}/recommend/7", json=BODY, timeout=30)
    return answer, time.monotonic() - began


@needs_nginx
@pytest.mark.parametrize("budget", ["0.4", "1.5"])
def test_a_replica_that_stands_still_costs_a_request_the_budget_and_soon_nobody_asks_it(
    tmp_path: Path, budget: str
) -> None:
    with (
        frozen() as still,
        replica() as answering,
        front(tmp_path, still, answering, HEXBITE_REQUEST_TIMEOUT_S=budget) as nginx,
    ):
        asked = [ask(nginx) for _ in range(6)]
    assert {answer.status_code for answer, _ in asked} == {200}
    late = [took_s for _, took_s in asked if took_s > 0.25]
    # Twice, and once more where two seconds are over.
    assert 2 <= len(late) <= 3
    assert all(float(budget) <= took_s < float(budget) * 1.1 + 0.3 for took_s in late)


@needs_nginx
def test_where_both_stand_still_the_answer_says_so_after_two_budgets(tmp_path: Path) -> None:
    with frozen() as one, frozen() as other, front(tmp_path, one, other, HEXBITE_REQUEST_TIMEOUT_S="0.3") as nginx:
        answer, took_s = ask(nginx)
    assert answer.status_code == 504 and answer.json()["error"]["code"] == "timeout"
    assert took_s < 1.0


@needs_nginx
def test_a_client_that_asks_more_than_its_share_is_refused_in_the_one_form_and_others_are_not(tmp_path: Path) -> None:
    with (
        replica() as one,
        replica() as other,
        front(tmp_path, one, other, HEXBITE_CLIENT_REQUESTS_PER_S="3") as nginx,
    ):
        answers = [ask(nginx)[0] for _ in range(30)]
        neighbour = httpx.HTTPTransport(local_address="127.0.0.2")
        with httpx.Client(transport=neighbour) as client:
            assert client.post(f"{nginx.url}/recommend/7", json=BODY).status_code == 200
    refused = [answer for answer in answers if answer.status_code != 200]
    assert [answer.status_code for answer in answers[:4]] == [200] * 4
    assert {answer.status_code for answer in refused} == {429}
    assert refused[0].json()["error"] == {
        "code": "too_many_requests",
        "message": "too many requests at once; try again",
        "field": None,
    }
    assert refused[0].headers["retry-after"] == "1" and refused[0].headers["x-request-id"]


@needs_nginx
def test_a_client_with_too_many_requests_at_the_same_time_is_refused_and_without_a_setting_nobody_is(
    tmp_path: Path,
) -> None:
    def at_once(nginx: Front, count: int) -> list[int]:
        statuses: list[int] = []
        asking = [threading.Thread(target=lambda: statuses.append(ask(nginx)[0].status_code)) for _ in range(count)]
        for each in asking:
            each.start()
        for each in asking:
            each.join()
        return statuses

    with frozen() as one, frozen() as other:
        (tmp_path / "limited").mkdir()
        limits = {"HEXBITE_REQUEST_TIMEOUT_S": "0.4", "HEXBITE_CLIENT_CONNECTIONS": "2"}
        with front(tmp_path / "limited", one, other, **limits) as nginx:
            assert sorted(at_once(nginx, 6)) == [429] * 4 + [504] * 2
        with front(tmp_path, one, other, HEXBITE_REQUEST_TIMEOUT_S="0.4") as nginx:
            assert 429 not in at_once(nginx, 20)


def begin(front: Front) -> socket.socket:
    """A connection with a head that is not at its end."""
    connection = socket.create_connection(("127.0.0.1", httpx.URL(front.url).port or 0))
    connection.sendall(b"POST /recommend/7 HTTP/1.1\r\nHost: localhost\r\nX-Long: ")
    connection.setblocking(False)
    return connection


def is_open(connection: socket.socket, *, drips: bool) -> bool:
    try:
        if drips:
            connection.send(b"a")
        return bool(connection.recv(1_000))
    except BlockingIOError:
        return True
    except OSError:
        return False


@needs_nginx
@pytest.mark.parametrize("drips", [False, True], ids=["silent", "dripping"])
def test_clients_whose_heads_never_end_are_cut_off_and_others_are_answered_meanwhile(
    tmp_path: Path, drips: bool
) -> None:
    with replica() as one, replica() as other, front(tmp_path, one, other) as nginx:
        begun = [begin(nginx) for _ in range(DESCRIPTORS + 100)]
        assert {ask(nginx)[0].status_code for _ in range(20)} == {200}
        assert nginx.connections() >= len(begun)
        deadline = time.monotonic() + 30
        while [connection for connection in begun if is_open(connection, drips=drips)]:
            assert ask(nginx)[0].status_code == 200
            assert time.monotonic() < deadline
            time.sleep(0.5)
        assert nginx.connections() < 10
        for connection in begun:
            connection.close()


@needs_nginx
def test_health_checks_are_not_logged_whatever_they_say(tmp_path: Path) -> None:
    with replica(status=503) as one, replica(status=503) as other, front(tmp_path, one, other) as nginx:
        for path in ("/livez", "/readyz", "/readyz?x=1"):
            assert httpx.get(nginx.url + path, timeout=10).status_code == 503
        httpx.get(nginx.own_url, timeout=10)
        assert ask(nginx)[0].status_code == 503
        logged = [json.loads(line)["uri"] for line in nginx.log.read_text().splitlines()]
    assert logged == ["/recommend/7"]


# --- the health check of the containers ---


@dataclass
class Check:
    folder: Path

    def __call__(self, port: int, ready: str = "readyz") -> tuple[int, bool]:
        """Its exit status, and whether it has ended everything."""
        checked = subprocess.run(
            ["bash", str(self.folder / "health.sh"), f"{port}/livez", f"{port}/{ready}"],
            capture_output=True,
            timeout=30,
        )
        return checked.returncode, (self.folder / "ended").exists()


@pytest.fixture
def check(tmp_path: Path) -> Check:
    text = (ROOT / "ops" / "health.sh").read_text()
    ends = "[[ $(</proc/1/comm) = @(docker-init|podman-init|tini|catatonit) ]] && kill -KILL -- -1"
    parts = {
        "/tmp/": f"{tmp_path}/",
        ends: f"touch {tmp_path}/ended",
        "/proc/1/fd/2": "/dev/null",
        "ANSWER_S=3": "ANSWER_S=0.3",
    }
    for part, instead in parts.items():
        assert part in text
        text = text.replace(part, instead)
    # Here, it would end the tests.
    assert "kill" not in text
    (tmp_path / "health.sh").write_text(text)
    return Check(tmp_path)


def test_a_check_ends_who_answers_nothing_three_times_in_a_row(check: Check) -> None:
    with frozen() as still, replica() as answering:
        assert [check(still) for _ in range(2)] == [(1, False)] * 2
        assert check(answering) == (0, False)
        assert [check(still) for _ in range(2)] == [(1, False)] * 2
        assert check(still) == (1, True)


def test_a_check_leaves_alone_who_is_not_ready_or_not_listening_yet(check: Check) -> None:
    with replica(status=503) as unready:
        assert {check(unready) for _ in range(5)} == {(1, False)}
    (check.folder / "health-answered").unlink()
    assert {check(free_port()) for _ in range(25)} == {(1, False)}


def test_a_check_ends_who_has_answered_and_has_not_listened_for_a_minute(check: Check) -> None:
    with replica() as answering:
        assert check(answering) == (0, False)
    nobody = free_port()
    assert [check(nobody) for _ in range(19)] == [(1, False)] * 19
    assert check(nobody) == (1, True)
