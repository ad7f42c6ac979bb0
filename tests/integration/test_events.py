"""Events are told once each, by whoever, in whatever order, and a month of them is made when there is none."""

import random
import threading
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from hexbite.ids import event_id_to_uuid
from tests.integration.remembering import Event, counts, tell

EVENTS = [Event(f"e{number}", number % 3, number, number) for number in range(10)]


def stored(dsn: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(
            "SELECT event_id, user_id, restaurant_id, kind, event_ts FROM events ORDER BY event_ts, event_id"
        ).fetchall()


def test_an_id_counts_once_whatever_else_is_said_of_it(migrated_database: str) -> None:
    assert tell(migrated_database, EVENTS) == {event_id_to_uuid(event.id) for event in EVENTS}
    before = stored(migrated_database)
    assert tell(migrated_database, EVENTS) == set()
    later = [event._replace(hours=event.hours + 2_000, user=77, kind="click") for event in EVENTS]
    assert tell(migrated_database, later) == set()
    assert stored(migrated_database) == before
    assert counts(migrated_database) | {"events": 10, "event_ids": 10, "pending_events": 10} == counts(
        migrated_database
    )


def test_of_one_id_twice_in_a_call_the_first_counts(migrated_database: str) -> None:
    assert len(tell(migrated_database, [EVENTS[0], EVENTS[0]._replace(user=9), EVENTS[1]])) == 2
    assert [row[1] for row in stored(migrated_database)] == [0, 1]


def test_no_events_are_no_error(migrated_database: str) -> None:
    assert tell(migrated_database, []) == set()


def test_who_tells_the_same_at_once_in_another_order_waits_and_does_not_fail(migrated_database: str) -> None:
    # Over many months, so that these are made at once too.
    batches = [
        [Event(f"{batch}-{number}", number % 5, number, number * 400) for number in range(40)] for batch in range(6)
    ]
    told: list[int] = []
    raised: list[Exception] = []

    def work(seed: int) -> None:
        shuffle = random.Random(seed)
        try:
            for batch in batches:
                shuffled = batch[:]
                shuffle.shuffle(shuffled)
                told.append(len(tell(migrated_database, shuffled)))
        except Exception as error:  # noqa: BLE001 - a thread's is lost; none is asserted below
            raised.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert raised == []
    assert sum(told) == 240
    assert counts(migrated_database) | {"events": 240, "event_ids": 240, "pending_events": 240} == counts(
        migrated_database
    )


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 2, 1, tzinfo=UTC) - timedelta(microseconds=1),
        datetime(2026, 2, 1, tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2024, 2, 29, 23, 59, tzinfo=UTC),
    ],
)
@pytest.mark.parametrize("settings", ["", "-c timezone=Pacific/Kiritimati -c datestyle=German"])
def test_each_event_lies_in_its_month_of_utc(migrated_database: str, moment: datetime, settings: str) -> None:
    with psycopg.connect(psycopg.conninfo.make_conninfo(migrated_database, options=settings), autocommit=True) as told:
        told.execute(
            "SELECT * FROM tell_events(%s, '{1}', '{1}', '{visit}', %s, %s, %s, %s, %s, %s)",
            ([event_id_to_uuid("e")], [moment], [None], [None], [None], [None], [None]),
        )
        row = told.execute("SELECT tableoid::regclass::text, event_ts = %s FROM events", (moment,)).fetchone()
    assert row == (f"events_{moment.year:04}_{moment.month:02}", True)


@pytest.mark.parametrize(
    ("column", "value"),
    [("latitudes", [91.0]), ("latitudes", [float("nan")]), ("longitudes", [-181.0]), ("latitudes", [1.0]),
     ("positions", [-1]), ("vals", [float("nan")]), ("vals", [float("inf")]), ("request_ids", [""]),
     ("request_ids", ["x" * 129]), ("kinds", [""]), ("kinds", ["x" * 129]), ("times", ["infinity"]),
     ("times", ["10000-01-01 00:00+00"]), ("times", ["0001-12-31 00:00+00 BC"]), ("user_ids", [None]),
     ("restaurant_ids", [None]), ("times", [None]), ("kinds", [None]), ("event_ids", [None]), ("user_ids", [1, 2])],
)  # fmt: skip
def test_what_is_no_event_is_refused_and_nothing_is_told(migrated_database: str, column: str, value: object) -> None:
    event: dict[str, object] = {
        "event_ids": [event_id_to_uuid("e")], "user_ids": [1], "restaurant_ids": [1], "kinds": ["visit"],
        "times": ["2026-03-01 00:00+00"], "latitudes": [None], "longitudes": [None], "request_ids": [None],
        "positions": [None], "vals": [None],
    }  # fmt: skip
    types = ("uuid", "bigint", "bigint", "text", "timestamptz", "float8", "float8", "text", "int", "float8")
    holes = ", ".join(f"{name} => %({name})s::{kind}[]" for name, kind in zip(event, types, strict=True))
    with psycopg.connect(migrated_database, autocommit=True) as connection:
        connection.execute("SET ROLE hexbite_teller")
        with pytest.raises((psycopg.IntegrityError, psycopg.DataError)):
            connection.execute(f"SELECT * FROM tell_events({holes})".encode(), event | {column: value})
        connection.execute(f"SELECT * FROM tell_events({holes})".encode(), event)
    assert counts(migrated_database)["events"] == 1


def test_before_the_bound_of_retention_nothing_is_told_and_the_bound_is_named(migrated_database: str) -> None:
    with psycopg.connect(migrated_database, autocommit=True) as connection:
        connection.execute("UPDATE retention SET kept_since = %s", (EVENTS[5].at,))
    with pytest.raises(psycopg.Error) as refused:
        tell(migrated_database, EVENTS)
    assert (refused.value.sqlstate, refused.value.diag.message_detail) == ("HX001", "2026-03-01T05:00:00.000000Z")
    assert counts(migrated_database)["event_ids"] == 0
    assert len(tell(migrated_database, EVENTS[5:])) == 5
