"""`/recommend` over real HTTP: the contract of requests, answers and errors."""

import gzip
import json
from typing import Any

import bentoml
import httpx
import numpy as np
import polars as pl
import pytest

from tests.e2e.conftest import Line, serve

HERE = {"latitude": 13.87, "longitude": 100.58}


@pytest.fixture(scope="module")
def client(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, timeout=30)


@pytest.fixture(scope="module")
def world(line: Line) -> pl.DataFrame:
    return pl.read_parquet(line.data / "restaurant_features.parquet")


def ask(client: httpx.Client, path: str = "/recommend/u00007", **fields: Any) -> Any:
    answer = client.post(path, json=HERE | fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


def metres(world: pl.DataFrame) -> np.ndarray:
    """Haversine, written out once more: the oracle shares no code with what it judges."""
    lat, lng = np.radians(HERE["latitude"]), np.radians(HERE["longitude"])
    lats, lngs = np.radians(world["latitude"].to_numpy()), np.radians(world["longitude"].to_numpy())
    chord = np.sin((lats - lat) / 2) ** 2 + np.cos(lat) * np.cos(lats) * np.sin((lngs - lng) / 2) ** 2
    return 2 * 6_371_008.8 * np.arcsin(np.sqrt(chord))


def test_an_answer_is_exactly_the_contracts(client: httpx.Client, line: Line) -> None:
    answer = client.post("/recommend/u00007", json=HERE, headers={"x-request-id": "abc-1"})
    assert list(answer.json()) == ["restaurants"]
    assert len(answer.json()["restaurants"]) == 20
    for restaurant in answer.json()["restaurants"]:
        assert list(restaurant) == ["id", "score", "displacement"]
        assert isinstance(restaurant["id"], int)
        assert 0 <= restaurant["score"] <= 1
    assert answer.headers["x-hexbite-model"] == line.tag
    assert answer.headers["x-request-id"] == "abc-1"
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("user", [7, "7", "u7", "u00007", "0007"])
def test_a_user_can_be_written_in_several_ways_in_path_and_body(client: httpx.Client, user: object) -> None:
    expected = ask(client, "/recommend/7")
    assert ask(client, f"/recommend/{user}") == expected
    assert ask(client, "/recommend", user_id=user) == expected
    assert ask(client, f"/recommend/{user}", user_id=user) == expected
    assert ask(client, "/recommend/8") != expected


def test_without_candidates_everything_in_range_is_ranked(client: httpx.Client, world: pl.DataFrame) -> None:
    near = set(world["restaurant_id"].to_numpy()[metres(world) <= 12_000].tolist())
    assert 100 < len(near) < 1_000
    for fields in ({}, {"candidate_restaurant_ids": None}):
        found = ask(client, max_dist=12_000, size=1_000, **fields)["restaurants"]
        assert {restaurant["id"] for restaurant in found} == near


def test_candidates_narrow_count_once_and_may_be_unknown(client: httpx.Client, world: pl.DataFrame) -> None:
    ids = world["restaurant_id"].to_numpy()
    in_range = ids[metres(world) <= 4_000][:30].tolist()
    out_of_range = ids[metres(world) > 4_100][:30].tolist()
    asked = [*in_range, *in_range, *out_of_range, 10**12, -5]
    found = ask(client, max_dist=4_000, size=1_000, candidate_restaurant_ids=asked)["restaurants"]
    assert sorted(restaurant["id"] for restaurant in found) == sorted(in_range)
    assert ask(client, candidate_restaurant_ids=[]) == {"restaurants": []}


def test_nobody_in_range_is_an_empty_answer(client: httpx.Client) -> None:
    assert ask(client, latitude=-45.0, longitude=179.999999) == {"restaurants": []}
    assert ask(client, latitude=90, longitude=0, max_dist=50_000) == {"restaurants": []}
    assert ask(client, max_dist=0) == {"restaurants": []}


def test_a_restaurant_at_the_very_spot_is_in_range_of_zero_metres(client: httpx.Client, world: pl.DataFrame) -> None:
    spot = world.row(5, named=True)
    found = ask(client, latitude=spot["latitude"], longitude=spot["longitude"], max_dist=0)["restaurants"]
    assert [(restaurant["id"], restaurant["displacement"]) for restaurant in found] == [(spot["restaurant_id"], 0.0)]


def test_order_is_by_score_or_by_distance(client: httpx.Client) -> None:
    by_score = ask(client, size=1_000)["restaurants"]
    assert [r["score"] for r in by_score] == sorted((r["score"] for r in by_score), reverse=True)
    by_distance = ask(client, size=1_000, sort_dist=True)["restaurants"]
    assert [r["displacement"] for r in by_distance] == sorted(r["displacement"] for r in by_distance)
    assert {r["id"]: r for r in by_score} == {r["id"]: r for r in by_distance}
    nearest = ask(client, size=3, sort_dist=True)["restaurants"]
    assert nearest == by_distance[:3]


def test_an_unknown_user_gets_the_ranking_of_the_mean_user(client: httpx.Client) -> None:
    stranger = ask(client, "/recommend/u999999", explain=True)
    assert stranger["meta"]["cold_start"] is True
    other = ask(client, "/recommend/-12345678901", explain=True)
    assert other["restaurants"] == stranger["restaurants"]
    assert ask(client, "/recommend/u7", explain=True)["meta"]["cold_start"] is False


def test_explain_adds_meta_and_features(client: httpx.Client, line: Line, world: pl.DataFrame) -> None:
    asked = [*world["restaurant_id"].to_list()[:500], 10**9]
    explained = ask(client, explain=True, size=1_000, candidate_restaurant_ids=[*asked, *asked[:3]])
    meta, restaurants = explained["meta"], explained["restaurants"]
    assert meta["model"] == line.tag
    counts = meta["counts"]
    assert (counts["asked"], counts["known"]) == (504, 500)
    assert counts["known"] >= counts["in_cover"] >= counts["in_range"] == counts["scored"] == len(restaurants) > 0
    assert set(meta["stages_ms"]) == {"cover", "store", "distance", "score", "order"}
    row = world.filter(pl.col("restaurant_id") == restaurants[0]["id"]).row(0, named=True)
    for name, value in restaurants[0]["features"]["restaurant"].items():
        assert value == pytest.approx(row[name], rel=1e-6)
    plain = ask(client, size=1_000, candidate_restaurant_ids=asked)["restaurants"]
    assert [{key: r[key] for key in ("id", "score", "displacement")} for r in restaurants] == plain


@pytest.mark.parametrize(
    "fields",
    [
        {"size": 7.0},
        {"size": 1e1},
        {"user_id": 7.0},
        {"candidate_restaurant_ids": [275.0, 3.0, -0.0]},
        {"candidate_restaurant_ids": [1, 2, 275.0, -5, 2.0**53 - 1]},
    ],
    ids=str,
)
def test_a_whole_number_with_a_point_is_an_integer(client: httpx.Client, fields: dict[str, Any]) -> None:
    whole = json.loads(json.dumps(fields), parse_float=lambda written: int(float(written)))
    assert "." in json.dumps(fields) and "." not in json.dumps(whole)
    everywhere = {"max_dist": 50_000}
    assert ask(client, **everywhere, **fields) == ask(client, **everywhere, **whole)


@pytest.mark.parametrize("written", ["9007199254740993.0", "9007199254740992.0", "-1e16", "1e300"])
def test_a_float_that_may_be_several_integers_is_refused_and_says_so(client: httpx.Client, written: str) -> None:
    for field, value in (("user_id", written), ("size", written), ("candidate_restaurant_ids", f"[1.0, 2, {written}]")):
        body = json.dumps(HERE)[:-1] + f', "{field}": {value}}}'
        error = refusal(client.post("/recommend", content=body), 400)
        assert error["field"] == field
        assert "2^53" in error["message"]
        assert error["message"].startswith(f"{field}.2: " if value.startswith("[") else f"{field}: ")


def test_of_a_list_of_ids_the_first_that_is_none_is_named(client: httpx.Client) -> None:
    for ids in ([1.0, 2, 20.5, "x"], [1, 2.0, "2", 1e300], [1, 2, True], [3.0, 2, None], [1.0, 2, 2**63]):
        error = refusal(client.post("/recommend/7", json=HERE | {"candidate_restaurant_ids": ids}), 400)
        assert error["message"].startswith("candidate_restaurant_ids.2: ")


BAD = [
    ({"latitude": 90.1}, "latitude"),
    ({"latitude": None}, "latitude"),
    ({"latitude": "13"}, "latitude"),
    ({"longitude": -180.5}, "longitude"),
    ({"size": 0}, "size"),
    ({"size": 1001}, "size"),
    ({"size": 2.5}, "size"),
    ({"size": True}, "size"),
    ({"max_dist": -1}, "max_dist"),
    ({"max_dist": 50_000.1}, "max_dist"),
    ({"sort_dist": 1}, "sort_dist"),
    ({"candidate_restaurant_ids": [1, "2"]}, "candidate_restaurant_ids"),
    ({"candidate_restaurant_ids": [1.5]}, "candidate_restaurant_ids"),
    ({"candidate_restaurant_ids": [2**63]}, "candidate_restaurant_ids"),
    ({"candidate_restaurant_ids": 5}, "candidate_restaurant_ids"),
    ({"candidate_restaurant_ids": list(range(10_001))}, "candidate_restaurant_ids"),
    ({"user_id": "x7"}, "user_id"),
    ({"user_id": 7.5}, "user_id"),
    ({"user_id": 2**63}, "user_id"),
    ({"user_id": True}, "user_id"),
    ({"user_id": 8}, "user_id"),
    ({"colour": "red"}, "colour"),
]


def refusal(answer: httpx.Response, status: int) -> Any:
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    assert list(answer.json()["error"]) == ["code", "message", "field"]
    assert "x-request-id" in answer.headers
    assert "x-hexbite-model" in answer.headers
    assert "Traceback" not in answer.text
    return answer.json()["error"]


@pytest.mark.parametrize(("fields", "field"), BAD, ids=lambda value: str(value)[:40])
def test_a_bad_field_is_refused_by_name(client: httpx.Client, fields: dict[str, Any], field: str) -> None:
    error = refusal(client.post("/recommend/7", json=HERE | fields), 400)
    assert (error["code"], error["field"]) == ("invalid", field)
    assert error["message"]


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/recommend", b'{"latitude": 13.8, "longitude": 100.5}', "user_id"),
        ("/recommend/7", b'{"latitude": 13.8}', "longitude"),
        ("/recommend/7", b'{"latitude": NaN, "longitude": 1}', "latitude"),
        ("/recommend/7", b'{"latitude": 1e400, "longitude": 1}', "latitude"),
        ("/recommend/7", b"", "latitude"),
        ("/recommend/7", b"[1, 2]", None),
        ("/recommend/7", b"{", None),
        ("/recommend/7", b'{"latitude": 13.8, "longitude": "\xff"}', None),
        ("/recommend/x7", b'{"latitude": 13.8, "longitude": 100.5}', "user_id"),
        ("/recommend/99999999999999999999", b'{"latitude": 13.8, "longitude": 100.5}', "user_id"),
        ("/recommend/u", b'{"latitude": 13.8, "longitude": 100.5}', "user_id"),
    ],
)
def test_a_bad_body_or_user_is_refused(client: httpx.Client, path: str, body: bytes, field: str | None) -> None:
    answer = client.post(path, content=body, headers={"content-type": "application/json"})
    assert refusal(answer, 400)["field"] == field


def test_every_other_error_has_the_same_form(client: httpx.Client) -> None:
    assert refusal(client.get("/nothing"), 404)["code"] == "not_found"
    assert refusal(client.post("/recommend/7/8", json=HERE), 404)["code"] == "not_found"
    assert refusal(client.post("/recommend/", json=HERE), 404)["code"] == "not_found"
    assert refusal(client.get("/recommend/7"), 405)["code"] == "method_not_allowed"
    assert client.get("/recommend").headers["allow"] == "POST"
    assert refusal(client.put("/recommend", json=HERE), 405)["code"] == "method_not_allowed"
    for media_type in ("text/plain", "application/vnd.bentoml+pickle", "multipart/form-data; boundary=x"):
        answer = client.post("/recommend/7", content=json.dumps(HERE), headers={"content-type": media_type})
        assert refusal(answer, 415)["code"] == "unsupported_media_type"
    large = b'{"latitude": 1' + b" " * (1 << 20) + b"}"
    headers = {"content-type": "application/json"}
    assert refusal(client.post("/recommend/7", content=large, headers=headers), 413)["code"] == "too_large"
    drip = (large[i : i + 65536] for i in range(0, len(large), 65536))
    assert refusal(client.post("/recommend/7", content=drip, headers=headers), 413)["code"] == "too_large"


LARGE = HERE | {"explain": True, "size": 1_000, "max_dist": 50_000}


@pytest.mark.parametrize(
    ("accepted", "is_compressed"),
    [
        ("gzip", True),
        ("br, GZIP ; Q=0.5", True),
        ("*", True),
        ("identity;q=0, *;q=0.1", True),
        ("gzip;q=0", False),
        ("*, gzip;q=0.0", False),
        ("*;q=0", False),
        ("gzip;q=0.5, identity", False),
        ("gzip;q=high", False),
        ("br", False),
        ("", False),
    ],
)
def test_a_large_answer_is_compressed_for_whom_it_may_be(
    client: httpx.Client, accepted: str, is_compressed: bool
) -> None:
    with client.stream("POST", "/recommend/7", json=LARGE, headers={"accept-encoding": accepted}) as answer:
        raw = b"".join(answer.iter_raw())
    assert answer.headers.get("content-encoding") == ("gzip" if is_compressed else None)
    assert answer.headers["vary"] == "Accept-Encoding"
    assert int(answer.headers["content-length"]) == len(raw)
    restaurants = json.loads(gzip.decompress(raw) if is_compressed else raw)["restaurants"]
    assert len(restaurants) == 1_000
    assert (len(raw) < 200_000) == is_compressed


def test_two_lines_of_what_is_accepted_are_one(client: httpx.Client) -> None:
    headers = [("accept-encoding", "gzip"), ("accept-encoding", "br")]
    assert client.post("/recommend/7", json=LARGE, headers=headers).headers["content-encoding"] == "gzip"


def test_an_ordinary_answer_is_sent_as_it_is(client: httpx.Client) -> None:
    for fields in ({}, {"explain": True}):
        answer = client.post("/recommend/7", json=HERE | fields, headers={"accept-encoding": "gzip"})
        assert "content-encoding" not in answer.headers
        assert "vary" not in answer.headers
    assert "access-control-allow-origin" not in client.get("/livez", headers={"origin": "https://a.example"}).headers


def test_the_page_is_of_the_model_that_answers_and_asks_for_nothing_else(client: httpx.Client, line: Line) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert f"<code>{line.tag}</code>" in page.text
    assert client.head("/").headers["content-length"] == str(len(page.content))
    assert refusal(client.post("/"), 405)["code"] == "method_not_allowed"
    # What the framework's page is made of is nobody's any more.
    assert refusal(client.get("/static_content/index.css"), 404)["code"] == "not_found"


def test_no_metric_label_takes_a_value_from_a_client(client: httpx.Client, line: Line) -> None:
    ask(client, "/recommend/u4321")
    client.get("/made-up-path")
    metrics = client.get("/metrics").text
    assert f'hexbite_recommend_seconds_count{{model="{line.tag}",status="200"}}' in metrics
    assert "4321" not in metrics
    assert "made-up-path" not in metrics


def test_bentoml_s_own_client_calls_it(url: str) -> None:
    with bentoml.SyncHTTPClient(url) as client:
        answer = client.recommend({"user_id": "u00007", **HERE})
    assert len(answer["restaurants"]) == 20


def test_a_setting_turns_unknown_fields_into_a_warning_and_another_cuts_at_the_nearest(line: Line) -> None:
    settings = {"HEXBITE_UNKNOWN_FIELDS": "warn", "HEXBITE_MAX_CANDIDATES": "50"}
    with serve({**line.environment, **settings}) as url, httpx.Client(base_url=url) as client:
        body = HERE | {"colour": "red", "taille\n": 1, "size": 1_000, "sort_dist": True}
        answer = client.post("/recommend/7", json=body)
        assert answer.status_code == 200
        assert answer.headers["x-hexbite-warning"] == "unknown fields ignored: colour, taille\\n"
        assert len(answer.json()["restaurants"]) == 50
        assert answer.headers["x-hexbite-truncated"] == "nearest 50"
        nearest = client.post("/recommend/7", json=HERE | {"size": 50, "sort_dist": True}).json()
        assert answer.json() == nearest
        few = client.post("/recommend/7", json=HERE | {"max_dist": 500})
        assert "x-hexbite-truncated" not in few.headers
