"""What operations.md says of containers, tried: from nothing to ready, and then what happens to a running one.

In this order: each test leaves everything up and well. `--capture=no` shows the figures.
"""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.containers.conftest import REPLICAS, Site, docker, until
from tests.faults.load import Load, load

BUDGET_S = 1.0

#: A request that waited for one who stood still, was asked again of the other, and met a machine with other work.
LONGEST_S = 2 * BUDGET_S

IS = "SELECT features[1] FROM restaurants WHERE restaurant_id = 7"


@contextmanager
def counted(site: Site, what: str, least_s: float = 20.0) -> Iterator[Load]:
    """Load of 30 requests a second, for the block and at least so long; none of them may be lost."""
    began = time.monotonic()
    with load(site.url, site.requests, clients=6, per_s=5.0) as generated:
        time.sleep(2)
        yield generated
        time.sleep(max(2.0, least_s - (time.monotonic() - began)))
    statuses = generated.statuses()
    print(f"\n{what}: {dict(statuses)}, slowest {generated.slowest_s():.3f} s")
    assert set(statuses) == {200}, what
    assert statuses[200] > 300


def test_from_nothing_to_answers(site: Site) -> None:
    said = site.make("down")
    assert "no model" not in said
    refused = site.make("up", "MODEL=hexbite:nonsense", fails=True)
    assert "no model hexbite:nonsense" in refused and "make demo ONCE=1" in refused
    began = time.monotonic()
    said = site.make("up", f"MODEL={site.models[0]}")
    print(f"\nmake up, from nothing: {time.monotonic() - began:.0f} s")
    assert f"ready at {site.url}" in said
    request = site.requests[0]
    answer = httpx.post(f"{site.url}/recommend/{request.user}", json=request.body, timeout=10)
    assert answer.status_code == 200 and answer.json()["restaurants"]
    assert answer.headers["x-hexbite-model"] == site.models[0]


def test_no_password_is_in_what_docker_shows(up: Site) -> None:
    secrets = [file.read_text().strip() for file in sorted((up.tree / "secrets").iterdir())]
    assert len(set(secrets)) == 5 and all(len(secret) == 48 for secret in secrets)
    containers = docker("ps", "--all", "--quiet", "--filter", "name=hexbite-tried").split()
    shown = [
        docker("inspect", *containers),
        *(docker("top", container, "-eo", "pid,args") for container in docker("ps", "--quiet").split()),
        up.compose("--profile", "observe", "config"),
        up.compose("logs"),
        (up.tree / ".env").read_text(),
    ]
    assert not [secret for secret in secrets for text in shown if secret in text]
    assert (up.tree / "secrets").stat().st_mode & 0o777 == 0o700


def test_limits_are_in_force(up: Site) -> None:
    for service in ("postgres", *REPLICAS, "nginx"):
        host = up.inspect(service)["HostConfig"]
        assert host["Init"] is True
        assert host["PidsLimit"] == 256
        assert host["MemorySwap"] == host["Memory"] > 0
        assert all("size=" in options for options in host["Tmpfs"].values())
        assert host["ReadonlyRootfs"] is True


def test_what_sql_has_changed_is_still_there_after_up_and_start_and_gone_when_a_load_is_asked_for(up: Site) -> None:
    was = up.sql(IS)
    assert "UPDATE 1" in up.sql("UPDATE restaurants SET features[1] = 4711 WHERE restaurant_id = 7")
    assert "DELETE 1" in up.sql("DELETE FROM restaurants WHERE restaurant_id = 8")
    assert "left alone" in up.make("up")
    for words in (("stop", "service-a"), ("start", "service-a"), ("restart",), ("stop",), ("start",)):
        up.compose(*words)
    up.compose("up", "--detach", "--wait")
    assert "left alone" in up.compose("run", "--rm", "load")
    assert "4711" in up.sql(IS)
    assert "(0 rows)" in up.sql("SELECT FROM restaurants WHERE restaurant_id = 8")
    assert "restaurants: 1 new, 1 changed" in up.make("load")
    assert up.sql(IS) == was


def test_a_model_that_is_named_is_obeyed_or_refused(up: Site) -> None:
    assert "no model hexbite:nonsense" in up.make("up", "MODEL=hexbite:nonsense", fails=True)
    assert "there is no image hexbite:nonsense" in up.make("up", "IMAGE=hexbite:nonsense", fails=True)
    assert "there is no image hexbite:nonsense" in up.make("deploy", "IMAGE=hexbite:nonsense", fails=True)
    other = up.make("up", f"MODEL={up.models[1]}", fails=True)
    assert f"make deploy MODEL={up.models[1]}" in other
    assert "ready at" in up.make("up", f"MODEL={up.models[0]}")
    assert all(image.startswith(up.models[0]) for image in up.images())


@pytest.mark.parametrize(
    ("what", "do", "word"),
    [
        ("a killed worker", signal.SIGKILL, "_bentoml_impl.worker"),
        ("a killed supervisor", signal.SIGKILL, "bin/bentoml serve"),
        ("a frozen worker", signal.SIGSTOP, "_bentoml_impl.worker"),
    ],
)
def test_who_is_killed_or_stands_still_costs_no_request_and_is_started_again(
    up: Site, what: str, do: signal.Signals, word: str
) -> None:
    before = up.started_at("service-a")
    with counted(up, what) as generated:
        os.kill(up.process("service-a", word), do)
        took_s = until(lambda: up.started_at("service-a") != before)
        print(f"\n{what}: the container ended after {took_s:.0f} s", end="")
        until(up.all_well)
    assert generated.slowest_s() < LONGEST_S


def test_a_replica_whose_processes_all_stand_still_is_started_again(up: Site) -> None:
    before = up.started_at("service-b")
    with counted(up, "all of a replica frozen") as generated:
        docker("exec", up.container("service-b"), "bash", "-c", "kill -STOP -- -1")
        until(lambda: up.started_at("service-b") != before)
        until(up.all_well)
    assert generated.slowest_s() < LONGEST_S


def test_a_replica_is_stopped_and_started_under_load(up: Site) -> None:
    with counted(up, "docker compose stop, start") as generated:
        up.compose("stop", "service-a")
        up.compose("start", "service-a")
        until(up.all_well)
    assert generated.slowest_s() < LONGEST_S


def test_an_nginx_that_stands_still_is_started_again(up: Site) -> None:
    before = up.started_at("nginx")
    os.kill(up.process("nginx", "worker process"), signal.SIGSTOP)
    took_s = until(lambda: up.started_at("nginx") != before)
    print(f"\nnginx frozen: the container ended after {took_s:.0f} s")
    until(up.all_well)


def test_who_is_only_unready_is_left_alone(up: Site) -> None:
    before = [up.started_at(replica) for replica in REPLICAS]
    up.compose("pause", "postgres")
    until(lambda: all(up.health(replica) == "unhealthy" for replica in REPLICAS))
    time.sleep(20)
    up.compose("unpause", "postgres")
    until(up.all_well)
    assert [up.started_at(replica) for replica in REPLICAS] == before


def test_who_is_only_busy_is_left_alone(up: Site) -> None:
    before = [up.started_at(replica) for replica in REPLICAS]
    with load(up.url, up.requests, clients=64, per_s=50.0) as generated:
        time.sleep(45)
    print(f"\nfar too many: {dict(generated.statuses())}, slowest {generated.slowest_s():.3f} s")
    until(up.all_well)
    assert [up.started_at(replica) for replica in REPLICAS] == before
    assert set(generated.statuses()) <= {200, 503, 504}


def test_another_model_is_deployed_and_the_one_before_comes_back_by_its_image(up: Site) -> None:
    (before,) = up.images()
    up.make("image", f"MODEL={up.models[1]}")
    with counted(up, "make deploy"):
        said = up.make("deploy", f"MODEL={up.models[1]}")
    assert f"in place of {before}; back: make deploy IMAGE={before}" in said
    assert "is there already" in said and "building" not in said
    # Meanwhile somebody has written code that cannot even start.
    broken = up.tree / "bento" / "__init__.py"
    good = broken.read_bytes()
    broken.write_bytes(good + b"\nraise RuntimeError\n")
    try:
        with counted(up, "make deploy IMAGE=, back"):
            up.make("deploy", f"IMAGE={before}")
    finally:
        broken.write_bytes(good)
    assert up.images() == {before}
    assert f"HEXBITE_IMAGE={before}" in (up.tree / ".env").read_text()
    assert before in up.make("up")


def test_health_checks_are_not_logged_and_requests_are(up: Site) -> None:
    httpx.get(f"{up.url}/readyz", timeout=5)
    httpx.get(f"{up.url}/nothing", timeout=5)
    time.sleep(4)
    said = up.compose("logs", "--no-log-prefix", "nginx")
    assert '"uri":"/nothing"' in said
    assert '"uri":"/readyz"' not in said and '"uri":"/livez"' not in said
    assert "readyz" not in up.compose("logs", "service-a")


@contextmanager
def settings(site: Site, **values: str) -> Iterator[None]:
    """More settings in `.env`, for the block, taken over by all that they concern."""
    before = (site.tree / ".env").read_text()
    site.set(**values)
    site.compose("up", "--detach", "--wait")
    try:
        yield
    finally:
        (site.tree / ".env").write_text(before)
        site.compose("up", "--detach", "--wait")


def test_the_budget_the_drain_and_what_one_client_may_ask_follow_their_settings(up: Site) -> None:
    values = {"HEXBITE_REQUEST_TIMEOUT_S": "0.5", "HEXBITE_DRAIN_S": "2.5", "HEXBITE_CLIENT_REQUESTS_PER_S": "5"}
    with settings(up, **values):
        assert up.inspect("service-a")["Config"]["StopTimeout"] == 23
        assert "proxy_read_timeout 551ms" in docker("exec", up.container("nginx"), "cat", "/tmp/settings.conf")
        request = up.requests[0]

        def ask() -> httpx.Response:
            return httpx.post(f"{up.url}/recommend/{request.user}", json=request.body, timeout=10)

        answers = [ask() for _ in range(40)]
        refused = [answer for answer in answers if answer.status_code != 200]
        assert {answer.status_code for answer in refused} == {429}
        assert refused[0].json()["error"]["code"] == "too_many_requests"
        assert refused[0].headers["retry-after"] == "1"
        until(lambda: ask().status_code == 200)


def test_what_is_up_comes_down_without_its_settings(up: Site) -> None:
    env = up.tree / ".env"
    kept = env.read_text()
    env.unlink()
    up.make("down")
    assert not docker("ps", "--all", "--quiet", "--filter", "name=hexbite-tried").split()
    env.write_text(kept)
    assert "left alone" in up.make("up")


def test_what_an_earlier_version_left_goes_on(up: Site) -> None:
    # As it was: passwords in `.env`, which no image reads any more, and an image named by its model alone.
    secrets = {file.name: file.read_text() for file in (up.tree / "secrets").iterdir()}
    variables = {"postgres": "POSTGRES", "grafana": "GRAFANA"} | {
        name: f"HEXBITE_{name.upper()}" for name in ("owner", "service", "load")
    }
    (image,) = up.images()
    docker("tag", image, up.models[0])
    up.sql("UPDATE restaurants SET features[1] = 4711 WHERE restaurant_id = 7")
    shutil.rmtree(up.tree / "secrets")
    (up.tree / ".env").write_text(
        "".join(f"{variables[name]}_PASSWORD={secrets[f'{name}_password']}" for name in variables)
        + f"HEXBITE_IMAGE={up.models[0]}\n"
    )
    assert "left alone" in up.make("up")
    assert {file.name: file.read_text() for file in (up.tree / "secrets").iterdir()} == secrets
    assert (up.tree / ".env").read_text() == f"HEXBITE_IMAGE={image}\n"
    assert "4711" in up.sql(IS)
    until(up.all_well)
