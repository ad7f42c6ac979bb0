"""Workers that are killed, a service that is asked to end, a store without its model, while requests come in."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil

from tests.e2e.conftest import ROOT, environment_of, serve
from tests.faults.conftest import Site, answers, assert_sound, until
from tests.faults.load import CUT_OFF, REFUSED, load

CLIENTS = 16


def supervisor_of(url: str) -> psutil.Process:
    """The process that was started to serve at an address."""
    port = url.rpartition(":")[2]
    (serving,) = [child for child in psutil.Process().children() if {"serve", port} <= set(command_of(child))]
    return serving


def command_of(process: psutil.Process) -> list[str]:
    """Nothing for one that has ended."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def has_ended(process: psutil.Process) -> bool:
    return not command_of(process)


def workers_of(supervisor: psutil.Process) -> list[psutil.Process]:
    return [child for child in supervisor.children() if "_bentoml_impl.worker.service" in command_of(child)]


def standing_by(site: Site, url: str) -> bool:
    """Whether a third worker has loaded everything, and waits."""
    return log_of(site, url).count("ready: model") == 3


def log_of(site: Site, url: str) -> str:
    return (Path(site.environment["BENTOML_HOME"]) / f"serve-{url.rpartition(':')[2]}.log").read_text()


def started(site: Site, url: str) -> int:
    """How many workers have begun to answer since the service was started, as its log has it."""
    return log_of(site, url).count("Completed async startup hook: start")


def test_a_killed_worker(site: Site) -> None:
    with serve(site.environment | {"HEXBITE_STANDBY": "1"}) as url:
        right = answers(url, site.requests)
        supervisor = supervisor_of(url)
        killed = min(workers_of(supervisor), key=lambda worker: worker.create_time())
        until(lambda: standing_by(site, url), 60)
        with load(url, site.requests, clients=CLIENTS, per_s=20) as running:
            time.sleep(1.5)
            killed.kill()
            moment = time.monotonic()
            until(lambda: started(site, url) == 3, 60)
            back_s = time.monotonic() - moment
            until(lambda: len(workers_of(supervisor)) == 3)
            time.sleep(1)
        assert_sound(running.outcomes, right, {CUT_OFF})
        # One request in flight a connection: a connection of the killed worker loses that one, if any, and no other.
        lost = [outcome for outcome in running.outcomes if outcome.status == CUT_OFF]
        assert len({outcome.connection for outcome in lost}) == len(lost) <= CLIENTS
        assert all(outcome.sent <= moment + 0.1 for outcome in lost)
        print(f"killed worker: {dict(running.statuses())}, another answers after {back_s:.2f} s")


def test_sigterm(site: Site) -> None:
    with serve(site.environment | {"HEXBITE_DRAIN_S": "1"}) as url:
        right = answers(url, site.requests)
        supervisor = supervisor_of(url)
        with load(url, site.requests, clients=CLIENTS, per_s=30) as running:
            time.sleep(1)
            supervisor.send_signal(signal.SIGTERM)
            asked = time.monotonic()
            until(lambda: httpx.get(f"{url}/readyz", timeout=5).status_code == 503, 5)
            until(lambda: has_ended(supervisor))
            ended_s = time.monotonic() - asked
            time.sleep(0.5)
        assert_sound(running.outcomes, right, {REFUSED})
        answered = [outcome for outcome in running.since(asked) if outcome.status == 200]
        assert len(answered) > CLIENTS
        print(f"SIGTERM: {dict(running.statuses())}, {len(answered)} answered while draining, ended {ended_s:.2f} s")


def test_a_worker_asked_to_end_alone_loses_nothing_and_is_replaced(site: Site) -> None:
    with serve(site.environment | {"HEXBITE_DRAIN_S": "1"}) as url:
        right = answers(url, site.requests)
        supervisor = supervisor_of(url)
        asked, _ = workers_of(supervisor)
        with load(url, site.requests, clients=CLIENTS, per_s=20) as running:
            time.sleep(0.5)
            asked.terminate()
            until(lambda: has_ended(asked))
            until(lambda: len(workers_of(supervisor)) == 2)
            until(lambda: started(site, url) == 3, 60)
        assert_sound(running.outcomes, right, set())
        print(f"one worker ended: {dict(running.statuses())}")


def test_a_model_store_without_the_model(site: Site, tmp_path: Path) -> None:
    environment = environment_of(site.dsn, tmp_path)
    command = [sys.executable, "-m", "bentoml", "serve", "--port", "0"]
    started = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert started.returncode != 0
    said = (started.stdout + started.stderr).strip().splitlines()
    assert "hexbite:latest" in said[-1]
    assert "python -m training train" in said[-1]
    assert not any("Traceback" in line for line in said)
