"""The reads of the service, on a real Postgres: what they return, and by which plan."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import psycopg
import pytest
import pytest_asyncio

import db.online
from db.online import FeatureStore
from db.statements import SQL
from hexbite.errors import SchemaError, StoreTimeout, StoreUnavailable
from hexbite.features import FeatureSchema
from hexbite.geo import Intervals, circle_to_intervals, degrees_to_cells, distances_m

SCHEMA = FeatureSchema.from_names(["a", "b"], ["c", "d", "e"])
OTHER = FeatureSchema.from_names(["a", "b"], ["c", "d"])
CENTRE = (13.75, 100.5)
COUNT = 20_000


@pytest.fixture(scope="module")
def town() -> dict[str, np.ndarray]:
    """Restaurants within some 25 km of the centre, with ids that are neither dense nor in order."""
    draw = np.random.default_rng(5)
    lats, lngs = CENTRE[0] + draw.uniform(-0.2, 0.2, COUNT), CENTRE[1] + draw.uniform(-0.2, 0.2, COUNT)
    ids = draw.permutation(COUNT).astype(np.int64) * 1_000_003 - 5_000_000_000
    features = draw.normal(size=(COUNT, 3)).astype(np.float32)
    return {"ids": ids, "lats": lats, "lngs": lngs, "cells": degrees_to_cells(lats, lngs), "features": features}


@pytest.fixture
def dsn(migrated_database: str, town: dict[str, Any]) -> Iterator[str]:
    with psycopg.connect(migrated_database) as connection:
        for schema in (SCHEMA, OTHER):
            connection.execute(
                "INSERT INTO feature_schemas (fingerprint, user_features, restaurant_features, context_features,"
                " user_fills, restaurant_fills) VALUES (%s, %s, %s, '{}', %s, %s)",
                (
                    schema.fingerprint,
                    list(schema.names("user")),
                    list(schema.names("restaurant")),
                    list(schema.fills("user")),
                    list(schema.fills("restaurant")),
                ),
            )
        ours, other = (
            connection.execute(
                "SELECT schema_id FROM feature_schemas WHERE fingerprint = %s", (s.fingerprint,)
            ).fetchone()
            for s in (SCHEMA, OTHER)
        )
        assert ours is not None and other is not None
        copy = "COPY restaurants (schema_id, restaurant_id, latitude, longitude, h3_cell, features) FROM STDIN"
        with connection.cursor() as cursor, cursor.copy(copy) as rows:
            columns = (town[name].tolist() for name in ("ids", "lats", "lngs", "cells", "features"))
            for id_, lat, lng, cell, features in zip(*columns, strict=True):
                rows.write_row((ours[0], id_, lat, lng, cell, features))
                # The other model's rows stand at the same places.
                rows.write_row((other[0], id_, lat, lng, cell, features[:2]))
        connection.execute("INSERT INTO users (schema_id, user_id, features) VALUES (%s, -7, '{1, 2.5}')", ours)
    with psycopg.connect(migrated_database, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE) restaurants")
    yield migrated_database


@pytest_asyncio.fixture
async def store(dsn: str) -> AsyncIterator[FeatureStore]:
    opened = await FeatureStore.open(dsn, SCHEMA, connections=2, timeout_s=10)
    yield opened
    await opened.close()


async def test_a_snapshot_holds_the_user_and_every_restaurant_in_range(store: FeatureStore, town: Any) -> None:
    for radius_m in (0.0, 500.0, 3_000.0, 20_000.0):
        snapshot = await store.read(-7, circle_to_intervals(*CENTRE, radius_m), None)
        assert snapshot.user is not None
        assert snapshot.user.tolist() == [1.0, 2.5]
        near = town["ids"][distances_m(*CENTRE, town["lats"], town["lngs"]) <= radius_m]
        assert set(near.tolist()) <= set(snapshot.ids.tolist())
        assert len(snapshot.ids) == len(set(snapshot.ids.tolist()))
        rows = {id_: row for row, id_ in enumerate(town["ids"].tolist())}
        order = [rows[id_] for id_ in snapshot.ids.tolist()]
        np.testing.assert_array_equal(snapshot.features, town["features"][order])
        np.testing.assert_array_equal(snapshot.lats_deg, town["lats"][order])
        np.testing.assert_array_equal(snapshot.lngs_deg, town["lngs"][order])


async def test_candidates_narrow_the_same_cover(store: FeatureStore, town: Any) -> None:
    cover = circle_to_intervals(*CENTRE, 5_000.0)
    everything = await store.read(-7, cover, None)
    candidates = np.unique(np.append(town["ids"][:4_000], [1, 2, 3]))
    narrowed = await store.read(-7, cover, candidates, count_known=True)
    assert set(narrowed.ids.tolist()) == set(everything.ids.tolist()) & set(candidates.tolist())
    assert len(narrowed.ids) > 50
    assert narrowed.known == 4_000
    nobody = await store.read(-7, cover, candidates[:0])
    assert nobody.features.shape == (0, 3)
    assert (await store.read(8, cover, candidates)).user is None


async def test_an_unregistered_schema_is_said_and_never_an_empty_answer(dsn: str) -> None:
    other = await FeatureStore.open(dsn, FeatureSchema.from_names(["z"], ["c"]), connections=1, timeout_s=10)
    with pytest.raises(SchemaError, match="db load"):
        await other.check()
    with pytest.raises(StoreUnavailable, match="schema"):
        await other.read(1, circle_to_intervals(*CENTRE, 100.0), None)
    await other.close()


async def test_other_fills_than_the_model_s_are_named(dsn: str, store: FeatureStore) -> None:
    assert await store.check() == ()
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "UPDATE feature_schemas SET restaurant_fills = '{NULL, 0.5, NULL}' WHERE fingerprint = %s",
            (SCHEMA.fingerprint,),
        )
    assert await store.check() == ("d",)


async def test_a_store_that_is_away_or_slow_is_said_so(dsn: str) -> None:
    away = await FeatureStore.open("postgresql://127.0.0.1:1/none", SCHEMA, connections=1, timeout_s=5)
    with pytest.raises(StoreUnavailable):
        await away.check()
    slow = await FeatureStore.open(dsn, SCHEMA, connections=1, timeout_s=0.3)
    with psycopg.connect(dsn) as blocker:
        blocker.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StoreTimeout):
            await slow.read(-7, circle_to_intervals(*CENTRE, 100.0), None)
        blocker.rollback()
    # The connection was given back: the next read has it.
    assert (await slow.read(-7, circle_to_intervals(*CENTRE, 100.0), None)).user is not None
    await slow.close()
    await away.close()


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


@pytest.mark.parametrize("plan_cache_mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("statement", ["nearby", "candidates"])
def test_the_prefilter_is_a_range_scan_of_the_cell_index(
    dsn: str, town: Any, statement: str, plan_cache_mode: str
) -> None:
    cover: Intervals = circle_to_intervals(*CENTRE, 5_000.0)
    arguments: list[Any] = [SCHEMA.fingerprint, -7, cover.lows.tolist(), cover.highs.tolist()]
    kinds = "text, bigint, bigint[], bigint[]"
    if statement == "candidates":
        arguments.append(town["ids"][:1_000].tolist())
        kinds += ", bigint[]"
    with psycopg.connect(dsn) as connection:
        for name, value in db.online._SESSION.items():
            connection.execute("SELECT set_config(%s, %s, false)", (name, value))
        connection.execute(f"SET plan_cache_mode = {plan_cache_mode}")
        connection.execute(f"PREPARE read ({kinds}) AS {SQL[statement]}")
        cursor = psycopg.ClientCursor(connection)
        holes = ", ".join(["%s"] * len(arguments))
        cursor.execute(f"EXPLAIN (FORMAT JSON, ANALYZE) EXECUTE read ({holes})", arguments)
        ((explained,),) = cursor.fetchall()
    plan = list(nodes((json.loads(explained) if isinstance(explained, str) else explained)[0]["Plan"]))
    indexes = [node for node in plan if "Index Name" in node]
    touched = {node["Node Type"] for node in plan if node.get("Relation Name") in ("restaurants", "users")}
    assert touched <= {"Index Scan", "Index Only Scan", "Bitmap Heap Scan"}
    (by_cell,) = (node for node in indexes if node["Index Name"] == "restaurants_by_cell")
    assert (
        by_cell["Node Type"]
        in {"nearby": ("Index Scan", "Bitmap Index Scan"), "candidates": ("Index Only Scan",)}[statement]
    )
    assert "h3_cell >=" in by_cell["Index Cond"]
    assert "h3_cell <=" in by_cell["Index Cond"]
    assert by_cell["Actual Loops"] == len(cover.lows)
