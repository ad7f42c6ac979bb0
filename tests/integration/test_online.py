"""The reads of the service, on a real Postgres: what they return, and by which plan."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import numpy as np
import psycopg
import pytest
import pytest_asyncio
from psycopg.conninfo import conninfo_to_dict

from db.access.connections import Connections
from db.migrate import downgrade
from db.reading.online import FeatureStore, Snapshot
from hexbite.cover import circle_to_intervals
from hexbite.errors import SchemaError, StoreMisconfigured, StoreTimeout, StoreUnavailable
from hexbite.features import FeatureSchema
from hexbite.geo import distances_m
from tests.conftest import DATABASE
from tests.databases import new_database
from tests.integration.town import CENTRE, SCHEMA, draw_town, fill

TOWN = "hexbite_test_town"


@pytest.fixture(scope="module")
def town() -> dict[str, np.ndarray]:
    return draw_town()


@pytest.fixture(scope="module")
def town_database(server_dsn: str, template: str, town: dict[str, Any]) -> str:
    """The name of a database that holds the town."""
    fill(new_database(server_dsn, TOWN, template), town)
    return TOWN


@pytest.fixture
def dsn(server_dsn: str, town_database: str) -> str:
    """The address of a town that the test may change."""
    return new_database(server_dsn, DATABASE, town_database)


@pytest_asyncio.fixture
async def store(dsn: str) -> AsyncIterator[FeatureStore]:
    opened = FeatureStore(Connections(dsn, most=2, timeout_s=10), SCHEMA)
    yield opened
    await opened.connections.close()


def ids_of(snapshot: Snapshot) -> set[int]:
    ids = snapshot.restaurants["id"].tolist()
    assert len(ids) == len(set(ids))
    return set(ids)


async def test_a_snapshot_holds_the_user_and_every_restaurant_in_range(store: FeatureStore, town: Any) -> None:
    for radius_m in (0.0, 500.0, 3_000.0, 20_000.0):
        snapshot = await store.nearby(-7, circle_to_intervals(*CENTRE, radius_m))
        assert snapshot.user is not None
        assert snapshot.user.tolist() == [1.0, 2.5]
        near = town["ids"][distances_m(*CENTRE, town["lats"], town["lngs"]) <= radius_m]
        assert set(near.tolist()) <= ids_of(snapshot)
        rows = {id_: row for row, id_ in enumerate(town["ids"].tolist())}
        order = [rows[id_] for id_ in snapshot.restaurants["id"].tolist()]
        np.testing.assert_array_equal(snapshot.restaurants["features"], town["features"][order])
        np.testing.assert_array_equal(snapshot.restaurants["lat_deg"], town["lats"][order])
        np.testing.assert_array_equal(snapshot.restaurants["lng_deg"], town["lngs"][order])


@pytest.mark.parametrize("count", [1, 900, 4_000])
async def test_candidates_in_a_cover_are_those_asked_for_and_no_others(
    store: FeatureStore, town: Any, count: int
) -> None:
    cover = circle_to_intervals(*CENTRE, 5_000.0)
    everything = ids_of(await store.nearby(-7, cover))
    # Ids that do not exist, the ends of their range, and ids that share the bit of one that exists.
    strange = [1, 2, 3, 2**63 - 1, -(2**63), int(town["ids"][0]) + 131_071, int(town["ids"][0]) + 1_048_575]
    asked = [*town["ids"][:count].tolist(), *strange]
    narrowed = await store.candidates_nearby(-7, asked, cover, count_known=True)
    assert ids_of(narrowed) == everything & set(asked)
    assert narrowed.known == count
    twice = await store.candidates_nearby(-7, asked + asked, cover)
    assert ids_of(twice) == ids_of(narrowed)
    by_id = await store.candidates(-7, asked + asked, count_known=True)
    assert ids_of(by_id) == set(town["ids"][:count].tolist())
    assert by_id.known == count
    assert (await store.candidates(8, asked)).user is None
    assert (await store.candidates_nearby(8, asked, cover)).user is None


async def test_no_candidates_are_no_restaurants(store: FeatureStore) -> None:
    for read in (store.candidates(-7, []), store.candidates_nearby(-7, [], circle_to_intervals(*CENTRE, 5_000.0))):
        snapshot = await read
        assert snapshot.user is not None
        assert snapshot.restaurants["features"].shape == (0, 3)


async def test_a_row_too_wide_for_the_index_is_read_all_the_same(dsn: str, town: Any) -> None:
    wide = FeatureSchema.from_names(["a"], [f"f{n}" for n in range(601)])
    values = np.arange(601, dtype=np.float32)
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "INSERT INTO feature_schemas (fingerprint, user_features, restaurant_features, context_features,"
            " user_fills, restaurant_fills) VALUES (%s, '{a}', %s, '{}', '{NULL}', array_fill(NULL::real, ARRAY[601]))",
            (wide.fingerprint, list(wide.names("restaurant"))),
        )
        connection.execute(
            "INSERT INTO restaurants (schema_id, restaurant_id, latitude, longitude, h3_cell, features)"
            " SELECT max(schema_id), 5, %s, %s, %s, %s FROM feature_schemas",
            (town["lats"][0], town["lngs"][0], int(town["cells"][0]), values.tolist()),
        )
    store = FeatureStore(Connections(dsn, most=1, timeout_s=10), wide)
    cover = circle_to_intervals(town["lats"][0], town["lngs"][0], 10.0)
    for read in (store.nearby(1, cover), store.candidates(1, [5]), store.candidates_nearby(1, [5], cover)):
        (restaurant,) = (await read).restaurants
        assert restaurant["id"] == 5
        np.testing.assert_array_equal(restaurant["features"], values)
    await store.connections.close()


async def test_how_many_restaurants_lie_in_a_circle_is_known_about(store: FeatureStore, town: Any) -> None:
    assert store.spread.rows_near(*CENTRE, 5_000.0) == 0.0
    await store.check()
    for radius_m in (1_000.0, 5_000.0, 15_000.0):
        there = np.count_nonzero(distances_m(*CENTRE, town["lats"], town["lngs"]) <= radius_m)
        # Both schemas' rows are counted.
        assert 0.4 * there < store.spread.rows_near(*CENTRE, radius_m) / 2 < 2.5 * there
    assert store.spread.rows_near(-40.0, 20.0, 5_000.0) == 0.0


async def test_an_unregistered_schema_is_said_and_never_an_empty_answer(dsn: str) -> None:
    other = FeatureStore(Connections(dsn, most=1, timeout_s=10), FeatureSchema.from_names(["z"], ["c"]))
    with pytest.raises(SchemaError, match="db load"):
        await other.check()
    cover = circle_to_intervals(*CENTRE, 100.0)
    for read in (other.nearby(1, cover), other.candidates(1, [1]), other.candidates_nearby(1, [1], cover)):
        with pytest.raises(SchemaError, match="schema"):
            await read
    await other.connections.close()


async def test_tables_of_an_older_revision_are_said_so(dsn: str, store: FeatureStore) -> None:
    downgrade(dsn, "0001")
    with pytest.raises(StoreMisconfigured, match="db upgrade"):
        await store.candidates(1, [1])


async def test_other_fills_than_the_model_s_are_named(dsn: str, store: FeatureStore) -> None:
    assert await store.check() == ()
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "UPDATE feature_schemas SET restaurant_fills = '{NULL, 0.5, NULL}' WHERE fingerprint = %s",
            (SCHEMA.fingerprint,),
        )
    assert await store.check() == ("d",)


async def test_a_store_that_is_away_or_slow_is_said_so(dsn: str) -> None:
    away = FeatureStore(Connections("postgresql://127.0.0.1:1/none", most=1, timeout_s=5), SCHEMA)
    with pytest.raises(StoreUnavailable):
        await away.check()
    slow = FeatureStore(Connections(dsn, most=1, timeout_s=0.3), SCHEMA)
    with psycopg.connect(dsn) as blocker:
        blocker.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StoreTimeout):
            await slow.candidates(-7, [1])
        blocker.rollback()
    # The place of the connection was given back: the next read has it.
    assert (await slow.candidates(-7, [1])).user is not None
    await slow.connections.close()
    await away.connections.close()


async def test_connections_are_shared_bounded_and_replaced_when_they_break(dsn: str, store: FeatureStore) -> None:
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'hexbite' AND datname = current_database()"
    await asyncio.gather(*(store.candidates(-7, [1]) for _ in range(20)))
    with psycopg.connect(dsn, autocommit=True) as connection:
        assert connection.execute(count).fetchone() == (2,)
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'hexbite'")
        await asyncio.sleep(0.2)
        await asyncio.gather(*(store.candidates(-7, [1]) for _ in range(20)))
        assert connection.execute(count).fetchone() == (2,)
        await store.connections.close()
        await asyncio.sleep(0.2)
        assert connection.execute(count).fetchone() == (0,)


class Wire:
    """Stands between the driver and the server, and counts how often the driver speaks and then listens."""

    def __init__(self, dsn: str) -> None:
        self._to = conninfo_to_dict(dsn)
        self._speaker = ""
        self.round_trips = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = str(self._to["host"]), str(self._to["port"])
        server = (
            asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
            if host.startswith("/")
            else asyncio.open_connection(host, int(port))
        )
        server_reader, server_writer = await server
        await asyncio.gather(self._carry("driver", reader, server_writer), self._carry("server", server_reader, writer))

    async def _carry(self, speaker: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            if speaker == "driver" and self._speaker != "driver":
                self.round_trips += 1
            self._speaker = speaker
            writer.write(data)
        writer.close()


async def test_a_request_is_one_round_trip(dsn: str) -> None:
    wire = Wire(dsn)
    listener = await asyncio.start_server(wire, "127.0.0.1", 0)
    parts = conninfo_to_dict(dsn)
    port = listener.sockets[0].getsockname()[1]
    store = FeatureStore(
        Connections(
            f"postgresql://{parts['user']}@127.0.0.1:{port}/{parts['dbname']}?sslmode=disable", most=1, timeout_s=10
        ),
        SCHEMA,
    )
    cover = circle_to_intervals(*CENTRE, 5_000.0)
    reads: list[tuple[Callable[..., Awaitable[Snapshot]], Any]] = [
        (store.nearby, (cover,)),
        (store.candidates, ([1, 2],)),
        (store.candidates_nearby, ([1, 2], cover)),
    ]
    for read, arguments in reads:
        await read(-7, *arguments)  # opens the connection, prepares the statement
        wire.round_trips = 0
        for _ in range(3):
            await read(-7, *arguments)
        assert wire.round_trips == 3
    await store.connections.close()
    listener.close()
