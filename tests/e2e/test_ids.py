"""The company's ids and the moment over HTTP: integers first, then, once deployed, text by the restaurant's clock."""

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import bentoml
import httpx
import psycopg
import pytest
import torch
from prometheus_client.parser import text_string_to_metric_families

import hexbite
from bento.contract.models import RecommendResponse
from bento.contract.openapi import document
from db.migrate import upgrade
from hexbite.features import Feature, FeatureSchema
from hexbite.ids import IdKinds
from tests.databases import new_database
from tests.e2e.conftest import ROOT, environment_of, run, serve
from tests.fuzz.wire import Request, Wire, judge
from tests.written import drawn_model, register, write_restaurants, write_users

HERE = {"latitude": 13.75, "longitude": 100.5}
BIG = 2**53 + 1
INTEGERS = FeatureSchema((Feature("a"),), (Feature("b"),), (Feature("distance_m"),))
CONTEXT = (Feature("distance_m"), Feature("hour"), Feature("weekday"))
TEXTS = FeatureSchema((Feature("a"),), (Feature("b"),), CONTEXT, ids=IdKinds("text", "text"))
USERS = ["U1", "u1", "a/b", "50%", "caf\u00e9", "\U0001f35c", "7", "u7", "..x", "a b+c?d#e;f", "x" * 128]
RESTAURANTS = ["R1", "r1", "42", "a/b", "\U0001f35c", '"quoted\\"', "R" * 128]


@dataclass(frozen=True)
class Served:
    """A store with rows of both kinds, a model of each, and the address of a service."""

    environment: dict[str, str]
    integers: str
    texts: str
    url: str

    def deploy(self, tag: str) -> None:
        run("bento", "deploy", tag, "--url", self.url, environment=self.environment)


@pytest.fixture(scope="module")
def served(server_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("ids")
    dsn = new_database(server_dsn, "hexbite_ids")
    upgrade(dsn)
    environment = environment_of(dsn, home)
    tags = []
    kinds: list[tuple[FeatureSchema, list[Any], list[Any]]] = [
        (INTEGERS, [7, BIG], [42, BIG, -5]),
        (TEXTS, USERS, RESTAURANTS),
    ]
    with psycopg.connect(dsn) as connection:
        for number, (schema, users, restaurants) in enumerate(kinds):
            schema_id = register(connection, schema)
            write_users(connection, schema_id, {id_: [float(place)] for place, id_ in enumerate(users)})
            zone = "Asia/Bangkok" if schema.tells_local_time else None
            rows = {
                id_: ((HERE["latitude"] + place * 1e-3, HERE["longitude"]), [float(place)], zone)
                for place, id_ in enumerate(restaurants)
            }
            write_restaurants(connection, schema_id, rows)
            folder = home / f"model-{number}"
            folder.mkdir()
            torch.manual_seed(number)
            drawn_model(schema).save(folder)
    for number in range(2):
        published = run("training", "publish", str(home / f"model-{number}"), environment=environment)
        tags.append(published.split()[-1])
    run("bento", "deploy", tags[0], environment=environment)
    with serve({**environment, "HEXBITE_SHADOW_MODEL": tags[1]}) as url:
        yield Served(environment, *tags, url)


@pytest.fixture(scope="module")
def texts(served: Served) -> Served:
    """The same service, after the model with text ids was deployed."""
    served.deploy(served.texts)
    return served


def post(served: Served, path: str = "/recommend", **fields: Any) -> httpx.Response:
    return httpx.post(f"{served.url}{path}", json=HERE | {"sort_dist": True} | fields, timeout=30)


def ids_of(answer: httpx.Response) -> list[Any]:
    assert answer.status_code == 200, answer.text
    RecommendResponse.model_validate_json(answer.content, strict=True)
    return [restaurant["id"] for restaurant in answer.json()["restaurants"]]


def refused(answer: httpx.Response) -> tuple[str, str]:
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    return error["field"], error["message"]


def shadowed(served: Served) -> dict[str, float]:
    return {
        sample.labels["outcome"]: sample.value
        for metric in text_string_to_metric_families(httpx.get(f"{served.url}/metrics").text)
        for sample in metric.samples
        if sample.name == "hexbite_shadow_total"
    }


def until_shadowed(served: Served, outcome: str, before: dict[str, float]) -> None:
    deadline = time.monotonic() + 20
    while shadowed(served)[outcome] == before[outcome]:
        assert time.monotonic() < deadline, shadowed(served)
        time.sleep(0.05)


def test_integers_come_back_as_they_were_sent(served: Served) -> None:
    assert ids_of(post(served, "/recommend/7")) == [42, BIG, -5]
    assert ids_of(post(served, f"/recommend/u{BIG}")) == [42, BIG, -5]
    assert ids_of(post(served, user_id=7)) == [42, BIG, -5]
    assert ids_of(post(served, user_id="u7")) == ["42", str(BIG), "-5"]
    assert ids_of(post(served, user_id="u7", size=1)) == [42]
    assert ids_of(post(served, "/recommend/7", candidate_restaurant_ids=[BIG, 9])) == [BIG]
    assert ids_of(post(served, "/recommend/7", candidate_restaurant_ids=[str(BIG), "9"])) == [str(BIG)]
    assert refused(post(served, "/recommend/7", candidate_restaurant_ids=["u7"]))[0] == "candidate_restaurant_ids"
    assert refused(post(served, "/recommend/U1"))[0] == "user_id"


def test_a_shadow_of_another_kind_scores_what_it_can_resolve(served: Served) -> None:
    before = shadowed(served)
    ids_of(post(served, "/recommend/7"))
    until_shadowed(served, "failed", before)
    before = shadowed(served)
    # By text, both know what is meant.
    ids_of(post(served, "/recommend/7", candidate_restaurant_ids=["42"]))
    until_shadowed(served, "scored", before)


def test_the_document_is_of_the_model_that_answers(served: Served) -> None:
    assert httpx.get(f"{served.url}/docs.json").json() == document(version=hexbite.__version__)


def test_a_split_of_another_kind_is_refused_before_anybody_is_answered(served: Served) -> None:
    split = {"HEXBITE_MODEL": served.integers, "HEXBITE_SPLIT_MODEL": served.texts, "HEXBITE_SPLIT_SHARE": "0.5"}
    with serve({**served.environment, **split}, ready=False) as url:
        assert httpx.get(f"{url}/readyz", timeout=30).status_code == 503
        answer = httpx.post(f"{url}/recommend/7", json=HERE, timeout=30)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "misconfigured")
        log = Path(served.environment["BENTOML_HOME"]) / f"serve-{url.rpartition(':')[2]}.log"
        said = log.read_text()
        assert f"{served.texts} cannot share the users with {served.integers}" in said
        assert "HEXBITE_SPLIT_MODEL" in said
        assert "Traceback" not in said


# --- from here on the model with text ids answers ---


@pytest.mark.parametrize("user", USERS)
def test_a_text_user_is_found_by_path_and_by_body(texts: Served, user: str) -> None:
    place = float(USERS.index(user))
    for answer in (
        post(texts, f"/recommend/{quote(user, safe='')}", explain=True),
        post(texts, user_id=user, explain=True),
        post(texts, f"/recommend/{quote(user, safe='')}", user_id=user, explain=True),
    ):
        assert ids_of(answer) == RESTAURANTS
        assert answer.headers["x-hexbite-model"] == texts.texts
        assert answer.json()["meta"]["user_features"] == {"a": place}
        assert answer.json()["meta"]["cold_start"] is False


def test_an_unknown_text_user_gets_the_mean_users_ranking(texts: Served) -> None:
    strangers = [post(texts, user_id=user, explain=True).json() for user in ("U1 ", " U1", "U01", "nobody")]
    assert all(answer["meta"]["cold_start"] for answer in strangers)
    assert all(answer["restaurants"] == strangers[0]["restaurants"] for answer in strangers)


def test_text_candidates_come_back_as_text(texts: Served) -> None:
    asked = [*reversed(RESTAURANTS), "R1", "R1 ", "unknown"]
    assert ids_of(post(texts, "/recommend/U1", candidate_restaurant_ids=asked)) == RESTAURANTS
    assert ids_of(post(texts, "/recommend/U1", candidate_restaurant_ids=["a/b", "r1"])) == ["r1", "a/b"]
    assert ids_of(post(texts, "/recommend/U1", candidate_restaurant_ids=[])) == []


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"user_id": 7}, "user_id", "must be text"),
        ({"user_id": "a\0"}, "user_id", "NUL"),
        ({"user_id": ""}, "user_id", "empty"),
        ({"user_id": "é" * 65}, "user_id", "128 bytes"),
        ({"user_id": "U1", "candidate_restaurant_ids": [42]}, "candidate_restaurant_ids", "must be text"),
        ({"user_id": "U1", "candidate_restaurant_ids": ["42", 42]}, "candidate_restaurant_ids", "must be text"),
        ({"user_id": "U1", "candidate_restaurant_ids": ["R1", ""]}, "candidate_restaurant_ids", "empty"),
        ({"user_id": "U1", "candidate_restaurant_ids": ["R1", "x" * 129]}, "candidate_restaurant_ids", "128 bytes"),
        ({"user_id": "U1", "at": "2026-03-29T18:30:00"}, "at", "offset"),
        ({"user_id": "U1", "at": "2026-02-30T18:30:00Z"}, "at", "calendar"),
        ({"user_id": "U1", "at": 1774801800}, "at", "text"),
    ],
)
def test_a_field_of_another_kind_is_refused_by_name(texts: Served, fields: Any, field: str, said: str) -> None:
    named, message = refused(post(texts, **fields))
    assert named == field
    assert said in message


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"/recommend/a%2Fb", 200),
        (b"/recommend/a/b", 404),
        (b"/recommend%2FU1", 404),
        (b"/%72ecommend/U1", 200),
        (b"/recommend/U1?user_id=u1", 200),
        (b"/recommend/", 404),
        (b"/recommend/%00", 400),
        (b"/recommend/%FF", 400),
        (b"/recommend/%ED%A0%80", 400),
        (b"/recommend/50%", 400),
        (b"/recommend/50%25", 200),
        (b"/recommend/" + b"x" * 129, 400),
        (b"/recommend/" + b"%C3%A9" * 65, 400),
    ],
)
def test_a_path_is_read_as_it_was_sent(texts: Served, target: bytes, status: int) -> None:
    wire = Wire(texts.url)
    answer = wire.ask(Request(target, b'{"latitude": 13.75, "longitude": 100.5}'))
    wire.close()
    judge(answer)
    assert answer.status == status
    if status == 400:
        assert answer.error["field"] == "user_id"


@pytest.mark.parametrize("escape", [b"\\ud800", b"\\udc00\\ud800", b"\\ud800x"])
def test_half_a_surrogate_pair_is_refused(texts: Served, escape: bytes) -> None:
    wire = Wire(texts.url)
    for field in (b'"user_id": "%s"', b'"user_id": "U1", "candidate_restaurant_ids": ["%s"]'):
        body = b'{"latitude": 13.75, "longitude": 100.5, ' + field % escape + b"}"
        answer = wire.ask(Request(b"/recommend", body))
        judge(answer)
        assert answer.status == 400
    wire.close()


def test_the_moment_is_told_by_the_restaurants_clock(texts: Served) -> None:
    for at, told in (("2026-03-29T18:30:00Z", (1, 0)), ("1969-12-31T12:00:00-05:00", (0, 3))):
        answer = post(texts, "/recommend/U1", at=at, explain=True)
        assert ids_of(answer) == RESTAURANTS
        for restaurant in answer.json()["restaurants"]:
            features = restaurant["features"]
            assert features["time_zone"] == "Asia/Bangkok"
            assert (features["context"]["hour"], features["context"]["weekday"]) == told
    assert post(texts, "/recommend/U1", explain=True).json()["meta"]["stages_ms"].keys() == {
        *("cover", "store", "distance", "score", "order", "keys"),
    }


def test_a_shadow_scores_text_ids_and_the_document_follows_the_model(texts: Served) -> None:
    before = shadowed(texts)
    ids_of(post(texts, "/recommend/U1"))
    until_shadowed(texts, "scored", before)
    ids = IdKinds("text", "text")
    assert httpx.get(f"{texts.url}/docs.json").json() == document(version=hexbite.__version__, ids=ids)
    assert "U1077" in httpx.get(f"{texts.url}/").text


def test_bentomls_own_client_sends_text(texts: Served) -> None:
    with bentoml.SyncHTTPClient(texts.url) as client:
        asked = {"user_id": "U1", **HERE, "candidate_restaurant_ids": ["R1", "\U0001f35c"]}
        assert {restaurant["id"] for restaurant in client.recommend(asked)["restaurants"]} == {"R1", "\U0001f35c"}


def test_a_restaurant_is_moved_by_the_id_of_both_kinds(texts: Served) -> None:
    command = [sys.executable, "-m", "db", "move", "42", "-33.86", "151.2"]
    moved = subprocess.run(command, cwd=ROOT, env=texts.environment, capture_output=True, text=True, timeout=60)
    assert moved.stdout == "restaurant 42 moved in 2 schemas: as an integer in 1, as text in 1\n", moved.stderr
    assert "42" not in ids_of(post(texts, "/recommend/U1"))
    there = {"latitude": -33.86, "longitude": 151.2}
    assert ids_of(post(texts, "/recommend/U1", **there)) == ["42"]
    run("db", "move", "--", "42", "13.752", "100.5", environment=texts.environment)
    refusal = subprocess.run(
        [*command[:4], "R9", "1", "2"], cwd=ROOT, env=texts.environment, capture_output=True, text=True
    )
    assert refusal.returncode == 1
    assert "no restaurant R9 is stored" in refusal.stdout + refusal.stderr
