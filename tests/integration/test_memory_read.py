"""What a read brings of one person's memory, on a real Postgres: states and pending events of one snapshot."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import psycopg
import pytest
import pytest_asyncio

from bento.telling.bounds import Bounds
from db.access.connections import Connections
from db.access.session import TELLS, service_settings
from db.memory.refresh import refresh
from db.reading.memory import Memory
from db.reading.online import FeatureStore
from db.statements import SQL
from db.telling import EventsGone, EventStore, ToldEvents
from hexbite.counters.definitions import By, Counters, default_counters
from hexbite.counters.states import Layout, Stat
from hexbite.cover import circle_to_intervals
from hexbite.errors import StoreMisconfigured
from hexbite.features import FeatureSchema
from hexbite.ids import event_id_to_uuid
from tests.integration.test_plans import nodes
from tests.written import register, write_restaurants, write_users

HERE = (13.75, 100.5)
COUNTERS = Counters(default_counters(["order"]), lag_s=60)
SCHEMA = FeatureSchema.from_names(["a"], ["b"], ["distance_m"]).with_counters(COUNTERS)
PLAIN = FeatureSchema.from_names(["a"], ["b"], ["distance_m"])
NOW = datetime.now(UTC)
IDS = [40, -3, 7, 2**62]


@pytest.fixture
def dsn(migrated_database: str) -> str:
    with psycopg.connect(migrated_database) as connection:
        for schema in (SCHEMA, PLAIN):
            schema_id = register(connection, schema)
            write_users(connection, schema_id, {1: [0.5]})
            zone = "Asia/Bangkok" if schema.tells_local_time else None
            write_restaurants(connection, schema_id, {id_: (HERE, [2.0], zone) for id_ in IDS})
    return migrated_database


@pytest_asyncio.fixture
async def stores(dsn: str) -> AsyncIterator[tuple[FeatureStore, EventStore]]:
    reads = Connections(dsn, most=1, timeout_s=10)
    tells = Connections(dsn, most=2, timeout_s=10, role=TELLS)
    yield FeatureStore(reads, SCHEMA), EventStore(tells)
    await reads.close()
    await tells.close()


def told(*events: tuple[str, int, int, float], kind: str = "order") -> ToldEvents:
    """Events by their id, user, restaurant and seconds ago."""
    size = len(events)
    names, users, restaurants, ago_s = zip(*events, strict=True)
    times = [NOW - timedelta(seconds=each) for each in ago_s]
    nothing: list[None] = [None] * size
    ids = [event_id_to_uuid(name) for name in names]
    return ToldEvents(ids, users, restaurants, [kind] * size, times, *(nothing for _ in range(5)))


async def memory_of(store: FeatureStore, user: int) -> Memory:
    memory = (await store.nearby(user, circle_to_intervals(*HERE, 100.0))).memory
    assert memory is not None
    return memory


def visits(memory: Memory) -> dict[int, float]:
    layout = Layout.of(COUNTERS, By.PAIR)
    place = next(place for place, column in enumerate(layout.columns) if column.need.stat is Stat.COUNT)
    return dict(zip(memory.people.restaurants.tolist(), memory.people.pairs[:, place].tolist(), strict=True))


async def test_states_and_pending_events_add_up_before_and_after_a_refresh(
    dsn: str, stores: tuple[FeatureStore, EventStore]
) -> None:
    store, events = stores
    await events.tell(told(("a", 1, 40, 900), ("b", 1, -3, 600), ("c", 1, 40, 300), ("d", 2, 7, 300)))
    before = await memory_of(store, 1)
    assert (before.pending, visits(before)) == (3, {-3: 1, 40: 2})
    assert before.people.previous.tolist() == [40]
    refresh(dsn)
    after = await memory_of(store, 1)
    assert (after.pending, visits(after)) == (0, {-3: 1, 40: 2})
    assert after.refreshed_us > before.refreshed_us
    for name in ("states", "previous", "previous_us", "restaurants", "pairs"):
        np.testing.assert_array_equal(getattr(after.people, name), getattr(before.people, name))
    await events.tell(told(("e", 1, 2**62, 10), ("f", 1, 40, 20)))
    more = await memory_of(store, 1)
    assert (more.pending, visits(more)) == (2, {-3: 1, 40: 3, 2**62: 1})


@pytest.mark.parametrize("refreshed", [True, False])
async def test_arrivals_are_those_from_the_latest_visit_wherever_it_waits(
    dsn: str, stores: tuple[FeatureStore, EventStore], refreshed: bool
) -> None:
    store, events = stores
    # Somebody went from 40 to 7, and from -3 to 40.
    await events.tell(told(("a", 5, -3, 900), ("b", 5, 40, 800), ("c", 5, 7, 700)))
    refresh(dsn)
    await events.tell(told(("d", 1, 40, 500)))
    if refreshed:
        refresh(dsn)
    assert (await memory_of(store, 1)).arrivals[0].tolist() == [7]
    # Of two at one moment the greater id; what is no visit moves nobody.
    await events.tell(told(("e", 1, -3, 400), ("f", 1, -3, 300), ("g", 1, -7, 300)))
    assert (await memory_of(store, 1)).arrivals[0].tolist() == [40]
    await events.tell(told(("h", 1, 40, 100), kind="look"))
    assert (await memory_of(store, 1)).arrivals[0].tolist() == [40]


async def test_who_never_did_anything_has_an_empty_memory(stores: tuple[FeatureStore, EventStore]) -> None:
    for user in (1, 99):
        memory = await memory_of(stores[0], user)
        assert (memory.pending, visits(memory), len(memory.arrivals[0])) == (0, {}, 0)
        np.testing.assert_array_equal(memory.people.states, Layout.of(COUNTERS, By.USER).empty())
        assert memory.people.previous_us.tolist() == [-np.inf]


async def test_restaurants_come_with_their_states_by_every_way(
    dsn: str, stores: tuple[FeatureStore, EventStore]
) -> None:
    store, events = stores
    await events.tell(told(("a", 1, 40, 900), ("b", 2, 40, 800)))
    refresh(dsn)
    cover = circle_to_intervals(*HERE, 100.0)
    for read in (store.nearby(1, cover), store.candidates(1, IDS), store.candidates_nearby(1, IDS, cover)):
        found = (await read).restaurants
        states = dict(zip(found["id"].tolist(), found["state"].tolist(), strict=True))
        assert set(states) == set(IDS)
        layout = Layout.of(COUNTERS, By.RESTAURANT)
        place = next(place for place, column in enumerate(layout.columns) if column.need.stat is Stat.COUNT)
        assert [states[id_][place] for id_ in IDS] == [2, 0, 0, 0]


async def test_a_schema_without_counters_reads_no_memory(dsn: str) -> None:
    connections = Connections(dsn, most=1, timeout_s=10)
    snapshot = await FeatureStore(connections, PLAIN).nearby(1, circle_to_intervals(*HERE, 100.0))
    assert snapshot.memory is None
    assert snapshot.restaurants["state"].shape == (4, 0)
    await connections.close()


async def test_states_that_are_not_made_yet_are_said_and_never_an_answer_without_them(
    dsn: str, stores: tuple[FeatureStore, EventStore]
) -> None:
    await stores[0].check()
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE feature_schemas SET remembered_at = NULL")
    for read in (stores[0].check(), memory_of(stores[0], 1)):
        with pytest.raises(StoreMisconfigured, match="python -m db refresh"):
            await read


async def test_what_is_told_is_new_once_whoever_tells_it_at_the_same_time(
    stores: tuple[FeatureStore, EventStore],
) -> None:
    store, events = stores
    batch = [(f"event {number}", 1, 40, 60.0 + number) for number in range(200)]
    found = await asyncio.gather(events.tell(told(*batch)), events.tell(told(*batch[::-1])))
    assert len(found[0]) + len(found[1]) == 200 == len(found[0] | found[1])
    assert visits(await memory_of(store, 1)) == {40: 200}


async def test_what_the_store_keeps_no_more_is_told_with_its_bound(
    dsn: str, stores: tuple[FeatureStore, EventStore]
) -> None:
    bound = NOW - timedelta(days=400)
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE retention SET kept_since = %s", (bound,))
    with pytest.raises(EventsGone) as gone:
        await stores[1].tell(told(("a", 1, 40, 60), ("b", 1, 40, 401 * 86_400)))
    assert gone.value.bound == bound
    bounds = Bounds(None, 0)
    bounds.kept_since = gone.value.bound
    assert bounds.refusal(bound - timedelta(seconds=1), NOW) is not None
    assert visits(await memory_of(stores[0], 1)) == {}


async def test_a_login_that_may_not_tell_is_told_what_to_run(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS only_reads")
        connection.execute("CREATE ROLE only_reads LOGIN IN ROLE hexbite_reader")
    connections = Connections(as_user(dsn, "only_reads"), most=1, timeout_s=10, role=TELLS)
    with pytest.raises(StoreMisconfigured, match=r'tell it events.*GRANT hexbite_teller TO "only_reads"'):
        await EventStore(connections).tell(told(("a", 1, 40, 60)))
    await connections.close()


async def test_a_role_that_lacks_the_function_is_told_what_to_run(dsn: str) -> None:
    connections = Connections(dsn, most=1, timeout_s=10, role=TELLS)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("REVOKE EXECUTE ON FUNCTION tell_events FROM hexbite_teller")
    with pytest.raises(StoreMisconfigured, match=r"GRANT EXECUTE ON FUNCTION .*tell_events TO hexbite_teller"):
        await EventStore(connections).tell(told(("a", 1, 40, 60)))
    await connections.close()


def as_user(dsn: str, user: str) -> str:
    return f"{dsn}{'&' if '?' in dsn else '?'}user={user}"


@pytest.mark.parametrize("plan_cache_mode", ["force_custom_plan", "force_generic_plan"])
def test_the_memory_is_found_by_indexes_alone(dsn: str, plan_cache_mode: str) -> None:
    with psycopg.connect(dsn) as connection:
        for name, value in (service_settings("hexbite", 60_000) | {"plan_cache_mode": plan_cache_mode}).items():
            connection.execute("SELECT set_config(%s, %s, false)", (name, value))
        connection.execute(f"PREPARE read (text, bigint) AS {SQL['memory']}".encode())
        cursor = psycopg.ClientCursor(connection)
        cursor.execute("EXPLAIN (FORMAT JSON) EXECUTE read (%s, %s)", (SCHEMA.fingerprint, 1))
        ((explained,),) = cursor.fetchall()
    plan: list[dict[str, Any]] = list(nodes(explained[0]["Plan"]))
    touched = [node for node in plan if "Relation Name" in node]
    assert {node["Relation Name"] for node in touched} == {
        "feature_schemas",
        "user_states",
        "pending_events",
        "arrival_states",
        "restaurants",
    }
    assert {node["Node Type"] for node in touched} <= {"Index Scan", "Index Only Scan"}
    by_user = [node for node in touched if node["Relation Name"] == "pending_events"]
    assert {node["Index Name"] for node in by_user} == {"pending_events_by_user"}
