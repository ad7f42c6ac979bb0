"""What a request is told of counters is what the training rows of the same moment are told, whoever answers.

ASKS=n asks so often in each test (`make parity`: 5,000).
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import polars as pl
import pytest

from data.replay.journal import Journal, read_journal
from data.replay.replay import us_to_text
from data.visits import TEST_SHARE
from db.memory.refresh import refresh
from tests.e2e.conftest import serve
from tests.e2e.pasts import make_town

ASKS = int(os.environ.get("ASKS", "250"))

TWO_WORKERS = {"BENTOML_CONFIG_OPTIONS": "services.hexbite.workers=2"}

# Some more than are asked about: a visit or two has nothing in reach.
VISITS = round(1.1 * ASKS / TEST_SHARE)

US_PER_S = 1_000_000


class Listed(NamedTuple):
    """A list of the test time: who chose among which places, from where, when; the rows' context by name ``(N,)``."""

    user: int
    places: list[int]
    lat_deg: float
    lng_deg: float
    at_us: int
    context: dict[str, np.ndarray]


def lists_of(data: Path) -> list[Listed]:
    """The first test lists in the order of their moments."""
    rows = pl.read_parquet(data / "test" / "*.parquet")
    stood = pl.read_parquet(data / "requests.parquet").select("user_id", "latitude", "longitude", time="at")
    told = [name for name in rows.columns if name not in ("user_id", "restaurant_id", "click", "list", "time")]
    rows = rows.join(stood, on=["user_id", "time"], how="inner", maintain_order="left")
    lists = [
        Listed(
            int(rows["user_id"][0]),
            rows["restaurant_id"].to_list(),
            float(rows["latitude"][0]),
            float(rows["longitude"][0]),
            int(rows["time"].to_physical()[0]),
            {name: rows[name].to_numpy() for name in told},
        )
        for _, rows in rows.group_by("list")
    ]
    return sorted(lists, key=lambda one: one.at_us)[:ASKS]


def ask(url: str, listed: Listed) -> dict[str, float]:
    """The greatest difference of each of a list's columns, relative past 1; over a connection of its own."""
    body = {
        "user_id": listed.user,
        "latitude": listed.lat_deg,
        "longitude": listed.lng_deg,
        "max_dist": 50_000,
        "size": 1_000,
        "candidate_restaurant_ids": listed.places,
        "at": us_to_text(listed.at_us),
        "explain": True,
    }
    answer = httpx.post(f"{url}/recommend", json=body, timeout=30)
    assert answer.status_code == 200, answer.text
    told = {one["id"]: one["features"]["context"] for one in answer.json()["restaurants"]}
    assert set(told) == set(listed.places)
    assert set(next(iter(told.values()))) == set(listed.context)
    return {
        name: float(
            np.abs(values - [told[place][name] for place in listed.places]).max() / max(1, np.abs(values).max())
        )
        for name, values in listed.context.items()
    }


def tell(url: str, events: list[dict[str, Any]]) -> None:
    if events:
        answer = httpx.post(f"{url}/events", json={"events": events}, timeout=60)
        assert (answer.status_code, answer.json()["taken"]) == (200, len(events)), answer.text


def assert_alike(differences: list[dict[str, float]]) -> None:
    worst = {name: max(one[name] for one in differences) for name in differences[0]}
    assert len(worst) > 15  # the default counters, and what a request tells by itself
    assert {name: value for name, value in worst.items() if value > 1e-5} == {}


def assert_varied(lists: list[Listed]) -> None:
    """A column that is always the same would be alike by chance."""
    for name in lists[0].context:
        assert len(np.unique(np.concatenate([one.context[name] for one in lists]))) > 1, name


@pytest.mark.slow
def test_each_answer_knows_what_happened_before_its_moment_where_nothing_lags(server_dsn: str, tmp_path: Path) -> None:
    town = make_town(server_dsn, tmp_path, "parity", VISITS)
    lists, journal = lists_of(town.data), read_journal(town.data)
    assert_varied(lists)
    differences, told = [], journal.before_split
    with serve(town.environment | TWO_WORKERS) as url:
        for listed in lists:
            last = int(np.searchsorted(journal.happened.time_us, listed.at_us))
            tell(url, journal.happened.to_bodies(told, last))
            told = last
            differences.append(ask(url, listed))
    assert len(differences) == ASKS
    assert_alike(differences)


@pytest.mark.slow
def test_places_lag_as_in_training_while_people_do_not_whoever_of_two_is_told_and_asked(
    server_dsn: str, tmp_path: Path
) -> None:
    lag_s = 6 * 3_600
    town = make_town(server_dsn, tmp_path, "parity_lag", VISITS, lag_s=lag_s)
    lists, journal = lists_of(town.data), read_journal(town.data)
    differences: list[dict[str, float]] = []
    with serve(town.environment | TWO_WORKERS | {"HEXBITE_REFRESH_S": "off"}) as url, ThreadPoolExecutor(2) as both:
        first = journal.before_split
        for end_us, of_window in windows(lists, lag_s * US_PER_S):
            # Up to here everything was told by the threads of the windows before.
            assert refresh(town.dsn) is not None
            last = int(np.searchsorted(journal.happened.time_us, end_us))
            going = [both.submit(replay_some, url, journal, first, last, of_window, half) for half in range(2)]
            differences += [one for half in going for one in half.result()]
            first = last
    assert len(differences) == ASKS
    assert_alike(differences)


def windows(lists: list[Listed], lag_us: int) -> Iterator[tuple[int, list[Listed]]]:
    """The lists of each whole lag, and its end; those without any too, up to the last."""
    for window in range(lists[0].at_us // lag_us, lists[-1].at_us // lag_us + 1):
        end_us = (window + 1) * lag_us
        yield end_us, [one for one in lists if one.at_us // lag_us == window]


def replay_some(
    url: str, journal: Journal, first: int, last: int, lists: list[Listed], half: int
) -> list[dict[str, float]]:
    """Half of the people, each event and each list at its time: what they did, nobody else has to know yet."""
    happened = journal.happened
    mine = [(int(happened.time_us[row]), 1, row) for row in range(first, last) if happened.user_ids[row] % 2 == half]
    asked = [(one.at_us, 0, number) for number, one in enumerate(lists) if one.user % 2 == half]
    differences = []
    # At one moment the question comes first: an event is no part of what is known at it.
    for _, is_event, number in sorted(mine + asked):
        if is_event:
            tell(url, happened.to_bodies(number, number + 1))
        else:
            differences.append(ask(url, lists[number]))
    return differences
