"""Workers that are killed, a service that is asked to end, a store without its model, while requests come in."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import httpx
import psutil

from tests.e2e.conftest import ROOT, environment_of, serve
from tests.faults.conftest import Site, answers, assert_sound, until
from tests.faults.load import CUT_OFF, REFUSED, load, visitors

CLIENTS = 16

#: How soon, at the latest, as many answer again as before a worker was killed.
CAPACITY_BACK_S = 6.0

#: How soon, at the latest, a container has ended whose last worker is dead.
CONTAINER_ENDS_S = 0.5


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


def log_of(site: Site, url: str) -> str:
    return (Path(site.environment["BENTOML_HOME"]) / f"serve-{url.rpartition(':')[2]}.log").read_text()


def started(site: Site, url: str) -> int:
    """How many workers have begun to answer since the service was started, as its log has it."""
    return log_of(site, url).count("Completed async startup hook: start")


def test_a_killed_worker(site: Site) -> None:
    with serve(site.environment) as url:
        right = answers(url, site.requests)
        supervisor = supervisor_of(url)
        until(lambda: started(site, url) == 2, 60)
        killed = workers_of(supervisor)[0]
        with load(url, site.requests, clients=CLIENTS, per_s=10) as running:
            time.sleep(1.5)
            killed.kill()
            moment = time.monotonic()
            until(lambda: started(site, url) == 3, 60)
            back_s = time.monotonic() - moment
            time.sleep(1)
        assert_sound(running.outcomes, right, {CUT_OFF})
        # One request in flight a connection: a connection of the killed worker loses that one, if any, and no other.
        lost = [outcome for outcome in running.outcomes if outcome.status == CUT_OFF]
        assert len({outcome.connection for outcome in lost}) == len(lost) <= CLIENTS
        assert all(outcome.sent <= moment + 0.1 for outcome in lost)
        print(f"killed worker: {dict(running.statuses())}, slowest {running.slowest_s():.3f} s")
        print(f"killed worker: another answers in its place after {back_s:.2f} s")
        assert back_s < CAPACITY_BACK_S


def test_the_last_worker_of_a_container_killed(site: Site) -> None:
    one = {"BENTOML_CONTAINERIZED": "true", "BENTOML_CONFIG_OPTIONS": "services.hexbite.workers=1"}
    with serve(site.environment | one | {"HEXBITE_DRAIN_S": "30"}) as url:
        supervisor = supervisor_of(url)
        time.sleep(1)
        workers_of(supervisor)[0].kill()
        killed = time.monotonic()
        until(lambda: not listens(url))
        refused_s = time.monotonic() - killed
        until(lambda: has_ended(supervisor))
        ended_s = time.monotonic() - killed
    print(f"container: nobody listens after {refused_s:.2f} s, the supervisor has ended after {ended_s:.2f} s")
    assert ended_s < CONTAINER_ENDS_S


def listens(url: str) -> bool:
    try:
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=1).close()
    except ConnectionRefusedError:
        return False
    return True


def new_connections_through_one_end(site: Site) -> Counter[int | str]:
    with serve(site.environment | {"HEXBITE_DRAIN_S": "1"}) as url:
        until(lambda: started(site, url) == 2, 60)
        supervisor = supervisor_of(url)
        with visitors(url, site.requests[0], per_s=300) as seen:
            time.sleep(1)
            supervisor.send_signal(signal.SIGTERM)
            until(lambda: has_ended(supervisor))
        return seen


def test_new_connections_through_an_end(site: Site) -> None:
    """At most 1 in 10,000 of those that come while a service ends is cut off: ENDS=n ends it so often."""
    seen: Counter[int | str] = Counter()
    for _ in range(int(os.environ.get("ENDS", "3"))):
        seen.update(new_connections_through_one_end(site))
    print(f"new connections through an end: {dict(seen)}")
    assert set(seen) <= {200, REFUSED, CUT_OFF}
    # Of few, one is no proof of more.
    assert seen[CUT_OFF] <= max(1, seen.total() // 10_000)


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
