"""`/events` over real HTTP: what is told counts in the next answer, of any worker, and says what became of it."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import numpy as np
import psycopg
import pytest

from hexbite.counters.clocks import CLOCKS, slots
from hexbite.counters.definitions import By, Counters
from hexbite.counters.past import Past, PastEvents
from tests.e2e.conftest import Line, serve
from tests.e2e.counted import COUNTERS, Place, counted_line, places_of

NOW = datetime.now(UTC).replace(microsecond=125_000)


@pytest.fixture(scope="module")
def counted(server_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Line:
    return counted_line(server_dsn, tmp_path_factory.mktemp("counted"), "hexbite_counted", lag_s=60)


@pytest.fixture(scope="module")
def places(counted: Line) -> list[Place]:
    return places_of(counted)


@pytest.fixture(scope="module")
def client(counted: Line) -> Iterator[httpx.Client]:
    """Two workers, which answer what is told when it is refreshed: nothing lags."""
    settings = {"BENTOML_CONFIG_OPTIONS": "services.hexbite.workers=2", "HEXBITE_REFRESH_S": "0"}
    with (
        serve({**counted.environment, **settings, "HEXBITE_REQUEST_TIMEOUT_S": "20"}) as url,
        # A new connection each: they spread over the workers.
        httpx.Client(base_url=url, timeout=30, limits=httpx.Limits(max_keepalive_connections=0)) as client,
    ):
        yield client


def event(name: str, user: object, place: Place, ago_s: float, kind: str = "order", **more: Any) -> dict[str, Any]:
    at = (NOW - timedelta(seconds=ago_s)).isoformat()
    return {"event_id": name, "user_id": user, "restaurant_id": place.id, "event": kind, "event_ts": at} | more


def tell(client: httpx.Client, *events: dict[str, Any]) -> Any:
    answer = client.post("/events", json={"events": events})
    assert answer.status_code == 200, answer.text
    return answer.json()


def ask(client: httpx.Client, user: int, place: Place, at: datetime = NOW) -> Any:
    body = {"latitude": place.latitude, "longitude": place.longitude, "candidate_restaurant_ids": [place.id]}
    answer = client.post(f"/recommend/{user}", json=body | {"explain": True, "at": at.isoformat()})
    assert answer.status_code == 200, answer.text
    return answer.json()


def counted_of(answer: Any) -> dict[str, float]:
    return answer["restaurants"][0]["features"]["context"]


def expected(told: Sequence[dict[str, Any]], user: int, place: Place, places: list[Place]) -> dict[str, float]:
    """What a training row of the moment is told, of the same events."""
    counters = Counters(COUNTERS)
    of = {one.id: number for number, one in enumerate(places)}

    def at_clock(moment: datetime, zone: str) -> list[int]:
        local = moment.astimezone(ZoneInfo(zone))
        return [int(slots(clock, np.array([local.hour]), np.array([local.weekday()]))[0]) for clock in CLOCKS]

    moments = [datetime.fromisoformat(one["event_ts"]) for one in told]
    rows = [of[one["restaurant_id"]] for one in told]
    in_slots = [at_clock(moment, places[row].zone) for moment, row in zip(moments, rows, strict=True)]
    events = PastEvents(
        np.array([int(one["user_id"]) for one in told]),
        np.array(rows),
        np.array([counters.kinds.index(one["event"]) for one in told]),
        np.array([round(moment.timestamp() * 1e6) for moment in moments]),
        {clock: np.array([each[n] for each in in_slots]) for n, clock in enumerate(CLOCKS)},
    )
    now = {clock: np.array([slot]) for clock, slot in zip(CLOCKS, at_clock(NOW, place.zone), strict=True)}
    past = Past(counters, events, np.array([one.id for one in places]))
    found = past.rows(np.array([user]), np.array([of[place.id]]), np.array([round(NOW.timestamp() * 1e6)]), now)
    return dict(zip(counters.names, found[0].tolist(), strict=True))


@pytest.mark.parametrize("number", range(len(COUNTERS)), ids=[counter.name for counter in COUNTERS])
def test_an_event_changes_each_counter_as_a_training_row_would_have_it(
    client: httpx.Client, places: list[Place], number: int
) -> None:
    counter = COUNTERS[number]
    # People and places of its own; both people come from one place.
    me, other = 1_000 + 2 * number, 1_001 + 2 * number
    home, there = places[2 * number], places[2 * number + 1]
    before = [event(f"{counter.name}-home-{user}", user, home, 7_200) for user in (me, other)]
    tell(client, *before)
    unchanged = counted_of(ask(client, me, there))
    who = other if counter.by is By.PREVIOUS else me
    news = event(f"{counter.name}-there", who, there, 3_600, counter.events[0])
    assert tell(client, news)["events"] == [{"event_id": news["event_id"], "outcome": "taken"}]
    for _ in range(4):  # whichever worker
        changed = counted_of(ask(client, me, there))
        assert changed[counter.name] != unchanged[counter.name]
        assert changed == pytest.approx(expected([*before, news], me, there, places), rel=1e-5, abs=1e-5)


def test_what_was_told_counts_in_the_next_answer_of_any_worker(client: httpx.Client, places: list[Place]) -> None:
    place, user = places[100], 2_000
    for orders in range(1, 15):
        tell(client, event(f"next-{orders}", user, place, 1_000 - orders))
        assert counted_of(ask(client, user, place))["own_visits"] == pytest.approx(np.log1p(orders))


def test_an_answer_says_of_each_event_in_order_what_became_of_it(client: httpx.Client, places: list[Place]) -> None:
    place, user = places[101], 2_001
    first = event("outcome-1", user, place, 60)
    tell(client, first)
    told = tell(
        client,
        first,
        event("outcome-2", user, place, 8 * 86_400),
        event("outcome-3", user, place, 50, "an unknown kind"),
        event("outcome-4", user, place, -3_600),
        event("outcome-5", user, place, 40) | {"event_id": 5},
        event("outcome-5", user, place, 40) | {"event_id": "5"},
    )
    outcomes = [(one["outcome"], one.get("reason")) for one in told["events"]]
    assert outcomes == [
        ("known", None),
        ("refused", "too_late"),
        ("taken", None),
        ("refused", "in_the_future"),
        ("taken", None),
        ("known", None),
    ]
    assert [one["event_id"] for one in told["events"]] == [
        "outcome-1", "outcome-2", "outcome-3", "outcome-4", 5, "5",
    ]  # fmt: skip
    assert "604,800 seconds back" in told["events"][1]["message"]
    assert (told["taken"], told["known"], told["refused"]) == (2, 2, 2)
    assert counted_of(ask(client, user, place))["own_visits"] == pytest.approx(np.log1p(2))


def test_an_id_counts_once_whatever_is_told_with_it_and_whoever_tells_it(
    client: httpx.Client, places: list[Place]
) -> None:
    place, user = places[102], 2_002
    one = event("once", user, place, 60)
    assert tell(client, one, one, one)["taken"] == 1
    assert (
        tell(client, one | {"event": "look"}, one | {"event_ts": (NOW - timedelta(days=2)).isoformat()})["known"] == 2
    )
    assert counted_of(ask(client, user, place))["own_visits"] == pytest.approx(np.log1p(1))
    assert counted_of(ask(client, user, place))["own_looks"] == 0


def test_all_that_an_event_says_is_kept(client: httpx.Client, counted: Line, places: list[Place]) -> None:
    more = {"latitude": 13.5, "longitude": -100, "request_id": "a.b-1", "position": 7.0, "value": 12}
    assert tell(client, event("whole", "u02003", places[103], 60, **more))["taken"] == 1
    with psycopg.connect(counted.dsn) as connection:
        kept = connection.execute(
            "SELECT user_id, restaurant_id, kind, latitude, longitude, request_id, position, value FROM events"
            " WHERE user_id = 2003"
        ).fetchall()
    assert kept == [(2003, places[103].id, "order", 13.5, -100.0, "a.b-1", 7, 12.0)]


def test_a_person_and_a_place_without_a_row_are_remembered_all_the_same(
    client: httpx.Client, places: list[Place]
) -> None:
    nowhere = Place(10**15, 0.0, 0.0, "UTC")
    assert tell(client, event("nowhere", 2_004, nowhere, 60), event("somewhere", 2_004, places[104], 30))["taken"] == 2
    answer = ask(client, 2_004, places[104])
    assert answer["meta"]["cold_start"] is True
    assert counted_of(answer)["person_places"] == pytest.approx(np.log1p(2))


def test_the_answer_says_how_much_it_knows(client: httpx.Client, places: list[Place]) -> None:
    memory = ask(client, 2_005, places[105])["meta"]["memory"]
    assert (memory["lag_s"], memory["refresh_s"], memory["pending_events"]) == (60, 0, 0)
    assert datetime.fromisoformat(memory["places_refreshed_at"]) <= datetime.now(UTC)


def refused(client: httpx.Client, body: Any, status: int = 400) -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = client.post("/events", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text
    assert list(answer.json()["error"]) == ["code", "message", "field"]
    assert answer.headers["x-request-id"] and answer.headers["x-hexbite-model"]
    return answer.json()["error"]


WRONG = [
    ({"event_id": ""}, "event_id"),
    ({"event_id": None}, "event_id"),
    ({"event_id": 1.5}, "event_id"),
    ({"event_id": "x" * 129}, "event_id"),
    ({"event_id": "a\0b"}, "event_id"),
    ({"user_id": "x7"}, "user_id"),
    ({"user_id": None}, "user_id"),
    ({"user_id": 2**63}, "user_id"),
    ({"user_id": True}, "user_id"),
    ({"restaurant_id": "R1"}, "restaurant_id"),
    ({"restaurant_id": "u7"}, "restaurant_id"),
    ({"restaurant_id": [1]}, "restaurant_id"),
    ({"event": ""}, "event"),
    ({"event": "x" * 129}, "event"),
    ({"event": 5}, "event"),
    ({"event": "a\0"}, "event"),
    ({"event_ts": "2026-11-25T10:00:00"}, "event_ts"),
    ({"event_ts": "2026-11-25"}, "event_ts"),
    ({"event_ts": 1_700_000_000}, "event_ts"),
    ({"event_ts": "2026-02-30T10:00:00Z"}, "event_ts"),
    ({"latitude": 91, "longitude": 0}, "latitude"),
    ({"latitude": "1", "longitude": 0}, "latitude"),
    ({"latitude": 1}, ""),
    ({"longitude": 1}, ""),
    ({"request_id": "a b"}, "request_id"),
    ({"request_id": 7}, "request_id"),
    ({"position": -1}, "position"),
    ({"position": 2**31}, "position"),
    ({"position": 1.5}, "position"),
    ({"value": "1"}, "value"),
    ({"value": True}, "value"),
    ({"colour": "red"}, "colour"),
]


@pytest.mark.parametrize(("wrong", "field"), WRONG, ids=lambda value: str(value)[:40])
def test_what_is_wrong_is_named_with_its_place_and_nothing_is_taken(
    client: httpx.Client, counted: Line, places: list[Place], wrong: dict[str, Any], field: str
) -> None:
    right = event("of a wrong request", 2_006, places[106], 60)
    error = refused(client, {"events": [right, right | wrong]})
    assert (error["code"], error["field"]) == ("invalid", "events")
    assert f"events.1{'.' if field else ''}{field}" in error["message"]
    with psycopg.connect(counted.dsn) as connection:
        assert connection.execute("SELECT count(*) FROM events WHERE user_id = 2006").fetchone() == (0,)


def test_a_body_that_tells_no_events_is_refused(client: httpx.Client, places: list[Place]) -> None:
    one = event("many", 2_007, places[107], 60)
    assert refused(client, {"events": []})["field"] == "events"
    assert "1000" in refused(client, {"events": [one] * 1_001})["message"]
    assert refused(client, {})["message"] == "events: is required"
    assert refused(client, b"")["message"] == "events: is required"
    assert refused(client, {"events": {}})["field"] == "events"
    assert refused(client, {"events": [7]})["message"].startswith("events.0: ")
    assert refused(client, {"events": [one], "colour": 1})["field"] == "colour"
    assert refused(client, b"[1]")["field"] is None
    assert refused(client, b'{"events": [{"value": NaN}]}')["code"] == "invalid"
    assert refused(
        client, json.dumps({"events": [one | {"value": 1}]}).replace('"value": 1', '"value": 1e999').encode()
    )


def test_it_keeps_the_rules_of_recommend(client: httpx.Client, places: list[Place]) -> None:
    one = {"events": [event("rules", 2_008, places[108], 60)]}
    assert client.get("/events").status_code == 405
    assert client.get("/events").headers["allow"] == "POST"
    for path in ("/events/", "/events/7", "/events/7/8"):
        assert client.post(path, json=one).json()["error"]["code"] == "not_found"
    content = json.dumps(one)
    assert client.post("/events", content=content, headers={"content-type": "text/plain"}).status_code == 415
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    assert client.post("/events", content=content, headers=headers).status_code == 415
    large = content.encode()[:-1] + b" " * (1 << 20) + b"}"
    assert client.post("/events", content=large, headers={"content-type": "application/json"}).status_code == 413
    answer = client.post("/events", json=one, headers={"x-request-id": "abc-1"})
    assert answer.headers["x-request-id"] == "abc-1"
    assert answer.json()["taken"] == 1
    many = client.post("/events", json={"events": one["events"] * 1_000}, headers={"accept-encoding": "gzip"})
    assert many.headers["content-encoding"] == "gzip"
    assert many.json()["known"] == 1_000


def test_a_kind_of_names_that_is_counted_nowhere_is_kept_and_counts_nothing(
    client: httpx.Client, places: list[Place]
) -> None:
    before = counted_of(ask(client, 2_009, places[109]))
    tell(client, event("kind", 2_009, places[109], 60, "Überraschung 🍜"))
    assert counted_of(ask(client, 2_009, places[109])) == before


def test_without_the_refresh_the_person_is_up_to_date_and_places_lag(counted: Line, places: list[Place]) -> None:
    place, user = places[110], 2_010
    with serve({**counted.environment, "HEXBITE_REFRESH_S": "off"}) as url, httpx.Client(base_url=url) as client:
        tell(client, event("lags", user, place, 60))
        answer = ask(client, user, place)
        features, memory = counted_of(answer), answer["meta"]["memory"]
        assert features["own_visits"] == features["person_visits"] == pytest.approx(np.log1p(1))
        assert features["place_visits"] == 0
        assert memory["pending_events"] == 1 and memory["refresh_s"] is None


def test_places_are_refreshed_by_the_service_itself(counted: Line, places: list[Place]) -> None:
    place, user = places[111], 2_011
    with serve({**counted.environment, "HEXBITE_REFRESH_S": "0.5"}) as url, httpx.Client(base_url=url) as client:
        tell(client, event("refreshed", user, place, 60))
        deadline = datetime.now(UTC) + timedelta(seconds=60)
        while counted_of(answer := ask(client, user, place))["place_visits"] == 0:
            assert datetime.now(UTC) < deadline
        assert counted_of(answer)["own_visits"] == pytest.approx(np.log1p(1))
        assert answer["meta"]["memory"]["pending_events"] == 0


def test_bounds_are_settings(counted: Line, places: list[Place]) -> None:
    settings = {"HEXBITE_MAX_EVENT_AGE_S": "none", "HEXBITE_MAX_EVENT_AHEAD_S": "7200", "HEXBITE_REFRESH_S": "off"}
    with serve({**counted.environment, **settings}) as url, httpx.Client(base_url=url) as client:
        old = event("old", 2_012, places[112], 400 * 86_400)
        ahead = event("ahead", 2_012, places[112], -3_600)
        oldest = old | {"event_id": "oldest", "event_ts": "0001-01-01T00:00:00+23:59"}
        told = tell(client, old, ahead, oldest)
        assert [one.get("reason") for one in told["events"]] == [None, None, "before_retention"]


def test_a_store_that_is_away_takes_nothing(counted: Line, tmp_path: Path, places: list[Place]) -> None:
    away = {**counted.environment, "DATABASE_URL": "postgresql://ann@127.0.0.1:1/none"}
    with serve(away, ready=False) as url:
        body = {"events": [event("away", 2_013, places[113], 60)]}
        answer = httpx.post(f"{url}/events", json=body, timeout=30)
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "unavailable"
    assert answer.headers["retry-after"] == "1"
