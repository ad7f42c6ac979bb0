"""One drawn world, loaded, trained and served by the project's own commands."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.databases import new_database

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Line:
    """A data folder, the database it is loaded in, the model trained on it, and what the commands need to find them."""

    data: Path
    dsn: str
    tag: str
    environment: Mapping[str, str]


def run(*command: str, environment: Mapping[str, str], cwd: Path = ROOT) -> str:
    """Standard output of one of the project's commands, which must succeed."""
    finished = subprocess.run(
        [sys.executable, "-m", *command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )
    assert finished.returncode == 0, f"{command}:\n{finished.stdout}\n{finished.stderr}"
    return finished.stdout


def environment_of(dsn: str, home: Path) -> dict[str, str]:
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("HEXBITE_", "BENTOML_"))}
    # A second before each service ends is for the tests that are about it.
    keep |= {"HEXBITE_DRAIN_S": "0"}
    return keep | {"DATABASE_URL": dsn, "BENTOML_HOME": str(home / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}


@pytest.fixture(scope="session")
def line(server_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Line:
    home = tmp_path_factory.mktemp("line")
    data = home / "world"
    dsn = new_database(server_dsn, "hexbite_line")
    environment = environment_of(dsn, home)
    sizes = ["--users", "400", "--restaurants", "3000", "--clicks", "60000", "--test-clicks", "5000"]
    run("data", "synthetic", str(data), *sizes, "--requests", "300", "--seed", "7", environment=environment)
    run("db", "upgrade", environment=environment)
    run("db", "load", str(data), environment=environment)
    tag = run("training", "train", "--data", str(data), "--epochs", "2", environment=environment).split()[-1]
    return Line(data, dsn, tag, environment)


@contextmanager
def serve(environment: Mapping[str, str], *target: str, cwd: Path = ROOT, ready: bool = True) -> Iterator[str]:
    """``bentoml serve`` on a free port: its address, once it is ready (or, with ``ready=False``, once it is alive)."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    log = Path(environment["BENTOML_HOME"]) / f"serve-{port}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "bentoml", "serve", *target, "--host", "127.0.0.1", "--port", str(port)],
            cwd=cwd,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 60
        while True:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            try:
                if httpx.get(f"{url}/{'readyz' if ready else 'livez'}", timeout=5).status_code == 200:
                    break
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        yield url
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(15)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)


Serve = Callable[..., AbstractContextManager[str]]


@pytest.fixture(scope="session")
def url(line: Line) -> Iterator[str]:
    """The address of a service for `line` that all tests share."""
    with serve(line.environment) as address:
        yield address
