"""What was told ends in the same states in any order, by one refresher at a time, and nobody who reads waits for it."""

import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db.access.session import command_settings
from db.loading.load import load
from db.memory.refresh import refresh
from db.memory.turn import turn
from db.statements import SQL
from db.status import status
from hexbite.counters.definitions import By, Counter, Counters, Figure
from hexbite.errors import StoreError
from hexbite.features import FeatureSchema
from tests.benchmarks.bench_events_load import write_places
from tests.databases import new_database
from tests.integration.remembering import (
    SCHEMA,
    STATES,
    Event,
    assert_alike,
    assert_ways_alike,
    counts,
    register,
    remembered,
    tell,
    ways_later,
)


@pytest.fixture(scope="module")
def store(server_dsn: str, template: str) -> Iterator[str]:
    """A store that counts, for many examples."""
    dsn = new_database(server_dsn, "hexbite_test_refresh", template)
    register(dsn, restaurants=range(4))
    yield dsn


def forget_all(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"TRUNCATE events, event_ids, pending_events, {', '.join(STATES)}".encode())
        connection.execute("UPDATE feature_schemas SET remembered_at = NULL")
    refresh(dsn)


events = st.lists(
    st.builds(
        Event,
        id=st.just(""),
        user=st.integers(1, 3),
        restaurant=st.integers(0, 5),  # two of them have no row
        hours=st.integers(0, 60).map(lambda steps: steps * 13.0),
        kind=st.sampled_from(["visit", "visit", "click", "other"]),
    ),
    max_size=14,
).map(lambda told: [event._replace(id=str(number)) for number, event in enumerate(told)])


def without_way_times(states: dict[str, list[tuple[object, ...]]]) -> dict[str, list[tuple[object, ...]]]:
    """But for the last time of a way: one that was taken back leaves it, and fades what is left to it."""
    return {table: rows for table, rows in states.items() if table != "arrival_states"}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(told=events, data=st.data())
def test_any_order_in_any_parts_ends_in_the_states_of_all_at_once(
    store: str, told: list[Event], data: st.DataObject
) -> None:
    forget_all(store)
    tell(store, sorted(told, key=lambda event: event.hours))
    refresh(store)
    expected, expected_ways = remembered(store), ways_later(store)
    forget_all(store)
    shuffled = data.draw(st.permutations(told))
    cut = data.draw(st.integers(0, len(told)))
    for part in (shuffled[:cut], shuffled[cut:]):
        tell(store, part)
        refresh(store)
    found = remembered(store)
    assert_alike(without_way_times(found), without_way_times(expected))
    assert_ways_alike(ways_later(store), expected_ways)
    assert counts(store)["pending_events"] == 0
    # Made anew from what is kept, they are exactly those of all at once.
    with psycopg.connect(store, autocommit=True) as connection:
        connection.execute("UPDATE feature_schemas SET remembered_at = NULL")
    refresh(store)
    assert_alike(remembered(store), expected)


def ways(dsn: str, counters: Counters) -> dict[tuple[int, int], float]:
    """How often people went from one place to another, of a schema that counts nothing else by it."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT restaurant_id, places FROM arrival_states JOIN feature_schemas USING (schema_id)"
            " WHERE counters -> 'features' -> 0 ->> 'name' = %s",
            (counters.names[0],),
        ).fetchall()
    found = {}
    for came_from, places in rows:
        for start in range(0, len(places), 16):
            id_ = int.from_bytes(places[start : start + 8], "little", signed=True)
            found[came_from, id_] = struct.unpack("<d", places[start + 8 : start + 16])[0]
    return found


WAYS = Counters((Counter("ways", ("visit",), By.PREVIOUS, Figure.COUNT),))


@pytest.mark.parametrize(
    ("late", "expected"),
    [
        ((2, 12.0), {(1, 2): 1, (2, 3): 1}),  # between the two: their way is taken back
        ((2, 36.0), {(1, 3): 1, (3, 2): 1}),
        ((2, -12.0), {(2, 1): 1, (1, 3): 1}),
        ((2, 24.0), {(1, 3): 1, (1, 2): 1}),  # at the moment of the second: both come from the first
        ((2, 0.0), {(2, 3): 1}),  # at the moment of the first: the one with the greater id is the previous one
        ((0, 0.0), {(1, 3): 1}),
        ((2, -24.0 * 31), {(1, 3): 1}),  # longer ago than somebody comes from anywhere
        ((1, 12.0), {(1, 1): 1, (1, 3): 1}),
    ],
)
def test_a_late_visit_takes_back_the_way_that_it_interrupts(
    migrated_database: str, late: tuple[int, float], expected: dict[tuple[int, int], float]
) -> None:
    register(migrated_database, FeatureSchema.from_names(["a"], ["b"]).with_counters(WAYS))
    refresh(migrated_database)
    tell(migrated_database, [Event("a", 7, 1, 0.0), Event("b", 7, 3, 24.0)])
    refresh(migrated_database)
    assert ways(migrated_database, WAYS) == {(1, 3): 1}
    # Told to somebody else: no matter.
    tell(migrated_database, [Event("c", 7, *late), Event("d", 8, 2, 6.0)])
    refresh(migrated_database)
    assert ways(migrated_database, WAYS) == expected


def test_a_refresh_says_what_it_did_and_the_next_has_nothing_to_do(migrated_database: str) -> None:
    register(migrated_database, restaurants=range(3))
    first = refresh(migrated_database)
    assert first is not None
    assert (first.made, first.events) == ((SCHEMA.fingerprint,), 0)
    tell(migrated_database, [Event("a", 1, 0, 0), Event("b", 1, 1, 1), Event("c", 2, 1, 2)])
    second, third = refresh(migrated_database), refresh(migrated_database)
    assert second is not None and third is not None
    assert second[:4] == (3, 2, 2, ())
    assert third[:4] == (0, 0, 0, ())
    lines = status(migrated_database)
    assert lines[-2].startswith("events    3, 2026-03-01 00:00:00 UTC to 2026-03-01 02:00:00 UTC")
    assert lines[-1] == "pending   0"
    assert any("20 counters" not in line and "places may lag by 60 s; last refreshed" in line for line in lines)


def test_only_what_changed_is_written(migrated_database: str) -> None:
    register(migrated_database, restaurants=range(3))
    refresh(migrated_database)
    tell(migrated_database, [Event("a", 1, 0, 0), Event("b", 2, 1, 1)])
    refresh(migrated_database)
    versions = (
        "SELECT restaurant_id, xmin::text FROM restaurants UNION ALL SELECT user_id + 100, xmin::text FROM user_states"
    )

    def now() -> dict[int, str]:
        with psycopg.connect(migrated_database) as connection:
            return dict(connection.execute(versions).fetchall())

    before = now()
    tell(migrated_database, [Event("c", 2, 1, 5)])
    refresh(migrated_database)
    after = now()
    assert {key for key in after if after[key] != before.get(key)} == {1, 102}


def test_of_two_refreshers_one_works_and_readers_and_tellers_wait_for_neither(migrated_database: str) -> None:
    register(migrated_database, restaurants=range(3))
    refresh(migrated_database)
    tell(migrated_database, [Event("a", 1, 0, 0)])
    with psycopg.connect(migrated_database, autocommit=True) as holder, turn(holder):
        assert refresh(migrated_database, wait=False) is None
        hasty = psycopg.conninfo.make_conninfo(migrated_database, options="-c lock_timeout=1ms")
        tell(hasty, [Event("b", 1, 1, 1)])
        with psycopg.connect(hasty) as reader:
            for table in ("restaurants", "feature_schemas", "events", "pending_events", *STATES):
                reader.execute(f"SELECT count(*) FROM {table}".encode())
    done = refresh(migrated_database, wait=False)
    assert done is not None
    assert done.events == 2


def test_a_load_at_work_is_no_reason_to_wait_for_who_does_not_want_to(migrated_database: str) -> None:
    register(migrated_database)
    with psycopg.connect(migrated_database) as loading:
        loading.execute("LOCK TABLE users, restaurants IN SHARE ROW EXCLUSIVE MODE")
        assert refresh(migrated_database, wait=False) is None
    assert refresh(migrated_database, wait=False) is not None


def test_a_restaurant_that_comes_later_takes_the_state_that_is_remembered_of_it(migrated_database: str) -> None:
    register(migrated_database, restaurants=[1])
    refresh(migrated_database)
    tell(migrated_database, [Event("a", 1, 5, 0)])
    refresh(migrated_database)
    register(migrated_database, restaurants=[5, 6])
    found = remembered(migrated_database)
    states = dict(found["restaurants"])
    assert states[5] == found["restaurant_states"][0][2]
    assert states[6] == states[1] != states[5]
    with psycopg.connect(migrated_database) as connection:
        rows = connection.execute(
            "SELECT restaurant_id, packed = pack_restaurant(restaurant_id, latitude,"
            " longitude, features, state) FROM restaurants"
        ).fetchall()
    assert sorted(rows) == [(1, True), (5, True), (6, True)]


def test_a_state_of_another_length_is_refused(migrated_database: str) -> None:
    register(migrated_database, restaurants=[1])
    with (
        psycopg.connect(migrated_database) as connection,
        pytest.raises(psycopg.errors.CheckViolation, match="restaurant 1 would have a state of 8 bytes"),
    ):
        connection.execute("UPDATE restaurants SET state = '\\x0000000000000000'")


def test_a_packed_row_cannot_be_made_to_disagree(migrated_database: str) -> None:
    register(migrated_database, FeatureSchema.from_names(["a"], ["b", "time_zone_number"]), restaurants=[1])
    with psycopg.connect(migrated_database) as connection:
        connection.execute("UPDATE restaurants SET packed = 'x', features = '{5, 6}'")
        row = connection.execute(
            "SELECT packed = pack_restaurant(restaurant_id, latitude, longitude, features), state FROM restaurants"
        ).fetchone()
    assert row == (True, b"")


def test_counters_of_a_later_version_stop_a_refresh_before_anything_is_lost(migrated_database: str) -> None:
    register(migrated_database)
    refresh(migrated_database)
    tell(migrated_database, [Event("a", 1, 5, 0)])
    with psycopg.connect(migrated_database, autocommit=True) as connection:
        connection.execute("UPDATE feature_schemas SET counters = '{\"windows\": []}'")
    with pytest.raises(StoreError, match="counts in a way that this version does not know"):
        refresh(migrated_database)
    assert counts(migrated_database)["pending_events"] == 1


def scanned(dsn: str, statement: str, parameters: dict[str, object]) -> set[tuple[str, str]]:
    """The kinds of nodes that a statement reads its tables by, and the tables."""
    found = set()
    with psycopg.connect(dsn) as connection:
        for name, value in command_settings("hexbite").items():
            connection.execute("SELECT set_config(%s, %s, false)", (name, value))
        cursor = psycopg.ClientCursor(connection)
        cursor.execute(f"EXPLAIN (FORMAT JSON) {SQL[statement]}".encode(), parameters)
        ((explained,),) = cursor.fetchall()
        plans = [explained[0]["Plan"]]
        while plans:
            plan = plans.pop()
            plans += plan.get("Plans", ())
            if "Relation Name" in plan:
                found.add((plan["Node Type"], plan["Relation Name"]))
    return found


@pytest.fixture(scope="module")
def lived_in(server_dsn: str, template: str) -> str:
    """States and events of 20,000 people, analysed."""
    dsn = new_database(server_dsn, "hexbite_test_lived_in", template)
    schema_id = register(dsn, restaurants=range(4))
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "SELECT count(*) FROM tell_events((SELECT array_agg(gen_random_uuid()) FROM generate_series(1, 20000)),"
            " (SELECT array_agg(g::bigint) FROM generate_series(1, 20000) AS g),"
            " (SELECT array_agg(g::bigint) FROM generate_series(1, 20000) AS g),"
            " (SELECT array_agg('visit'::text) FROM generate_series(1, 20000)),"
            " (SELECT array_agg('2026-03-01 00:00+00'::timestamptz + g * interval '2 minutes')"
            "    FROM generate_series(1, 20000) AS g), NULL, NULL, NULL, NULL, NULL)"
        )
        for table, columns in (("user_states", "user_id, state, places"), ("restaurant_states", "restaurant_id, state"),
                               ("arrival_states", "restaurant_id, places")):  # fmt: skip
            values = ", ".join(["repeat('x', 80)::bytea"] * columns.count(","))
            connection.execute(
                f"INSERT INTO {table} (schema_id, {columns})"
                f" SELECT {schema_id}, id, {values} FROM generate_series(1, 20000) AS id".encode()
            )
        connection.execute("ANALYZE")
    return dsn


ONE_SLICE: dict[str, dict[str, object]] = {
    "people": {"schema_id": 1, "ids": list(range(50))},
    "restaurant_states": {"schema_id": 1, "ids": list(range(50))},
    "arrival_states": {"schema_id": 1, "ids": list(range(50))},
    "pending": {"low": 10, "high": 60, "kinds": ["visit"]},
    "pending_delete": {"low": 10, "high": 60},
    "archived": {"low": 10, "high": 60, "kinds": ["visit"]},
    "visits_around": {
        "ids": list(range(50)), "first_us": [1_772_000_000_000_000] * 50, "last_us": [1_776_000_000_000_000] * 50,
        "visits": ["visit"], "kinds": ["visit"],
    },
    "forget_user": {"user_id": 7, "hash": 8, "user_key": "7"},
}  # fmt: skip


@pytest.mark.parametrize("statement", ONE_SLICE)
def test_what_a_few_people_did_is_found_by_indexes(lived_in: str, statement: str) -> None:
    nodes = scanned(lived_in, statement, ONE_SLICE[statement])
    large = {"user_states", "restaurant_states", "arrival_states", "pending_events", "event_ids"}
    assert any(table in large or table.startswith("events") for _, table in nodes)
    for kind, table in nodes:
        if table in large or table.startswith("events"):
            assert kind in ("Index Scan", "Index Only Scan", "Bitmap Heap Scan", "ModifyTable"), (kind, table)


def test_the_first_and_last_moments_of_the_calendar_hold_nobody_up(migrated_database: str) -> None:
    register(migrated_database, restaurants=[1])
    refresh(migrated_database)
    for moment in ("9999-12-31 23:59:59.999999+00", "0001-01-01 00:00+00"):
        with psycopg.connect(migrated_database, autocommit=True) as connection:
            connection.execute(
                "SELECT tell_events(ARRAY[gen_random_uuid()], '{1}', '{1}', '{visit}', ARRAY[%s::timestamptz],"
                " '{NULL}', '{NULL}', '{NULL}', '{NULL}', '{NULL}')",
                (moment,),
            )
        done = refresh(migrated_database)
        assert done is not None
        assert (done.events, counts(migrated_database)["pending_events"]) == (1, 0)
    with psycopg.connect(migrated_database) as connection:
        row = connection.execute("SELECT previous_id, previous_ts FROM user_states").fetchone()
    # There a float64 holds no single microseconds.
    assert row is not None
    assert timedelta() <= datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC) - row[1] < timedelta(milliseconds=1)


def test_a_load_of_a_schema_that_counts_leaves_its_states_made(migrated_database: str, tmp_path: Path) -> None:
    tell(migrated_database, [Event("a", 1, 1, 0), Event("b", 1, 2, 1)])
    load(migrated_database, write_places(tmp_path / "places", 3))
    with psycopg.connect(migrated_database) as connection:
        row = connection.execute(
            "SELECT remembered_at IS NOT NULL, counters ->> 'lag_s' FROM feature_schemas"
        ).fetchone()
    assert row == (True, "60.0")
    assert counts(migrated_database) | {"pending_events": 0, "user_states": 1, "arrival_states": 1} == counts(
        migrated_database
    )
    states = dict(remembered(migrated_database)["restaurants"])
    assert states[0] != states[1]
