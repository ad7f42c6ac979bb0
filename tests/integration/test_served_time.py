"""The restaurant's clock on a real store: what the ranker is fed, what an answer tells, rows that name no zone."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import psycopg
import pytest
import pytest_asyncio
import torch

from bento.contract.models import RecommendRequest, RecommendResponse
from bento.ranking.recommend import Answer, Recommender
from db.access.connections import Connections
from db.reading.online import FeatureStore
from hexbite.features import Feature, FeatureSchema
from hexbite.ranker import Scorer, logits_to_scores
from hexbite.zones import zone_to_number
from tests.written import Connection, drawn_model, register, write_restaurants, write_users

# Where zones meet: Perth's clock is 45 minutes behind Eucla's.
HERE = (-31.68, 128.88)
CONTEXT = (Feature("hour"), Feature("distance_m"), Feature("weekday"))
SCHEMA = FeatureSchema((Feature("a"),), (Feature("b"), Feature("c")), CONTEXT)
ZONES = {1: "Australia/Eucla", 2: "Australia/Perth", 3: "Australia/Adelaide", 4: "Pacific/Kiritimati"}
AT = "2026-10-03T16:29:59Z"  # a second before Adelaide's clocks go forward
TOLD = {1: (1, 6), 2: (0, 6), 3: (1, 6), 4: (6, 6)}


@pytest.fixture
def store(migrated_database: str) -> Iterator[Connection]:
    with psycopg.connect(migrated_database, autocommit=True) as connection:
        schema_id = register(connection, SCHEMA)
        write_users(connection, schema_id, {7: [0.5]})
        places = {id_: ((HERE[0], HERE[1] + id_ * 1e-3), [float(id_), -1.0], zone) for id_, zone in ZONES.items()}
        write_restaurants(connection, schema_id, places)
        yield connection


@pytest_asyncio.fixture
async def connections(migrated_database: str, store: Connection) -> AsyncIterator[Connections]:
    opened = Connections(migrated_database, most=1, timeout_s=10)
    yield opened
    await opened.close()


def recommender(connections: Connections, **options: Any) -> Recommender:
    torch.manual_seed(0)
    return Recommender("tag", drawn_model(SCHEMA), FeatureStore(connections, SCHEMA), 10_000, **options)


async def answered(ranks: Recommender, **fields: Any) -> Answer:
    asked = {"latitude": HERE[0], "longitude": HERE[1], "at": AT, "explain": True} | fields
    return await ranks.answer(RecommendRequest.model_validate(asked), 7)


def by_id(answer: Answer) -> dict[int, Any]:
    return {restaurant["id"]: restaurant for restaurant in answer.response["restaurants"]}


@pytest.mark.parametrize("candidates", [None, [1, 2, 3, 4, 5]])
@pytest.mark.parametrize("max_dist", [2_000.0, 50_000.0])
async def test_hour_and_weekday_are_by_the_clock_of_each_restaurant(
    connections: Connections, candidates: list[int] | None, max_dist: float
) -> None:
    answer = await answered(recommender(connections), candidate_restaurant_ids=candidates, max_dist=max_dist)
    found = by_id(answer)
    told = {id_: one["features"]["context"] for id_, one in found.items()}
    assert {id_: (context["hour"], context["weekday"]) for id_, context in told.items()} == TOLD
    assert {id_: one["features"]["time_zone"] for id_, one in found.items()} == ZONES
    assert all(list(one["features"]["restaurant"].values()) == [id_, -1.0] for id_, one in found.items())
    assert answer.response["meta"]["at"] == datetime.fromisoformat(AT)
    RecommendResponse.model_validate(answer.response)


async def test_the_ranker_is_fed_what_an_explanation_tells_and_never_the_zones_number(connections: Connections) -> None:
    torch.manual_seed(0)
    scorer = Scorer(drawn_model(SCHEMA).ranker, 1)
    found = by_id(await answered(recommender(connections)))
    rows = np.array(
        [[*one["features"]["restaurant"].values(), *one["features"]["context"].values()] for one in found.values()],
        dtype=np.float32,
    )
    expected = logits_to_scores(scorer.logits(np.array([0.5], np.float32), rows))
    assert [one["score"] for one in found.values()] == pytest.approx(expected.tolist(), abs=1e-9)
    # An hour later clocks show something else, and so do scores.
    later = by_id(await answered(recommender(connections), at="2026-10-03T17:30:00Z"))
    assert all(later[id_]["score"] != found[id_]["score"] for id_ in found)


async def test_without_a_moment_it_is_now(connections: Connections) -> None:
    before = datetime.now(UTC)
    answer = await answered(recommender(connections), at=None)
    assert before <= answer.at <= datetime.now(UTC)
    told = by_id(answer)[4]["features"]["context"]["hour"]
    assert told in {(moment.hour + 14) % 24 for moment in (before, datetime.now(UTC))}


async def test_one_moment_is_one_answer_however_it_is_written(connections: Connections) -> None:
    ranks = recommender(connections)
    written = (AT, "2026-10-04T01:59:59+09:30", "2026-10-03T06:29:59-10:00")
    scores = [[one["score"] for one in by_id(await answered(ranks, at=at)).values()] for at in written]
    assert scores[0] == scores[1] == scores[2]


@pytest.mark.parametrize("number", [0.0, 5.5, -1.0, 16_777_215.0, 3e38])
@pytest.mark.parametrize("candidates", [None, [1, 2, 3, 4]])
async def test_a_row_of_no_known_zone_is_left_out_and_counted_and_the_others_are_answered(
    connections: Connections, store: Connection, number: float, candidates: list[int] | None
) -> None:
    ranks = recommender(connections)
    whole = by_id(await answered(ranks))
    store.execute("UPDATE restaurants SET features = features[1:2] || %s::real WHERE restaurant_id = 2", (number,))
    answer = await answered(ranks, candidate_restaurant_ids=candidates)
    found = by_id(answer)
    assert found == {id_: one for id_, one in whole.items() if id_ != 2}
    assert (answer.unplaced, answer.unnamed, answer.in_range) == (1, 0, 4)
    counts = answer.response["meta"]["counts"]
    assert (counts["in_range"], counts["scored"], counts["left_out"]) == (4, 3, 1)
    store.execute("UPDATE restaurants SET features = features[1:2] || %s::real", (number,))
    assert by_id(await answered(ranks, candidate_restaurant_ids=candidates)) == {}


async def test_a_row_that_is_too_old_keeps_its_zone(connections: Connections, store: Connection) -> None:
    store.execute("UPDATE restaurants SET event_ts = now() - interval '9 days' WHERE restaurant_id = 4")
    aged = by_id(await answered(recommender(connections, max_age_s=86_400.0)))[4]["features"]
    assert aged["stale"] is True
    assert list(aged["restaurant"].values()) == [0.0, 0.0]
    assert (aged["time_zone"], aged["context"]["hour"]) == ("Pacific/Kiritimati", TOLD[4][0])


async def test_a_model_of_local_time_is_rehearsed_and_its_fills_are_compared(connections: Connections) -> None:
    ranks = recommender(connections)
    await ranks.rehearse()
    assert await FeatureStore(connections, SCHEMA).check() == ()


async def test_a_plain_update_of_the_zone_shows_in_the_next_answer(connections: Connections, store: Connection) -> None:
    ranks = recommender(connections)
    number = zone_to_number("Europe/Lisbon")
    store.execute("UPDATE restaurants SET features = features[1:2] || %s::real WHERE restaurant_id = 1", (number,))
    told = by_id(await answered(ranks))[1]["features"]
    assert (told["time_zone"], told["context"]["hour"], told["context"]["weekday"]) == ("Europe/Lisbon", 17, 5)
