"""What changes in Postgres shows in the next answer; what the store cannot serve is said."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import psycopg
import pytest

from hexbite.features import FeatureSchema
from hexbite.geo import degrees_to_cell
from tests.databases import new_database
from tests.e2e.conftest import ROOT, Line, environment_of, run, serve
from tests.written import drawn_model

HERE = {"latitude": 13.9, "longitude": 100.6, "max_dist": 3_000.0, "size": 1_000}


@pytest.fixture
def store(line: Line) -> Any:
    """A connection that undoes, at the end, what a test did to the rows of restaurant 17 and user 3."""
    with psycopg.connect(line.dsn, autocommit=True) as connection:
        try:
            yield connection
        finally:
            run("db", "load", str(line.data), environment=line.environment)


def ask(url: str, user: int = 3, **fields: Any) -> dict[int, dict[str, Any]]:
    answer = httpx.post(f"{url}/recommend/{user}", json=HERE | fields, timeout=30)
    assert answer.status_code == 200, answer.text
    return {restaurant["id"]: restaurant for restaurant in answer.json()["restaurants"]}


def test_an_updated_feature_shows_in_the_next_answer(url: str, store: psycopg.Connection[Any]) -> None:
    before = ask(url)
    one = next(iter(before))
    store.execute("UPDATE restaurants SET features[1] = features[1] + 1 WHERE restaurant_id = %s", (one,))
    after = ask(url)
    assert after[one]["score"] != before[one]["score"]
    assert {id_: r for id_, r in after.items() if id_ != one} == {id_: r for id_, r in before.items() if id_ != one}
    store.execute("UPDATE users SET features[1] = features[1] + 1 WHERE user_id = 3")
    assert ask(url)[one]["score"] != after[one]["score"]


def test_an_inserted_or_deleted_restaurant_or_user_shows_in_the_next_answer(
    url: str, store: psycopg.Connection[Any]
) -> None:
    lat, lng = HERE["latitude"], HERE["longitude"]
    store.execute(
        "INSERT INTO restaurants (schema_id, restaurant_id, latitude, longitude, h3_cell, features)"
        " SELECT schema_id, 9000000001, %s, %s, %s, features FROM restaurants LIMIT 1",
        (lat, lng, degrees_to_cell(lat, lng)),
    )
    assert ask(url)[9_000_000_001]["displacement"] == 0.0
    assert 9_000_000_001 in ask(url, candidate_restaurant_ids=[9_000_000_001])
    store.execute("DELETE FROM restaurants WHERE restaurant_id = 9000000001")
    assert 9_000_000_001 not in ask(url)
    known = ask(url)
    store.execute("DELETE FROM users WHERE user_id = 3")
    assert ask(url) == ask(url, user=777_777) != known


def test_a_moved_restaurant_is_found_at_its_new_place_and_no_longer_at_its_old_one(
    url: str, line: Line, store: psycopg.Connection[Any]
) -> None:
    one = next(iter(ask(url)))
    far = {"latitude": -33.86, "longitude": 151.2}
    run("db", "move", str(one), "-33.86", "151.2", environment=line.environment)
    assert one not in ask(url)
    assert ask(url, **far)[one]["displacement"] == pytest.approx(0, abs=1e-6)
    with pytest.raises(psycopg.errors.CheckViolation):
        store.execute("UPDATE restaurants SET latitude = 13.9, longitude = 100.6 WHERE restaurant_id = %s", (one,))
    assert one in ask(url, **far)


def test_the_neutral_judge_finds_no_wrong_answer_and_scores_equal_offline_ones(
    url: str, line: Line, shared: Path, tmp_path: Path
) -> None:
    for kind, extra in (("candidates", ["--candidates", "1000"]), ("near", ["--near"])):
        requests, pairs = tmp_path / f"{kind}.tsv", tmp_path / f"{kind}.parquet"
        make = [sys.executable, str(shared / "bench" / "make_requests.py"), str(line.data), str(requests), *extra]
        subprocess.run(make, check=True, capture_output=True)
        judge = [sys.executable, str(shared / "bench" / "check_answers.py"), url, "/recommend/u%d", str(requests)]
        judged = subprocess.run(
            [*judge, str(line.data), "--most", "300", "--pairs", str(pairs)], capture_output=True, text=True
        )
        assert judged.returncode == 0, judged.stdout
        assert judged.stdout.split()[-2:] == ["wrong", "0"]
        assert int(judged.stdout.split()[3]) > 1_000
        scored = tmp_path / f"{kind}-scored.parquet"
        arguments = ["--data", str(line.data), "--pairs", str(pairs), "--out", str(scored), "--model", line.tag]
        run("training", "score", *arguments, environment=line.environment)
        keys = ["user_id", "restaurant_id"]
        both = pl.read_parquet(scored).select(*keys, "score").unique(keys)
        seen = pl.read_parquet(pairs).select(*keys, pl.col("score").alias("seen")).unique(keys)
        joined = both.join(seen, on=keys, how="full", coalesce=True)
        assert joined.null_count().sum_horizontal().item() == 0
        assert np.abs(joined["score"].to_numpy() - joined["seen"].to_numpy()).max() < 1e-5


def test_a_store_without_the_models_schema_is_not_ready_and_the_log_says_why(
    line: Line, server_dsn: str, tmp_path: Path
) -> None:
    dsn = new_database(server_dsn, "hexbite_elsewhere")
    environment = {**line.environment, "DATABASE_URL": dsn}
    with serve(environment, ready=False) as url:
        assert_not_ready(url, line, "run: python -m db upgrade")
        run("db", "upgrade", environment=environment)
        assert_not_ready(url, line, "python -m db load")
        run("db", "load", str(line.data), environment=environment)
        assert httpx.get(f"{url}/readyz").status_code == 200
        assert ask(url)


def test_a_model_with_a_feature_that_no_request_tells_is_not_ready_and_the_older_one_beside_it_is(
    line: Line, tmp_path: Path
) -> None:
    folder = tmp_path / "dwelling"
    folder.mkdir()
    drawn_model(FeatureSchema.from_names(("a",), ("b",), ("dwell_s",))).save(folder)
    environment = line.environment
    tag = run("training", "publish", str(folder), "--name", "dwelling", environment=environment).split()[-1]
    with serve({**environment, "HEXBITE_MODEL": tag}, ready=False) as url:
        assert_not_ready(url, line, "context feature 'dwell_s' cannot be computed from a request")
    with serve({**environment, "HEXBITE_MODEL": line.tag}) as url:
        assert ask(url)


def assert_not_ready(url: str, line: Line, reason: str) -> None:
    unready = httpx.get(f"{url}/readyz")
    assert unready.status_code == 503
    assert unready.json()["error"]["code"] == "unavailable"
    answer = httpx.post(f"{url}/recommend/3", json=HERE)
    assert answer.status_code == 503
    # Somebody has to mend it: nobody is told to try again.
    assert answer.json()["error"]["code"] == "misconfigured"
    assert "again" not in answer.text and "retry-after" not in answer.headers
    log = Path(line.environment["BENTOML_HOME"]) / f"serve-{url.rpartition(':')[2]}.log"
    assert reason in log.read_text()


def test_a_store_that_is_away_is_a_503_and_its_return_is_noticed(line: Line) -> None:
    with serve({**line.environment, "DATABASE_URL": "postgresql://127.0.0.1:1/none"}, ready=False) as url:
        assert httpx.get(f"{url}/readyz").status_code == 503
        answer = httpx.post(f"{url}/recommend/3", json=HERE)
        assert answer.status_code == 503
        assert answer.json()["error"]["message"] == "the feature store is away; try again"


def test_a_slow_store_is_a_504(line: Line) -> None:
    with (
        serve({**line.environment, "HEXBITE_REQUEST_TIMEOUT_S": "1"}) as url,
        psycopg.connect(line.dsn) as blocker,
    ):
        blocker.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        answer = httpx.post(f"{url}/recommend/3", json=HERE, timeout=30)
        assert answer.status_code == 504
        assert answer.json()["error"]["code"] == "timeout"
        blocker.rollback()
        assert ask(url)


def test_a_bento_is_built_and_serves_from_any_folder(line: Line, tmp_path: Path) -> None:
    run("bentoml", "build", environment=line.environment)
    with serve(line.environment, "hexbite:latest", cwd=tmp_path) as url:
        assert ask(url)


def test_the_service_refuses_to_start_without_a_model(line: Line, tmp_path: Path) -> None:
    environment = environment_of(line.dsn, tmp_path)
    command = [sys.executable, "-m", "bentoml", "serve", "--port", "0"]
    started = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert started.returncode != 0
    assert "hexbite" in started.stdout + started.stderr
