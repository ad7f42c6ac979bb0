"""A store that may be broken, a model for it, and services under load."""

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import polars as pl
import psycopg
import pytest

from db.embedded import EmbeddedServer
from tests.e2e.conftest import environment_of, run
from tests.faults.load import Outcome, Request

BUDGET_S = 1.0

#: What an answer may be later than the budget for reasons that are the test's: a busy machine, its own client.
SLACK_S = 0.25


@dataclass(frozen=True)
class Site:
    """An embedded server of its own, and two data folders of one schema: the second's features are other numbers."""

    server: EmbeddedServer
    dsn: str
    data: Path
    other_data: Path
    environment: Mapping[str, str]
    requests: list[Request]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("site")
    server = EmbeddedServer(home / "server")
    dsn = server.ensure_running()
    environment = environment_of(dsn, home) | {"BENTOML_CONFIG_OPTIONS": "services.hexbite.workers=2"}
    data, other = home / "world", home / "other"
    sizes = ["--users", "400", "--restaurants", "3000", "--clicks", "60000", "--test-clicks", "5000"]
    for folder, seed in ((data, "7"), (other, "8")):
        run("data", "synthetic", str(folder), *sizes, "--requests", "50", "--seed", seed, environment=environment)
    # The same places, so that what differs is how they are scored.
    places = pl.read_parquet(data / "restaurant_features.parquet", columns=["restaurant_id", "latitude", "longitude"])
    features = pl.read_parquet(other / "restaurant_features.parquet").drop("latitude", "longitude")
    places.join(features, on="restaurant_id").write_parquet(other / "restaurant_features.parquet")
    run("db", "upgrade", environment=environment)
    run("db", "load", str(data), environment=environment)
    run("training", "train", "--data", str(data), "--epochs", "1", environment=environment)
    drawn = pl.read_parquet(data / "requests.parquet").head(20).iter_rows(named=True)
    requests = [
        Request(
            row["user_id"],
            {
                "latitude": row["latitude"],
                "longitude": row["longitude"],
                "max_dist": 10_000.0,
                "size": 50,
                # Both ways of a read.
                **({"candidate_restaurant_ids": list(range(0, 3_000, 3))} if number % 2 else {}),
            },
        )
        for number, row in enumerate(drawn)
    ]
    yield Site(server, dsn, data, other, environment, requests)
    server.stop()


def answers(url: str, requests: list[Request]) -> list[bytes]:
    """What each request is answered when nothing is wrong."""
    with httpx.Client(base_url=url, timeout=30) as client:
        found = [client.post(f"/recommend/{request.user}", json=request.body) for request in requests]
    assert {answer.status_code for answer in found} == {200}
    return [answer.content for answer in found]


def assert_sound(outcomes: list[Outcome], right: list[bytes], also: set[int | str]) -> None:
    """Every 200 is the right answer, everything else is one of ``also`` in the form that it must have."""
    for outcome in outcomes:
        if outcome.status == 200:
            assert outcome.body == right[outcome.request]
            continue
        assert outcome.status in also, outcome
        if isinstance(outcome.status, int):
            assert json.loads(outcome.body)["error"]["code"] in ("unavailable", "timeout", "overloaded")
        if outcome.status == 503:
            assert outcome.headers["retry-after"] == "1"


def connections(dsn: str) -> int:
    """How many connections services hold."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'hexbite' AND pid <> pg_backend_pid()"
        ).fetchone()
    assert row is not None
    return int(row[0])


def until(true: Callable[[], bool], patience_s: float = 20.0) -> float:
    """Seconds until something is true."""
    started = time.monotonic()
    while not true():
        assert time.monotonic() - started < patience_s
        time.sleep(0.02)
    return time.monotonic() - started


def is_ready(url: str) -> bool:
    return httpx.get(f"{url}/readyz", timeout=5).status_code == 200


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own that a server's data fits in, with little room beside."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system, which takes root: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """No room on a file system, for as long as the block runs."""
    ballast = disk / "ballast"
    with ballast.open("wb") as filling:
        try:
            while True:
                filling.write(bytes(1 << 16))
                filling.flush()
        except OSError:
            pass
    try:
        assert shutil.disk_usage(disk).free < 1 << 16
        yield
    finally:
        ballast.unlink()
