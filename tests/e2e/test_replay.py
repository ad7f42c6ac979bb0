"""`python -m data replay`: asked over HTTP, visits rank as they do offline; and whatever is in the way is named."""

import json
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from bento.edge.keys import new_key
from tests.e2e.conftest import ROOT, run, serve
from tests.e2e.pasts import Town, make_town

NOBODY = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def town(server_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Town:
    return make_town(server_dsn, tmp_path_factory.mktemp("town"), "replay", 1_000)


def refused(town: Town, *options: str) -> str:
    """The one line that a replay ends with."""
    command = [sys.executable, "-m", "data", "replay", str(town.data), *options]
    ended = subprocess.run(command, cwd=ROOT, env=town.environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 1, ended.stdout
    (error,) = [line for line in ended.stderr.splitlines() if not line.startswith("{")]
    assert error.startswith("error: ")
    return error


def events_of(town: Town) -> int:
    with psycopg.connect(town.dsn) as connection:
        row = connection.execute("SELECT count(*) FROM hexbite.events").fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.slow
def test_visits_rank_over_http_as_they_do_offline_and_frozen_they_do_not(town: Town, tmp_path: Path) -> None:
    told, frozen, offline = (tmp_path / f"{name}.json" for name in ("told", "frozen", "offline"))
    run("training", "evaluate", "--data", str(town.data), "--json", str(offline), environment=town.environment)
    before = events_of(town)
    with serve(town.environment) as url:
        asked = ("data", "replay", str(town.data), "--url", url)
        run(*asked, "--frozen", "--json", str(frozen), environment=town.environment)
        assert events_of(town) == before
        printed = run(*asked, "--json", str(told), environment=town.environment)
        # What was told is known, and a second time nothing is worth asking.
        again = refused(town, "--url", url)
    ranking = json.loads(offline.read_text())["ranking"]
    replayed, cold = (json.loads(path.read_text()) for path in (told, frozen))
    assert replayed["visits"] == cold["visits"] == ranking["visits"] > 100
    assert replayed["told"] == events_of(town) - before == replayed["visits"]
    assert cold["told"] == 0
    assert replayed["failed"] == {}
    service = replayed["figures"]["all"]["service"]
    assert service["hit@10"]["value"] == pytest.approx(ranking["model"]["hit@10"]["value"], abs=1e-9)
    assert service["NDCG@10"]["value"] == pytest.approx(ranking["model"]["ndcg@10"]["value"], abs=1e-9)
    nearest = replayed["figures"]["all"]["nearest"]["hit@10"]["value"]
    assert nearest == pytest.approx(ranking["nearest"]["hit@10"]["value"], abs=1e-9)
    assert service != cold["figures"]["all"]["service"]
    assert cold["figures"]["all"]["own history"] != replayed["figures"]["all"]["own history"]
    for said in ("hit@1 ", "hit@5 ", "hit@10", "NDCG@10", "new to the person", "p99", "errors 0", "median rank"):
        assert said in printed
    assert "knew 1 of the events" in again
    assert "--before" in again


def test_nobody_at_the_address_is_an_error(town: Town) -> None:
    assert "no service answers at http://127.0.0.1:1" in refused(town, "--url", NOBODY)
    assert "is no address" in refused(town, "--url", "localhost:3000") or "no service" in refused(town, "--url", "x")


def test_a_service_that_refuses_old_events_is_an_error_that_names_the_setting(town: Town) -> None:
    with serve(town.environment | {"HEXBITE_MAX_EVENT_AGE_S": "86400"}) as url:
        error = refused(town, "--url", url, "--limit", "5")
        assert "HEXBITE_MAX_EVENT_AGE_S" in error
        # Asked alone, nothing is refused.
        run("data", "replay", str(town.data), "--url", url, "--limit", "5", "--frozen", environment=town.environment)


def test_keys_are_given_apart(town: Town) -> None:
    (ask, ask_digest), (tell, tell_digest) = new_key(), new_key()
    keys = {"HEXBITE_API_KEYS": ask_digest, "HEXBITE_EVENT_KEYS": tell_digest}
    with serve(town.environment | keys) as url:
        assert "--key" in refused(town, "--url", url, "--frozen")
        assert "--event-key" in refused(town, "--url", url, "--key", ask, "--limit", "5")
        assert "--key" in refused(town, "--url", url, "--key", tell, "--frozen")
        both = ("--key", ask, "--frozen", "--limit", "3")
        run("data", "replay", str(town.data), "--url", url, *both, environment=town.environment)
