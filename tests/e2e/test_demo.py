"""`python -m demo`, as `make demo` runs it: on a server of its own, from nothing, and once more."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from db.embedded import EmbeddedServer
from tests.e2e.conftest import ROOT

DEMO = [sys.executable, "-m", "demo"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    home = tmp_path_factory.mktemp("demo home")
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("HEXBITE_", "BENTOML_"))}
    # An address that nobody answers: the demo must leave it alone.
    return keep | {
        "HEXBITE_HOME": str(home),
        "BENTOML_HOME": str(home / "bentoml"),
        "DATABASE_URL": "postgresql://127.0.0.1:1/none",
        "DATABASE_PASSWORD_FILE": str(home / "none"),
    }


def processes_that_mention(text: str) -> list[str]:
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and int(process.name) != os.getpid():
            try:
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue  # it ended meanwhile
            if text in command:
                found.append(command)
    return found


@contextmanager
def stored(environment: dict[str, str]) -> Iterator[psycopg.Connection[Any]]:
    """The demo's store, brought up for as long as it is looked at."""
    server = EmbeddedServer(Path(environment["HEXBITE_HOME"]))
    try:
        with psycopg.connect(server.ensure_running(), autocommit=True) as connection:
            yield connection
    finally:
        server.stop()


def test_once_ends_with_an_answer_and_leaves_no_process_behind(environment: dict[str, str]) -> None:
    port = free_port()
    for _ in ("from nothing", "once more"):
        finished = subprocess.run(
            [*DEMO, "--once", "--port", str(port)],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=400,
        )
        assert finished.returncode == 0, finished.stdout + finished.stderr
        assert "best first" in finished.stdout
        assert "model hexbite:" in finished.stdout
        moved = re.search(r"rank (\d+) -> (\d+), because", finished.stdout)
        assert moved is not None, finished.stdout
        assert int(moved[1]) >= 7
        # The person's own counters, at once; places lag, and are not among them.
        assert "own_visits 0.00 -> 0.69" in finished.stdout
        assert "place_visits" not in finished.stdout.splitlines()[-2]
        assert "\x1b[" not in finished.stdout + finished.stderr
        if Path("/proc").exists():
            assert processes_that_mention(environment["HEXBITE_HOME"]) == []
            assert processes_that_mention(f"--port {port}") == []
        if finished.stdout.count("is there already") == 0:
            with stored(environment) as connection:
                connection.execute("DELETE FROM users WHERE user_id = 7")
    assert "is there already" in finished.stdout
    assert "left alone" in finished.stdout
    with stored(environment) as connection:
        assert connection.execute("SELECT count(*) FROM users WHERE user_id = 7").fetchone() == (0,)


def test_ctrl_c_stops_everything(environment: dict[str, str]) -> None:
    port = free_port()
    with subprocess.Popen(
        [*DEMO, "--port", str(port)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if "Ctrl-C" in line:
                break
        assert httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
        # A held connection must not keep the server up.
        with socket.create_connection(("127.0.0.1", port)):
            running.send_signal(signal.SIGINT)
            assert running.wait(60) == 0
    time.sleep(0.2)
    if Path("/proc").exists():
        assert processes_that_mention(environment["HEXBITE_HOME"]) == []
        assert processes_that_mention(f"--port {port}") == []
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{port}/readyz")


def test_a_port_in_use_is_an_error_before_any_work(environment: dict[str, str], tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        finished = subprocess.run(
            [*DEMO, "--port", str(port)],
            cwd=ROOT,
            env=environment | {"HEXBITE_HOME": str(tmp_path / "untouched")},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert finished.returncode == 1
    assert finished.stderr.startswith(f"error: port {port} on 127.0.0.1 cannot be had")
    assert not (tmp_path / "untouched").exists()
