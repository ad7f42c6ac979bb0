"""The supervisor, over workers that cost nothing to start: small programs that answer, or die."""

import itertools
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]

#: A supervisor of workers that listen, write down when they began, and run what they are given.
PROGRAM = """
import os, sys
from pathlib import Path
from bento.process import supervisor
from bentoml.serving import create_watcher
from circus.sockets import CircusSocket

folder, port, drain_s, workers, worker = sys.argv[1:]
{before}
supervisor.install(float(drain_s), Path(folder))
from bentoml._internal.utils.circus import create_standalone_arbiter

watcher = create_watcher("service", ["-c", worker, "$(circus.sockets.web)"], numprocesses=int(workers))
arbiter = create_standalone_arbiter([watcher], sockets=[CircusSocket("web", host="127.0.0.1", port=int(port))])
{after}
arbiter.start()
"""

WORKER = """
import os, signal, socket, sys, time
with open(os.environ["PROMETHEUS_MULTIPROC_DIR"] + "/began", "a") as began:
    print(os.getpid(), time.time(), file=began)
listening = socket.socket(fileno=int(sys.argv[1]))
listening.setblocking(True)
"""

ANSWERS = WORKER + "listening.listen()\nwhile True: listening.accept()[0].sendall(b'here')"
DRAINS = (
    WORKER
    + """
signal.signal(signal.SIGTERM, lambda *_: signal.setitimer(signal.ITIMER_REAL, 4))
listening.listen()
while True:
    try:
        listening.accept()[0].sendall(b'here')
    except OSError:  # nobody listens any more
        time.sleep(10)
"""
)
DIES = WORKER + "sys.exit(3)"


class Running:
    """The supervisor, and what can be seen of it."""

    def __init__(self, process: subprocess.Popen[str], folder: Path, port: int) -> None:
        self.process = process
        self._folder = folder
        self._port = port

    def began(self) -> list[tuple[int, float]]:
        """Process id and start of each worker so far."""
        file = self._folder / "began"
        lines = file.read_text().split("\n")[:-1] if file.exists() else []
        return [(int(pid), float(at)) for pid, at in (line.split() for line in lines)]

    def wait_for(self, workers: int) -> None:
        deadline = time.monotonic() + 20
        while len(self.began()) < workers:
            assert time.monotonic() < deadline and self.process.poll() is None
            time.sleep(0.01)

    def answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=2) as connection:
                return connection.recv(4) == b"here"
        except ConnectionError:
            return False

    def ended_s(self, patience_s: float = 10) -> float:
        """Seconds until it has ended."""
        started = time.monotonic()
        self.process.wait(patience_s)
        return time.monotonic() - started


@contextmanager
def supervised(
    folder: Path,
    worker: str,
    *,
    workers: int = 1,
    drain_s: float = 0,
    container: bool = False,
    before: str = "",
    after: str = "",
) -> Iterator[Running]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = [str(folder), str(port), str(drain_s), str(workers), worker]
    environment = {"BENTOML_CONTAINERIZED": "true"} if container else {}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM.replace("{before}", before).replace("{after}", after), *arguments],
            cwd=ROOT,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(folder)} | environment,
            stdout=log,
            stderr=log,
            text=True,
        )
    running = Running(process, folder, port)
    try:
        yield running
    finally:
        for started in (*psutil.Process(process.pid).children(), process) if process.poll() is None else ():
            with suppress(psutil.NoSuchProcess):
                started.kill()
        process.wait()


def test_a_dead_worker_is_replaced_at_once(tmp_path: Path) -> None:
    # No look is near but the one at its death.
    with supervised(tmp_path, ANSWERS, workers=2, before="supervisor._LOOK_S = 3600") as running:
        running.wait_for(2)
        psutil.Process(running.began()[0][0]).kill()
        running.wait_for(3)


def test_nothing_is_logged_as_an_error_at_an_ordinary_start_death_and_end(tmp_path: Path) -> None:
    with supervised(tmp_path, ANSWERS, workers=2, before="supervisor._LOOK_S = 0.01") as running:
        running.wait_for(2)
        psutil.Process(running.began()[0][0]).kill()
        running.wait_for(3)
        time.sleep(0.5)
        running.process.terminate()
        running.ended_s()
    said = (tmp_path / "log").read_text()
    assert "Traceback" not in said
    assert "ConflictError" not in said


def test_workers_that_die_at_once_again_and_again_are_started_ever_more_rarely(tmp_path: Path) -> None:
    with supervised(tmp_path, DIES) as running:
        running.wait_for(5)
        began = [at for _, at in running.began()]
        gaps_s = [later - earlier for earlier, later in itertools.pairwise(began)]
        assert all(gap_s > wanted_s for gap_s, wanted_s in zip(gaps_s, (0, 0.9, 1.9, 3.9), strict=True))
        running.process.terminate()  # in the next pause, which is of 8 s
        running.ended_s(7)


# Another command of circus's is at work for a second from the moment at which the signal comes.
BUSY = """
import signal

def busy(number, frame, then=signal.getsignal(signal.SIGTERM)):
    arbiter._exclusive_running_command = "manage_watchers"
    then(number, frame)
    arbiter.loop.add_callback_from_signal(
        lambda: arbiter.loop.call_later(1, setattr, arbiter, "_exclusive_running_command", None))

signal.signal(signal.SIGTERM, busy)
"""


def test_a_signal_that_meets_a_respawn_is_not_forgotten(tmp_path: Path) -> None:
    with supervised(tmp_path, ANSWERS, after=BUSY) as running:
        running.wait_for(1)
        running.process.terminate()
        assert running.ended_s() > 0.9
        assert running.process.returncode == 0


def test_a_signal_right_after_a_death_is_not_forgotten(tmp_path: Path) -> None:
    with supervised(tmp_path, ANSWERS, workers=2) as running:
        running.wait_for(2)
        psutil.Process(running.began()[0][0]).kill()
        running.process.terminate()
        running.ended_s()


def test_a_second_signal_does_no_harm(tmp_path: Path) -> None:
    with supervised(tmp_path, DRAINS, drain_s=1) as running:
        running.wait_for(1)
        running.process.terminate()
        time.sleep(0.3)
        running.process.terminate()
        running.ended_s()
        assert running.process.returncode == 0


def test_who_comes_while_workers_drain_is_answered_and_who_comes_later_refused(tmp_path: Path) -> None:
    with supervised(tmp_path, DRAINS, workers=2, drain_s=1) as running:
        running.wait_for(2)
        while not running.answers():
            pass
        running.process.terminate()
        told = time.monotonic()
        while running.answers():
            time.sleep(0.01)
        assert time.monotonic() - told > 0.9
        # Whoever came until then is still being answered.
        assert all(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid, _ in running.began())
        running.ended_s()


@pytest.mark.parametrize("drain_s", [0, 30])
def test_in_a_container_the_end_of_the_last_worker_is_the_supervisor_s(tmp_path: Path, drain_s: float) -> None:
    with supervised(tmp_path, ANSWERS, workers=2, drain_s=drain_s, container=True) as running:
        running.wait_for(2)
        (first, _), (second, _) = running.began()
        psutil.Process(first).kill()
        time.sleep(1.5)
        assert running.process.poll() is None
        assert running.answers()
        psutil.Process(second).kill()
        running.ended_s(10)
        assert len(running.began()) == 2
        assert running.process.returncode != 0


def test_nobody_listens_before_a_worker_does(tmp_path: Path) -> None:
    late = WORKER + "time.sleep(1)\nlistening.listen()\nwhile True: listening.accept()[0].sendall(b'here')"
    with supervised(tmp_path, late) as running:
        running.wait_for(1)
        assert not running.answers()
        while not running.answers():
            time.sleep(0.05)
        assert time.time() - running.began()[0][1] > 0.9
        running.process.send_signal(signal.SIGINT)
        running.ended_s()
