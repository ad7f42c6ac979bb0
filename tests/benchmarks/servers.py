"""The service and the yardstick, each served on two workers, and the neutral judge that asks them."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil

from data.synthetic import ROWS_PER_FILE, Sizes, write_world
from db.embedded import EmbeddedServer
from db.loading.load import load
from db.migrate import upgrade
from tests.benchmarks.programs import ROOT, run

SHARED = ROOT.parent / "shared"
BENCH, BASELINE = SHARED / "bench", SHARED / "baseline"

ROUTE = "/recommend/u%d"
CONNECTIONS = 8


def require(*programs: str) -> None:
    """End with a word where Debian's packages are missing."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        raise SystemExit(f"{', '.join(missing)} missing: apt-get install {' '.join(missing)}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: list[str], environment: Mapping[str, str], log: Path, cwd: Path = ROOT) -> Iterator[int]:
    """A program in the background, by its process id; it and all that it started are gone at the end."""
    with log.open("wb") as output:
        program = subprocess.Popen(
            command, cwd=cwd, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield program.pid
    finally:
        program.send_signal(signal.SIGTERM)
        try:
            program.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(program.pid, signal.SIGKILL)
            program.wait()


def wait_for(url: str, log: Path, seconds: float = 60) -> float:
    """Seconds until an address answers 200."""
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        try:
            if httpx.get(url, timeout=5).status_code == 200:
                return time.perf_counter() - started
        except httpx.TransportError:
            pass
        time.sleep(0.02)
    raise SystemExit(f"{url} does not answer:\n{log.read_text()}")


@contextmanager
def service(environment: Mapping[str, str], scratch: Path, target: str = ".", workers: int = 2) -> Iterator[str]:
    """``bentoml serve``: its address, once it is ready."""
    port = free_port()
    log = scratch / "service.log"
    name = "hexbite" if target == "." else target.rpartition(":")[2].lower()
    options = {"BENTOML_CONFIG_OPTIONS": f"services.{name}.workers={workers}"}
    # Longer than its clients are silent.
    keep = ["--timeout-keep-alive", "75"]
    command = [sys.executable, "-m", "bentoml", "serve", target, "--host", "127.0.0.1", "--port", str(port), *keep]
    with running(command, {**environment, **options}, log, ROOT if target == "." else scratch):
        wait_for(f"http://127.0.0.1:{port}/readyz", log)
        yield f"http://127.0.0.1:{port}"


@contextmanager
def site(scratch: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """One million users and 100,000 restaurants drawn, loaded and trained on: the world, and what commands need."""
    world = scratch / "world"
    write_world(world, Sizes(1_000_000, 100_000, ROWS_PER_FILE, 1_000, 0), seed=7)
    server = EmbeddedServer(scratch / "home")
    try:
        dsn = server.ensure_running()
        upgrade(dsn)
        load(dsn, world)
        environment = os.environ | {
            "DATABASE_URL": dsn,
            "BENTOML_HOME": str(scratch / "bentoml"),
            "BENTOML_DO_NOT_TRACK": "True",
        }
        run([sys.executable, "-m", "training", "train", "--data", str(world), "--epochs", "1"], environment)
        yield world, environment
    finally:
        server.stop()


def workers_mib(url: str) -> list[float]:
    """Resident memory of each worker that serves at an address."""
    port = url.rpartition(":")[2]
    found = []
    for process in psutil.process_iter(["cmdline"]):
        with suppress(psutil.Error):
            if "_bentoml_impl.worker.service" in (process.info["cmdline"] or ()) and any(
                {"serve", port} <= set(parent.cmdline()) for parent in process.parents()
            ):
                found.append(process.memory_info().rss / 2**20)
    return found


@contextmanager
def yardstick(world: Path, scratch: Path) -> Iterator[str]:
    """The baseline's server with the baseline's model and features in Redis: its address, once it answers."""
    redis_port, port = free_port(), free_port()
    environment = dict(os.environ)
    model, log = scratch / "yardstick.pt", scratch / "yardstick.log"
    redis = ["redis-server", "--port", str(redis_port), "--bind", "127.0.0.1", "--save", "", "--dir", str(scratch)]
    with running(redis, environment, scratch / "redis.log"):
        train = [str(BASELINE / "seed_trainer.py"), str(world), "--files", "1", "--out", str(model)]
        fill = [str(BASELINE / "seed_redis.py"), str(world), "--port", str(redis_port)]
        for command in (train, fill):
            subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        serve = [sys.executable, "-m", "uvicorn", "seed_server:app", "--port", str(port), "--workers", "2"]
        environment |= {"DATA_MODEL": str(model), "REDIS_PORT": str(redis_port)}
        with running([*serve, "--log-level", "warning"], environment, log, BASELINE):
            wait_for(f"http://127.0.0.1:{port}/docs", log)
            yield f"http://127.0.0.1:{port}"


def judge(*command: str) -> str:
    """The last line of one of the judge's programs, which must succeed."""
    program = ["sh"] if command[0].endswith(".sh") else [sys.executable]
    finished = subprocess.run([*program, str(BENCH / command[0]), *command[1:]], capture_output=True, text=True)
    if finished.returncode:
        raise SystemExit(f"{command[0]} failed:\n{finished.stdout}{finished.stderr}")
    return finished.stdout.strip().rpartition("\n")[2]


def figures(line: str) -> dict[str, float]:
    """``name 1.5`` pairs of a line of the judge's."""
    return {name: float(value) for name, value in re.findall(r"([a-z_0-9]+) (-?\d+(?:\.\d+)?)(?= |$)", line)}


def saturate(url: str, requests: Path, seconds: int) -> dict[str, float]:
    """Eight connections that ask again as soon as they are answered."""
    found = figures(judge("saturate.sh", url, ROUTE, str(requests), str(seconds), str(CONNECTIONS)))
    found["not_200"] = found["non_2xx"] + found["socket_errors"]
    return found
