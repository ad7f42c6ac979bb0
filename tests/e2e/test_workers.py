"""Workers of one service: they answer by one model whatever happens, and do what `bentoml serve` is told."""

import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

from tests.e2e.conftest import ROOT, Line, run, serve
from tests.e2e.homes import folder_of, log_of, with_own_home

HERE = {"latitude": 13.87, "longitude": 100.58, "size": 3}
TWO = {"BENTOML_CONFIG_OPTIONS": "services.hexbite.workers=2"}


@pytest.fixture
def own(line: Line, tmp_path: Path) -> Line:
    return with_own_home(line, tmp_path / "home")


def publish(line: Line, name: str = "hexbite") -> str:
    """The same model once more: the newest of that name."""
    version = secrets.token_hex(8)
    published = folder_of(line, f"{name}:{version}")
    shutil.copytree(folder_of(line, line.tag), published)
    described = yaml.safe_load((published / "model.yaml").read_text())
    (published / "model.yaml").write_text(yaml.safe_dump(described | {"name": name, "version": version}))
    (published.parent / "latest").write_text(version)
    return f"{name}:{version}"


def workers_at(url: str) -> set[int]:
    port = url.rpartition(":")[2]
    (supervisor,) = [child for child in psutil.Process().children() if {"serve", port} <= set(child.cmdline())]
    return {child.pid for child in supervisor.children() if "_bentoml_impl.worker.service" in child.cmdline()}


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def replace_a_worker(line: Line, url: str) -> None:
    """Kill one, and wait until another answers in its place."""
    log = log_of(line, url)
    started = log.read_text().count("Completed async startup hook: start")
    psutil.Process(min(workers_at(url))).kill()
    wait_until(lambda: log.read_text().count("Completed async startup hook: start") > started)


def who_answers(url: str, asked: int = 60) -> set[str]:
    """By which models, over connections that spread over all workers; each of them says so in what it explains too."""
    answers = [httpx.post(f"{url}/recommend/{user}", json=HERE | {"explain": True}) for user in range(asked)]
    assert {answer.status_code for answer in answers} == {200}
    for answer in answers:
        assert answer.json()["meta"]["model"] == answer.headers["x-hexbite-model"]
    return {answer.headers["x-hexbite-model"] for answer in answers}


def metrics_of(url: str, role: str) -> set[str]:
    """The models that workers have in a role, of those that are alive."""
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    told = [line for line in lines if line.startswith("hexbite_model_info{") and f'role="{role}"' in line]
    return {line.partition('model="')[2].partition('"')[0] for line in told if not line.endswith(" 0.0")}


def test_workers_answer_by_what_was_settled_at_the_start_or_deployed_since_whoever_is_replaced(own: Line) -> None:
    broken, split, shadow, newest = publish(own), publish(own, "split"), publish(own, "shadow"), publish(own)
    latest = {
        "HEXBITE_SPLIT_MODEL": "split:latest",
        "HEXBITE_SPLIT_SHARE": "0.5",
        "HEXBITE_SHADOW_MODEL": "shadow:latest",
    }
    with serve({**own.environment, **TWO, **latest}) as url:
        for name in ("hexbite", "split", "shadow"):  # a training run is no deployment
            publish(own, name)
        replace_a_worker(own, url)
        assert who_answers(url) == {newest, split}
        assert metrics_of(url, "shadow") == {shadow}

        run("bento", "deploy", own.tag, "--url", url, environment=own.environment)
        assert who_answers(url) == {own.tag, split}
        # What was in order when it was deployed, and is not when the workers come to it.
        (folder_of(own, broken) / "model.json").write_text("{}")
        (Path(own.environment["BENTOML_HOME"]) / "hexbite.deployed").write_text(f"{broken}\n")
        replace_a_worker(own, url)
        assert who_answers(url) == {own.tag, split}
        assert f"{broken} was deployed and cannot be served, {own.tag} goes on" in log_of(own, url).read_text()


def test_a_model_of_an_experiment_that_cannot_be_loaded_keeps_the_service_unready(own: Line) -> None:
    split, shadow = publish(own, "split"), publish(own, "shadow")
    for broken in (split, shadow):
        (folder_of(own, broken) / "model.json").write_text("{}")
    settings = {"HEXBITE_SPLIT_MODEL": split, "HEXBITE_SPLIT_SHARE": "0.5", "HEXBITE_SHADOW_MODEL": shadow}
    with serve({**own.environment, **settings}, ready=False) as url:
        for broken in (split, shadow):
            for _ in range(4):  # also when it is looked at again
                assert httpx.get(f"{url}/readyz").status_code == 503
                refused = httpx.post(f"{url}/recommend/7", json=HERE)
                assert (refused.status_code, refused.json()["error"]["code"]) == (503, "misconfigured")
            reasons = [line for line in log_of(own, url).read_text().splitlines() if "not ready: " in line]
            assert str(folder_of(own, broken)) in reasons[-1]
            # What was mended is seen.
            shutil.copy(folder_of(own, own.tag) / "model.json", folder_of(own, broken))
        assert len(reasons) == 2  # once each
        wait_until(lambda: httpx.get(f"{url}/readyz", timeout=10).status_code == 200)
        assert httpx.post(f"{url}/recommend/7", json=HERE).status_code == 200


def test_a_service_that_misses_a_private_piece_of_a_library_refuses_to_start(line: Line, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import uvicorn.config\ndel uvicorn.config.HTTP_PROTOCOLS\n")
    command = [sys.executable, "-m", "bentoml", "serve", "--port", "0"]
    environment = {**line.environment, "PYTHONPATH": str(tmp_path)}
    refused = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert refused.returncode != 0
    assert (
        "has no uvicorn.config:HTTP_PROTOCOLS, which Hexbite needs"
        in (refused.stdout + refused.stderr).strip().splitlines()[-1]
    )


def test_an_idle_connection_is_kept_for_as_long_as_bentoml_serve_is_told(line: Line) -> None:
    with (
        serve(line.environment, "--timeout-keep-alive", "8") as url,
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=20) as connection,
        connection.makefile("rb") as stream,
    ):
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        asked = time.monotonic()
        assert stream.read().startswith(b"HTTP/1.1 200")  # it ends when the server closes the connection
        assert time.monotonic() - asked > 6  # and not after the 5 s of who is told nothing
