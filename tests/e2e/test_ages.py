"""Rows that are too old count as missing; rows that the model cannot read do not get in."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from hexbite.artifact import Artifact
from hexbite.ranker import Scorer, logits_to_scores
from tests.databases import new_database
from tests.e2e.conftest import ROOT, Line, run, serve
from tests.e2e.homes import folder_of, log_of, with_own_home

HERE = {"latitude": 13.9, "longitude": 100.6, "max_dist": 6_000.0, "size": 1_000}
MAX_AGE_S = 3 * 86_400.0
USER, UNKNOWN = 5, 777_777

Connection = psycopg.Connection[Any]


@pytest.fixture(scope="module")
def own(line: Line, tmp_path_factory: pytest.TempPathFactory) -> Line:
    return with_own_home(line, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def strict(own: Line) -> Iterator[str]:
    """A service for which a row of three days ago is too old."""
    with serve({**own.environment, "HEXBITE_MAX_FEATURE_AGE_S": str(MAX_AGE_S)}) as url:
        yield url


@pytest.fixture
def store(own: Line) -> Iterator[Connection]:
    """The store, where everything happened just now, before a test and after it."""
    with psycopg.connect(own.dsn, autocommit=True) as connection:
        for _ in yielded(connection):
            yield connection


def yielded(connection: Connection) -> Iterator[None]:
    for table in ("users", "restaurants"):
        connection.execute(f"UPDATE {table} SET event_ts = now() WHERE event_ts < now() - interval '2 days'")
    try:
        yield
    finally:
        for table in ("users", "restaurants"):
            connection.execute(f"UPDATE {table} SET event_ts = now() WHERE event_ts < now() - interval '2 days'")


def ask(url: str, user: int = USER, **fields: Any) -> Any:
    answer = httpx.post(f"{url}/recommend/{user}", json=HERE | fields, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()


def by_id(answer: Any) -> dict[int, Any]:
    return {restaurant["id"]: restaurant for restaurant in answer["restaurants"]}


def age(store: Connection, table: str, key: str, ids: list[int], days: float) -> None:
    aged = f"UPDATE {table} SET event_ts = now() - make_interval(secs => %s) WHERE {key} = ANY (%s)"
    assert store.execute(aged, (days * 86_400, ids)).rowcount == len(ids)


def counted(url: str) -> dict[str, float]:
    """What the counters of ages show, by name and entity."""
    found = {}
    for metric in text_string_to_metric_families(httpx.get(f"{url}/metrics").text):
        for sample in metric.samples:
            if sample.name.startswith(("hexbite_stale", "hexbite_feature_age", "hexbite_cold")):
                bounds = {name: str(float(label)) for name, label in sample.labels.items() if name == "le"}
                labels = [label for _, label in sorted((sample.labels | bounds).items())]
                found[" ".join((sample.name, *labels))] = sample.value
    return found


def test_a_user_whose_row_is_too_old_is_answered_as_one_that_is_unknown_until_it_is_refreshed(
    strict: str, store: Connection
) -> None:
    known = ask(strict)
    age(store, "users", "user_id", [USER], 2.9)
    assert ask(strict) == known
    age(store, "users", "user_id", [USER], 3.1)
    assert ask(strict) == ask(strict, UNKNOWN) != known
    some = [restaurant["id"] for restaurant in known["restaurants"]][::7]
    assert ask(strict, candidate_restaurant_ids=some) == ask(strict, UNKNOWN, candidate_restaurant_ids=some)
    store.execute("UPDATE users SET event_ts = now() WHERE user_id = %s", (USER,))
    assert ask(strict) == known


def test_an_old_restaurant_stays_where_it_is_and_is_scored_by_the_mean_restaurant(
    strict: str, own: Line, store: Connection
) -> None:
    fresh = by_id(ask(strict))
    old = list(fresh)[::10]
    age(store, "restaurants", "restaurant_id", old, 400)
    answer = ask(strict)
    aged = by_id(answer)
    assert aged.keys() == fresh.keys()
    assert {id_: aged[id_] for id_ in aged if id_ not in old} == {id_: fresh[id_] for id_ in fresh if id_ not in old}

    artifact = Artifact.load(folder_of(own, own.tag))
    row = store.execute("SELECT features FROM users WHERE user_id = %s", (USER,)).fetchone()
    assert row is not None
    distances_m = np.array([aged[id_]["displacement"] for id_ in old])
    mean = np.tile(artifact.restaurant_mean, (len(old), 1))
    rows = np.concatenate([mean, artifact.schema.context_rows(distances_m)], axis=1)
    scorer = Scorer(artifact.ranker, len(artifact.schema.user))
    expected = logits_to_scores(scorer.logits(np.array(row[0], dtype=np.float32), rows))
    for id_, score in zip(old, expected.tolist(), strict=True):
        assert aged[id_]["displacement"] == fresh[id_]["displacement"]
        assert aged[id_]["score"] == pytest.approx(score, abs=1e-9)
        assert aged[id_]["score"] != fresh[id_]["score"]
    assert [restaurant["score"] for restaurant in answer["restaurants"]] == sorted(
        (restaurant["score"] for restaurant in aged.values()), reverse=True
    )
    nearest = ask(strict, sort_dist=True)["restaurants"]
    assert [r["id"] for r in nearest] == sorted(fresh, key=lambda id_: (fresh[id_]["displacement"], id_))

    store.execute("UPDATE restaurants SET event_ts = now() WHERE restaurant_id = ANY (%s)", (old,))
    assert by_id(ask(strict)) == fresh


def test_an_explanation_tells_how_old_what_it_rests_on_is(strict: str, own: Line, store: Connection) -> None:
    old = [restaurant["id"] for restaurant in ask(strict)["restaurants"]][5:8]
    age(store, "restaurants", "restaurant_id", old, 30)
    age(store, "users", "user_id", [USER], 10)
    explained = ask(strict, explain=True)
    freshness = explained["meta"]["freshness"]
    assert freshness | {"user_event_ts": None} == {
        "max_feature_age_s": MAX_AGE_S,
        "user_event_ts": None,
        "user_stale": True,
        "stale_restaurants": 3,
    }
    assert explained["meta"]["cold_start"] is True
    told = {name: datetime.fromisoformat(value) for name, value in freshness.items() if name == "user_event_ts"}
    assert (datetime.now(UTC) - told["user_event_ts"]).total_seconds() == pytest.approx(10 * 86_400, abs=60)
    artifact = Artifact.load(folder_of(own, own.tag))
    assert list(explained["meta"]["user_features"].values()) == artifact.user_mean.tolist()
    stored = dict(
        store.execute(
            "SELECT restaurant_id, event_ts FROM restaurants WHERE restaurant_id = ANY (%s)",
            ([restaurant["id"] for restaurant in explained["restaurants"]],),
        ).fetchall()
    )
    for restaurant in explained["restaurants"]:
        features = restaurant["features"]
        assert features["stale"] is (restaurant["id"] in old)
        assert datetime.fromisoformat(features["event_ts"]) == stored[restaurant["id"]]
        if features["stale"]:
            assert list(features["restaurant"].values()) == artifact.restaurant_mean.tolist()
    unknown = ask(strict, UNKNOWN, explain=True)["meta"]
    assert (unknown["cold_start"], unknown["freshness"]["user_stale"]) == (True, False)
    assert unknown["freshness"]["user_event_ts"] is None


def test_the_metrics_of_ages_move_with_what_was_answered(strict: str, store: Connection) -> None:
    old = [restaurant["id"] for restaurant in ask(strict)["restaurants"]][:4]
    age(store, "restaurants", "restaurant_id", old, 8)
    age(store, "users", "user_id", [USER], 5)
    before = counted(strict)
    ask(strict)
    ask(strict, USER + 1)
    ask(strict, UNKNOWN)
    after = counted(strict)
    moved = {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)}
    assert moved.pop("hexbite_cold_starts_total") == 2
    assert moved.pop("hexbite_stale_rows_total user") == 1
    assert moved.pop("hexbite_stale_rows_total restaurant") == 3 * len(old)
    assert moved.pop("hexbite_feature_age_seconds_count user") == 2  # the unknown user has no row
    assert moved.pop("hexbite_feature_age_seconds_count restaurant") == 3
    assert moved.pop("hexbite_feature_age_seconds_sum user") == pytest.approx(5 * 86_400, abs=1_000)
    assert moved.pop("hexbite_feature_age_seconds_sum restaurant") == pytest.approx(3 * 8 * 86_400, abs=1_000)
    # Of the restaurants it is the oldest in the answer that counts: within two weeks, and not within one.
    week, fortnight = (f"hexbite_feature_age_seconds_bucket restaurant {days * 86_400.0}" for days in (7, 14))
    assert week not in moved and moved[fortnight] == 3


@pytest.mark.parametrize("when", ["now() + interval '9 days'", "'9999-12-31 23:59:59.999999+00'"])
def test_an_event_that_is_yet_to_come_is_not_old(strict: str, store: Connection, when: str) -> None:
    known = ask(strict)
    future = f"UPDATE {{}} SET event_ts = {when} WHERE {{}} = %s"
    store.execute(future.format("users", "user_id"), (USER,))
    store.execute(future.format("restaurants", "restaurant_id"), (known["restaurants"][0]["id"],))
    try:
        assert ask(strict) == known
        assert ask(strict, explain=True)["meta"]["freshness"]["stale_restaurants"] == 0
    finally:
        for table in ("users", "restaurants"):
            store.execute(f"UPDATE {table} SET event_ts = now() WHERE event_ts > now()")


def test_the_first_moment_that_the_store_takes_is_explained(url: str, store: Connection) -> None:
    for table in ("users", "restaurants"):
        store.execute(f"UPDATE {table} SET event_ts = '0001-01-01 00:00:00+00'")
    meta = ask(url, explain=True)["meta"]
    assert datetime.fromisoformat(meta["freshness"]["user_event_ts"]) == datetime.min.replace(tzinfo=UTC)


def test_where_no_age_is_set_nothing_is_too_old(url: str, store: Connection) -> None:
    known = ask(url)
    age(store, "users", "user_id", [USER], 9_000)
    age(store, "restaurants", "restaurant_id", [restaurant["id"] for restaurant in known["restaurants"]], 9_000)
    assert ask(url) == known
    explained = ask(url, explain=True)
    freshness = explained["meta"]["freshness"]
    assert (freshness["max_feature_age_s"], freshness["user_stale"], freshness["stale_restaurants"]) == (None, False, 0)
    assert not any(restaurant["features"]["stale"] for restaurant in explained["restaurants"])
    assert explained["meta"]["cold_start"] is False


# --- what does not get in ---


@pytest.mark.parametrize("table", ["users", "restaurants"])
@pytest.mark.parametrize(
    "features",
    [
        "NULL",
        "'{}'",
        "features[1:3]",
        "features || 1::real",
        "features[1:cardinality(features) - 1] || NULL::real",
        "features[1:cardinality(features) - 1] || 'NaN'::real",
        "ARRAY[features]",
    ],
)
def test_features_that_are_missing_or_of_another_width_are_refused_by_the_tables(
    own: Line, table: str, features: str
) -> None:
    with psycopg.connect(own.dsn) as connection:
        with pytest.raises(psycopg.errors.IntegrityError):
            connection.execute(f"UPDATE {table} SET features = {features}")
        connection.rollback()


def test_a_schema_that_changed_between_model_and_tables_is_a_503_from_the_start_and_whenever_rows_go(
    own: Line, server_dsn: str, tmp_path: Path
) -> None:
    schema = json.loads((own.data / "schema.json").read_text())
    schema["restaurant"][0]["name"] = "renamed"
    schema["user"][3]["fill"] = None
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    users = pl.read_parquet(own.data / "user_features.parquet")
    gap = pl.when(pl.col("user_id") == USER).then(None).otherwise(pl.col("f03")).alias("f03")
    users.with_columns(gap).write_parquet(tmp_path / "user_features.parquet")
    restaurants = pl.read_parquet(own.data / "restaurant_features.parquet")
    restaurants.rename({"f00": "renamed"}).write_parquet(tmp_path / "restaurant_features.parquet")
    dsn = new_database(server_dsn, "hexbite_ages")
    environment = {**own.environment, "DATABASE_URL": dsn}
    run("db", "upgrade", environment=environment)
    command = [sys.executable, "-m", "db", "load", str(tmp_path)]
    loaded = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    # A row that lacks what has no fill is left out, by name.
    assert loaded.returncode == 0
    assert f"id {USER}: f03: null without a fill" in loaded.stderr
    with psycopg.connect(dsn) as connection:
        found = connection.execute("SELECT count(*), count(*) FILTER (WHERE user_id = %s) FROM users", (USER,))
        assert found.fetchone() == (len(users) - 1, 0)
    with serve(environment, ready=False) as url:

        def asked() -> tuple[int, int]:
            answer = httpx.post(f"{url}/recommend/{USER}", json=HERE, timeout=30)
            return answer.status_code, httpx.get(f"{url}/readyz", timeout=30).status_code

        assert asked() == (503, 503)
        log = log_of(own, url)
        assert "the store has no features of the model's schema" in log.read_text()
        assert "python -m db load DIR" in log.read_text()
        run("db", "load", str(own.data), environment=environment)
        assert asked() == (200, 200)
        with psycopg.connect(dsn, autocommit=True) as connection:
            for table in ("users", "restaurants", "feature_schemas"):
                named = "SELECT schema_id FROM feature_schemas WHERE 'renamed' <> ALL (restaurant_features)"
                connection.execute(f"DELETE FROM {table} WHERE schema_id IN ({named})")
        assert asked() == (503, 503)
        assert "Traceback" not in log.read_text()
