"""A circle that holds too many is cut at the nearest, exactly, and no further than that is read."""

from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import psycopg
import pytest
import pytest_asyncio
import torch

from bento.contract.models import RecommendRequest
from bento.ranking.recommend import Recommender
from db.access.connections import Connections
from db.reading.online import FeatureStore, Snapshot
from db.reading.spread import Spread
from hexbite.artifact import Artifact
from hexbite.cover import Intervals
from hexbite.features import FeatureSchema
from hexbite.geo import degrees_to_cells, distances_m
from hexbite.networks import NETWORKS
from hexbite.ranker import Ranker
from tests.databases import new_database

SCHEMA = FeatureSchema.from_names(["a"], ["b"])
COUNT = 12_000
CITY = "hexbite_test_city"


@pytest.fixture(scope="module")
def city() -> dict[str, np.ndarray]:
    """A dense centre in a wide and thin surrounding, and a hundred restaurants at one and the same place."""
    draw = np.random.default_rng(8)
    dense = draw.normal(0, 0.01, (COUNT // 2, 2))
    thin = draw.uniform(-0.4, 0.4, (COUNT // 2 - 100, 2))
    away = np.concatenate((dense, thin, np.full((100, 2), 0.02)))
    lats, lngs = away[:, 0] + 51.5, away[:, 1] - 0.1
    ids = draw.permutation(COUNT).astype(np.int64) - 300
    return {"ids": ids, "lats": lats, "lngs": lngs}


@pytest.fixture(scope="module")
def dsn(server_dsn: str, template: str, city: dict[str, Any]) -> str:
    database = new_database(server_dsn, CITY, template)
    with psycopg.connect(database) as connection:
        connection.execute(
            "INSERT INTO feature_schemas (fingerprint, user_features, restaurant_features, context_features,"
            " user_fills, restaurant_fills) VALUES (%s, '{a}', '{b}', '{}', '{NULL}', '{NULL}')",
            (SCHEMA.fingerprint,),
        )
        cells = degrees_to_cells(city["lats"], city["lngs"]).tolist()
        copy = "COPY restaurants (schema_id, restaurant_id, latitude, longitude, h3_cell, features) FROM STDIN"
        with connection.cursor() as cursor, cursor.copy(copy) as rows:
            columns = (city["ids"].tolist(), city["lats"].tolist(), city["lngs"].tolist(), cells)
            for id_, lat, lng, cell in zip(*columns, strict=True):
                rows.write_row((1, id_, lat, lng, cell, [float(id_)]))
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE) restaurants")
    return database


class CountedStore(FeatureStore):
    """Notes how many restaurants each read returned."""

    def __init__(self, dsn: str) -> None:
        super().__init__(Connections(dsn, most=1, timeout_s=10), SCHEMA)
        self.read: list[int] = []

    async def nearby(self, user_id: int, cover: Intervals) -> Snapshot:
        snapshot = await super().nearby(user_id, cover)
        self.read.append(len(snapshot.restaurants))
        return snapshot


@pytest_asyncio.fixture
async def store(dsn: str) -> AsyncIterator[CountedStore]:
    opened = CountedStore(dsn)
    await opened.check()
    yield opened
    await opened.connections.close()


def recommender(store: FeatureStore, most: int) -> Recommender:
    torch.manual_seed(0)
    ranker = Ranker.fold(NETWORKS["mlp"](2), np.zeros(2), np.full(2, 5_000.0))
    artifact = Artifact(
        ranker=ranker, schema=SCHEMA, user_mean=np.zeros(1, np.float32), restaurant_mean=np.zeros(1, np.float32)
    )
    return Recommender("tag", artifact, store, most)


def expected(city: dict[str, np.ndarray], place: tuple[float, float], max_dist: float, most: int) -> list[int]:
    distance_m = distances_m(*place, city["lats"], city["lngs"])
    nearest = np.lexsort((city["ids"], distance_m))[:most]
    return [int(city["ids"][row]) for row in nearest if distance_m[row] <= max_dist]


@pytest.mark.parametrize("most", [1, 37, 700, 5_000])
@pytest.mark.parametrize("place", [(51.5, -0.1), (51.52, -0.08), (51.7, 0.2), (51.2, -0.45)])
async def test_the_nearest_are_kept_and_little_more_is_read(
    store: CountedStore, city: Any, place: tuple[float, float], most: int
) -> None:
    for max_dist in (200.0, 3_000.0, 50_000.0):
        store.read.clear()
        asked = {"latitude": place[0], "longitude": place[1], "max_dist": max_dist, "size": 1_000, "sort_dist": True}
        answer = await recommender(store, most).answer(RecommendRequest.model_validate(asked), 1)
        everything = expected(city, place, max_dist, COUNT)
        assert [one["id"] for one in answer.response["restaurants"]] == everything[:most][:1_000]
        assert answer.truncated == (len(everything) > most)
        # Without the cut some 12,000 would be read; dozens are read for one, where a cell holds as many.
        assert sum(store.read) < 12 * most + 600


@pytest.mark.parametrize("rows", [0.0, 1.0, 1e9])
async def test_the_answer_does_not_depend_on_what_was_expected(store: CountedStore, city: Any, rows: float) -> None:
    # Statistics of another day: nothing is known, far too little, far too much.
    store.spread = Spread(rows, None if rows == 0 else np.linspace(0, 2**60, 100).astype(int).tolist())
    for place in ((51.5, -0.1), (51.7, 0.2)):
        asked = {"latitude": place[0], "longitude": place[1], "max_dist": 30_000.0, "size": 1_000, "sort_dist": True}
        answer = await recommender(store, 500).answer(RecommendRequest.model_validate(asked), 1)
        assert [one["id"] for one in answer.response["restaurants"]] == expected(city, place, 30_000.0, 500)
        assert answer.truncated


async def test_candidates_are_never_cut(store: CountedStore, city: Any) -> None:
    asked = {
        "latitude": 51.5,
        "longitude": -0.1,
        "max_dist": 50_000.0,
        "size": 1_000,
        "sort_dist": True,
        "candidate_restaurant_ids": city["ids"][:900].tolist(),
    }
    answer = await recommender(store, 10).answer(RecommendRequest.model_validate(asked), 1)
    assert len(answer.response["restaurants"]) == 900
    assert not answer.truncated
