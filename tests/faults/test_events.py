"""Postgres restarted, workers killed, a full disk while events come in: what was answered is there, and counts once."""

import itertools
import math
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import httpx
import psycopg
import pytest

from data.visits import CENTRE, Sizes, write_visits
from db.embedded import EmbeddedServer
from hexbite.ids import event_id_to_uuid
from tests.e2e.conftest import environment_of, run, serve
from tests.faults.conftest import filled, until
from tests.faults.test_processes import supervisor_of, workers_of

TELLERS = 4
BATCH = 5

# Places by their ids, and the people that each test has to itself.
PLACES = 8
PEOPLE = 5
_firsts = itertools.count(0, PEOPLE)

_PATIENCE_S = 60.0


class Told(NamedTuple):
    """An event that was answered with 200."""

    event_id: str
    user_id: int
    restaurant_id: int


@dataclass
class Shop:
    """A store that counts visits, of which it knows none at first, a model for it, and all that it was told."""

    server: EmbeddedServer
    dsn: str
    environment: Mapping[str, str]
    told: list[Told] = field(default_factory=list)


def make_shop(server: EmbeddedServer, home: Path) -> Shop:
    dsn = server.ensure_running()
    # Places lag a second: the service refreshes all the while.
    settings = {"BENTOML_CONFIG_OPTIONS": "services.hexbite.workers=2", "HEXBITE_REFRESH_S": "1"}
    environment = environment_of(dsn, home) | settings
    write_visits(home / "log", Sizes(people=40, places=PLACES * 5, visits=1_500, days=30), seed=1)
    data = home / "data"
    run("data", "log", str(home / "log" / "map.toml"), str(data), environment=environment)
    run("db", "upgrade", environment=environment)
    run("db", "load", str(data), environment=environment)
    run("training", "train", "--data", str(data), "--epochs", "1", environment=environment)
    return Shop(server, dsn, environment)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    home = tmp_path_factory.mktemp("shop")
    server = EmbeddedServer(home / "server")
    yield make_shop(server, home)
    server.stop()


@contextmanager
def telling(shop: Shop, url: str) -> Iterator[Counter[int | str]]:
    """Some who tell events for as long as the block runs, each again until it is answered; how answers ended.

    When it is left, every event that was ever sent has been answered with 200.
    """
    ended = threading.Event()
    statuses: Counter[int | str] = Counter()
    first = next(_firsts)
    people = range(first, first + PEOPLE)

    def tell(teller: int) -> list[Told]:
        told: list[Told] = []
        for number in itertools.count():
            if ended.is_set():
                return told
            batch = [
                Told(
                    f"{people.start} {teller} {number} {one}", people[(number + one) % PEOPLE], (number * one) % PLACES
                )
                for one in range(BATCH)
            ]
            tell_until_taken(url, batch, statuses)
            told += batch
        return told

    with ThreadPoolExecutor(TELLERS) as tellers:
        going = [tellers.submit(tell, teller) for teller in range(TELLERS)]
        try:
            yield statuses
        finally:
            ended.set()
            for one in going:
                shop.told += one.result()


def tell_until_taken(url: str, batch: list[Told], statuses: Counter[int | str]) -> None:
    now = datetime.now(UTC).isoformat()
    body = {"events": [one._asdict() | {"event": "visit", "event_ts": now} for one in batch]}
    deadline = time.monotonic() + _PATIENCE_S
    for attempt in itertools.count():
        try:
            answer = httpx.post(f"{url}/events", json=body, timeout=10)
        except httpx.HTTPError:
            statuses["cut off"] += 1
        else:
            statuses[answer.status_code] += 1
            if answer.status_code == 200:
                outcomes = {one["outcome"] for one in answer.json()["events"]}
                # What was taken and not answered is known when it is told again, all of it or none.
                assert len(outcomes) == 1
                assert outcomes == {"taken"} or (outcomes == {"known"} and attempt)
                return
            assert answer.status_code in (503, 504), answer.text
            assert answer.json()["error"]["code"] in ("unavailable", "timeout", "overloaded")
        assert time.monotonic() < deadline, statuses
        time.sleep(0.05)


def wait_for_more(statuses: Counter[int | str]) -> None:
    """Until everybody who tells has been answered again."""
    taken = statuses[200]
    until(lambda: statuses[200] > taken + TELLERS, _PATIENCE_S)


def assert_all_there_and_counted_once(shop: Shop, url: str) -> None:
    """In the archive by id, and by the counters of every person and place after a refresh."""
    run("db", "refresh", environment=shop.environment)
    with psycopg.connect(shop.dsn) as connection:
        stored = [row[0] for row in connection.execute("SELECT event_id FROM hexbite.events")]
        pending = connection.execute("SELECT count(*) FROM hexbite.pending_events").fetchone()
    assert sorted(stored) == sorted(event_id_to_uuid(one.event_id) for one in shop.told)
    assert pending == (0,)
    own = Counter((one.user_id, one.restaurant_id) for one in shop.told)
    of_person = Counter(one.user_id for one in shop.told)
    of_place = Counter(one.restaurant_id for one in shop.told)
    for user in of_person:
        body = {"user_id": user, "latitude": CENTRE[0], "longitude": CENTRE[1], "max_dist": 50_000}
        asked = body | {"candidate_restaurant_ids": list(range(PLACES)), "explain": True, "size": PLACES}
        answer = httpx.post(f"{url}/recommend", json=asked, timeout=30)
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["restaurants"]) == PLACES
        for restaurant in answer.json()["restaurants"]:
            context, place = restaurant["features"]["context"], restaurant["id"]
            counted = [math.expm1(context[name]) for name in ("own_visits", "person_visits", "place_visits")]
            assert counted == pytest.approx([own[user, place], of_person[user], of_place[place]], rel=1e-4)


def test_postgres_restarted_while_events_come_in(shop: Shop) -> None:
    with serve(shop.environment) as url:
        with telling(shop, url) as statuses:
            time.sleep(2)
            for _ in range(2):
                shop.server.stop()
                time.sleep(1)
                assert shop.server.ensure_running() == shop.dsn
                wait_for_more(statuses)
        print(f"restarts while events come in: {dict(statuses)}")
        assert statuses[503] + statuses["cut off"] > 0
        assert_all_there_and_counted_once(shop, url)


def test_workers_killed_while_events_come_in(shop: Shop) -> None:
    with serve(shop.environment) as url:
        supervisor = supervisor_of(url)
        with telling(shop, url) as statuses:
            for _ in range(3):
                time.sleep(1)
                until(lambda: len(workers_of(supervisor)) == 2, 60)
                workers_of(supervisor)[0].kill()
            wait_for_more(statuses)
        print(f"workers killed while events come in: {dict(statuses)}")
        assert_all_there_and_counted_once(shop, url)


def test_a_full_disk_while_events_come_in(small_disk: Path, tmp_path: Path) -> None:
    server = EmbeddedServer(small_disk / "server")
    try:
        shop = make_shop(server, tmp_path)
        with serve(shop.environment) as url:
            with telling(shop, url) as statuses:
                time.sleep(1)
                with filled(small_disk):
                    # What Postgres has laid out in advance is used up first.
                    until(lambda: statuses[503] > 0, _PATIENCE_S)
                    time.sleep(1)
                # A server that could not write its log has ended, and starts from what it holds.
                assert server.ensure_running() == shop.dsn
                wait_for_more(statuses)
            print(f"full disk while events come in: {dict(statuses)}")
            assert_all_there_and_counted_once(shop, url)
    finally:
        server.stop()
