"""Whoever is forgotten is nowhere in the store, and what is kept no longer is gone and stays out."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from db.loading.load import load
from db.memory.expire import expire
from db.memory.forget import forget
from db.memory.refresh import refresh
from hexbite.errors import StoreError
from hexbite.ids import event_id_to_uuid, text_to_id
from tests.integration.remembering import START, Event, counts, register, remembered, tell
from tests.integration.test_load import restaurants, users, write

ROOT = Path(__file__).parents[2]
AGE_S = 7 * 86_400.0

# An id that nothing else can be mistaken for.
USER, OTHER = 7_103_411_928_001, 5


def found_in(dsn: str, *needles: object) -> set[str]:
    """Tables and columns of the store where a number, a text or an id of an event stands, in whatever form."""
    found = set()
    with psycopg.connect(dsn) as connection:
        columns = connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'hexbite'"
        ).fetchall()
        for table, column in columns:
            # As text, and inside bytes as the numbers of either end first.
            for needle in needles:
                forms = [str(needle)]
                if isinstance(needle, int):
                    forms += [needle.to_bytes(8, order, signed=True).hex() for order in ("little", "big")]
                query = sql.SQL("SELECT FROM {} WHERE {}::text ~ %s LIMIT 1").format(
                    sql.Identifier(table), sql.Identifier(column)
                )
                if connection.execute(query, ("|".join(forms),)).fetchone() is not None:
                    found.add(f"{table}.{column}")
    return found


@pytest.fixture
def told(migrated_database: str, tmp_path: Path) -> str:
    """A person with a row, events of some months, some of them pending; and another person."""
    load(migrated_database, write(tmp_path / "data", users=users(2, user_id=[USER, OTHER]), restaurants=restaurants()))
    register(migrated_database, restaurants=range(4))
    for part in ("a", "b"):
        tell(
            migrated_database,
            [Event(f"{who}-{part}-{n}", who, n % 4, n * 24.0 * 9) for who in (USER, OTHER) for n in range(12)],
        )
        if part == "a":
            refresh(migrated_database)
    return migrated_database


def test_who_is_forgotten_is_in_no_column_of_any_table(told: str) -> None:
    events = [event_id_to_uuid(f"{USER}-{part}-{n}") for part in ("a", "b") for n in range(12)]
    before = found_in(told, USER, *events)
    assert {"users.user_id", "events.user_id", "events.event_id", "event_ids.event_id", "pending_events.user_id",
            "pending_events.event_id", "user_states.user_id"} <= before  # fmt: skip
    kept = remembered(told)
    assert forget(told, USER) == (1, 24, 24, 12, 1)
    assert found_in(told, USER, *events) == set()
    # The other one, and what places know without anybody, are as they were.
    after = remembered(told)
    assert after["user_states"] == [row for row in kept["user_states"] if row[1] == OTHER]
    assert after["restaurant_states"] == kept["restaurant_states"]
    assert found_in(told, OTHER) >= {"users.user_id", "events.user_id"}
    refresh(told)
    assert found_in(told, USER, *events) == set()
    with pytest.raises(StoreError, match=f"nothing is known of user {USER}"):
        forget(told, USER)


def test_a_text_is_forgotten_by_its_text(migrated_database: str, tmp_path: Path) -> None:
    texts = users(2, user_id=["anna", "42"])
    load(migrated_database, write(tmp_path / "data", users=texts, restaurants=restaurants()))
    register(migrated_database)
    told = [Event("a", text_to_id("anna"), 1, 0), Event("b", text_to_id("42"), 1, 0), Event("c", 42, 1, 0)]
    tell(migrated_database, told)
    refresh(migrated_database)
    assert forget(migrated_database, "anna")[:2] == (1, 1)
    assert found_in(migrated_database, "anna", text_to_id("anna")) == set()
    # 42 may be a text in one schema and an integer in another: both are the person's.
    assert forget(migrated_database, "42")[:2] == (1, 2)
    assert counts(migrated_database) | {"events": 0, "event_ids": 0, "user_states": 0} == counts(migrated_database)


@pytest.mark.parametrize("user", ["", "x" * 129, "a\0b"])
def test_what_is_no_id_cannot_be_forgotten(migrated_database: str, user: str) -> None:
    with pytest.raises(StoreError, match="cannot be forgotten: its id"):
        forget(migrated_database, user)


def test_the_command_says_what_was_removed(told: str) -> None:
    command = [sys.executable, "-m", "db", "forget", str(USER)]
    environment = os.environ | {"DATABASE_URL": told}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout == (
        f"user {USER} forgotten: 1 rows, 24 events (12 of them pending) and 24 ids of events, 1 states\n"
    ), done.stderr
    again = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (again.returncode, again.stderr.splitlines()[-1]) == (1, f"error: nothing is known of user {USER}")


BOUND = START + timedelta(days=45)


def test_what_is_let_go_is_gone_with_its_ids_and_cannot_be_told_again(told: str, tmp_path: Path) -> None:
    before = remembered(told)
    gone = expire(told, BOUND, max_event_age_s=AGE_S)
    # 9 days apart, of two people, twice: those of the first 45 days; March went as a whole.
    assert gone == (20, 20, 1)
    with psycopg.connect(told) as connection:
        assert connection.execute("SELECT min(event_ts) FROM events").fetchone() == (BOUND,)
        assert connection.execute("SELECT min(event_ts) FROM event_ids").fetchone() == (BOUND,)
        months = connection.execute("SELECT count(*) FROM pg_inherits WHERE inhparent = 'events'::regclass").fetchone()
        assert months == (3,)
    # What was pending was counted before, and everything stays counted.
    assert counts(told)["pending_events"] == 0
    assert [row[:2] for row in remembered(told)["user_states"]] == [row[:2] for row in before["user_states"]]
    with pytest.raises(psycopg.Error) as refused:
        tell(told, [Event("late", 1, 1, 24.0 * 44)])
    assert refused.value.sqlstate == "HX001"
    assert len(tell(told, [Event("just in time", 1, 1, 24.0 * 45)])) == 1
    # Not further back.
    assert expire(told, BOUND - timedelta(days=10), max_event_age_s=AGE_S) == (0, 0, 0)
    with psycopg.connect(told) as connection:
        assert connection.execute("SELECT kept_since FROM retention").fetchone() == (BOUND,)


def test_no_nearer_than_late_events_need(told: str) -> None:
    now = datetime.now(UTC)
    for days, age_s in ((36.9, AGE_S), (-1.0, AGE_S), (30.9, 86_400.0)):
        with pytest.raises(StoreError, match=r"HEXBITE_MAX_EVENT_AGE_S.*--before must be \d{4}-\d\d-\d\d or earlier"):
            expire(told, now - timedelta(days=days), max_event_age_s=age_s)
    with pytest.raises(StoreError, match="set a bound first"):
        expire(told, BOUND, max_event_age_s=None)
    assert counts(told)["events"] == 48
    expire(told, now - timedelta(days=37.1), max_event_age_s=AGE_S)


@pytest.mark.parametrize("age", ["none", "abc", "-1"])
def test_the_command_takes_the_bound_of_lateness_from_the_environment(told: str, age: str) -> None:
    environment = os.environ | {"DATABASE_URL": told, "HEXBITE_MAX_EVENT_AGE_S": age}
    command = [sys.executable, "-m", "db", "expire", "--before", "2026-04-15"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "HEXBITE_MAX_EVENT_AGE_S" in done.stderr.splitlines()[-1]
    done = subprocess.run(
        command, cwd=ROOT, env=environment | {"HEXBITE_MAX_EVENT_AGE_S": ""}, capture_output=True, text=True
    )
    assert done.stdout == "events: 20 and 20 ids let go, 1 months as wholes\n", done.stderr
