"""The containers of docker-compose.yml on a real engine, under a name and addresses of their own."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import polars as pl
import pytest

from tests.e2e.conftest import ROOT, run
from tests.e2e.test_compose import has_engine
from tests.faults.load import Request

PROJECT: Final = "hexbite-tried"
NET: Final = "10.213.98"

REPLICAS: Final = ("service-a", "service-b")


@dataclass(frozen=True)
class Site:
    """A copy of the tree with its `.env`, two models for its data, and what its commands need to know."""

    tree: Path
    environment: Mapping[str, str]
    models: tuple[str, str]
    requests: list[Request]
    url: str

    def make(self, *words: str, fails: bool = False, stdin: str = "") -> str:
        """What a target says, on both of its outputs; it must succeed, or fail."""
        # The pins of the copy are newer than the environment, and the same.
        command = ["make", "--no-print-directory", "--assume-old=requirements/dev.txt", *words]
        return self._run(command, fails, stdin)

    def compose(self, *words: str) -> str:
        return self._run(["docker", "compose", "--profile", "load", *words], fails=False)

    def _run(self, command: list[str], fails: bool, stdin: str = "") -> str:
        finished = subprocess.run(
            command,
            cwd=self.tree,
            env=self.environment,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
        )
        assert (finished.returncode != 0) is fails, f"{command}:\n{finished.stdout}"
        return finished.stdout

    def sql(self, statement: str) -> str:
        """What `make psql` prints for a statement."""
        return self.make("-s", "psql", stdin=statement)

    def container(self, service: str) -> str:
        return self.compose("ps", "--all", "--quiet", service).strip()

    def inspect(self, service: str) -> dict[str, Any]:
        (told,) = json.loads(docker("inspect", self.container(service)))
        return dict(told)

    def health(self, service: str) -> str:
        return str(self.inspect(service)["State"]["Health"]["Status"])

    def started_at(self, service: str) -> str:
        return str(self.inspect(service)["State"]["StartedAt"])

    def images(self) -> set[str]:
        return {self.inspect(replica)["Config"]["Image"] for replica in REPLICAS}

    def process(self, service: str, word: str) -> int:
        """The process of a container, as this machine numbers it, with a word in its command."""
        lines = docker("top", self.container(service), "-eo", "pid,args").splitlines()[1:]
        (found,) = [int(line.split()[0]) for line in lines if word in line and "docker-init" not in line]
        return found

    def set(self, **settings: str) -> None:
        """More lines for `.env`."""
        with (self.tree / ".env").open("a") as file:
            file.writelines(f"{name}={value}\n" for name, value in settings.items())

    def all_well(self) -> bool:
        return all(self.health(service) == "healthy" for service in (*REPLICAS, "nginx"))


def docker(*words: str) -> str:
    finished = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=120)
    assert finished.returncode == 0, f"{words}:\n{finished.stderr}"
    return finished.stdout


def until(condition: Callable[[], bool], patience_s: float = 90.0) -> float:
    """How many seconds it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < patience_s
        time.sleep(0.2)
    return time.monotonic() - began


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if not has_engine():
        pytest.skip("no Docker engine with Compose: docker info or docker compose version fails")
    home = tmp_path_factory.mktemp("containers")
    tree = home / "tree"
    ignored = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", "demo", "secrets", ".env", "shared")
    shutil.copytree(ROOT, tree, ignore=ignored)
    (tree / ".venv").symlink_to(Path(sys.prefix))
    keep = {n: v for n, v in os.environ.items() if not n.startswith(("HEXBITE_", "BENTOML_", "COMPOSE_", "MODEL"))}
    port = free_port()
    environment = keep | {
        # Longer than a line of a terminal.
        "BENTOML_HOME": str(home / "a-model-store-with-a-name-that-fills-more-than-eighty-columns" / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
        "COMPOSE_PROJECT_NAME": PROJECT,
        "HEXBITE_NET": NET,
        "HEXBITE_LISTEN": f"127.0.0.1:{port}",
    }
    data = tree / "data" / "demo"
    sizes = ["--users", "400", "--restaurants", "3000", "--clicks", "60000", "--test-clicks", "5000"]
    run("data", "synthetic", str(data), *sizes, "--requests", "50", "--seed", "7", environment=environment)
    trained = [
        run("training", "train", "--data", str(data), "--epochs", epochs, environment=environment).split()[-1]
        for epochs in ("1", "2")
    ]
    drawn = pl.read_parquet(data / "requests.parquet").head(20).iter_rows(named=True)
    requests = [
        Request(row["user_id"], {"latitude": row["latitude"], "longitude": row["longitude"], "max_dist": 5_000.0})
        for row in drawn
    ]
    made = Site(tree, environment, (trained[0], trained[1]), requests, f"http://127.0.0.1:{port}")
    made.compose("down", "--volumes", "--remove-orphans")
    newest = docker("image", "ls", "--no-trunc", "--quiet", "hexbite:latest").strip()
    yield made
    made.compose("--profile", "observe", "down", "--volumes")
    # `make image` moves that name: it is somebody's.
    if newest:
        docker("tag", newest, "hexbite:latest")
    elif docker("image", "ls", "--quiet", "hexbite:latest").strip():
        docker("image", "rm", "hexbite:latest")
    for image in docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "hexbite").split():
        if any(tag.split(":")[1] in image for tag in trained):
            docker("image", "rm", "--force", image)


@pytest.fixture
def up(site: Site) -> Site:
    """The site, up with the first model and well."""
    if not (site.tree / ".env").exists() or not site.container("nginx"):
        site.make("up", f"MODEL={site.models[0]}")
    until(site.all_well)
    until(lambda: httpx.get(f"{site.url}/readyz", timeout=5).status_code == 200)
    return site
