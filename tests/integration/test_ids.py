"""Text ids and integers on a real store: who is found by them, what answers call them, what is asked for once."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest
import pytest_asyncio
import torch

from bento.contract.models import RecommendRequest
from bento.ranking.recommend import Answer, Recommender
from bento.telemetry.laps import stages_ms
from db.access.connections import Connections
from db.loading.move import move
from db.migrate import downgrade
from db.reading.keys import Keys
from db.reading.online import FeatureStore
from hexbite.errors import InvalidRequestError, StoreError, StoreMisconfigured
from hexbite.features import Feature, FeatureSchema
from hexbite.ids import IdKinds, text_to_id
from tests.written import Connection, drawn_model, register, write_restaurants, write_users

HERE = (13.75, 100.5)
GROUPS = ((Feature("a"),), (Feature("b"),), (Feature("distance_m"),))
TEXT = FeatureSchema(*GROUPS, ids=IdKinds("text", "text"))
INTEGER = FeatureSchema(*GROUPS)
MIXED = FeatureSchema(*GROUPS, ids=IdKinds("text", "integer"))

TEXTS = ["R1", "r1", " R1", "caf\u00e9", "cafe\u0301", "42", "a/b", "--help", "it's", "\U0001f35c" * 32]
FIRST_INEXACT = 2**53
INTEGERS = [42, -5, FIRST_INEXACT - 1, 2**63 - 1]


def near(ids: list[Any]) -> dict[Any, Any]:
    """Restaurants a hundred metres from one another, northwards."""
    return {id_: ((HERE[0] + place * 1e-3, HERE[1]), [float(place)], None) for place, id_ in enumerate(ids)}


@pytest.fixture
def store(migrated_database: str) -> Iterator[Connection]:
    with psycopg.connect(migrated_database, autocommit=True) as connection:
        for schema, users, restaurants in (
            (TEXT, ["U1", "u1"], TEXTS),
            (INTEGER, [7], INTEGERS),
            (MIXED, ["U1"], INTEGERS),
        ):
            schema_id = register(connection, schema)
            write_users(connection, schema_id, {id_: [float(place)] for place, id_ in enumerate(users)})
            write_restaurants(connection, schema_id, near(restaurants))
        yield connection


@pytest_asyncio.fixture
async def connections(migrated_database: str, store: Connection) -> AsyncIterator[Connections]:
    opened = Connections(migrated_database, most=1, timeout_s=10)
    yield opened
    await opened.close()


def recommender(connections: Connections, schema: FeatureSchema, **options: Any) -> Recommender:
    torch.manual_seed(0)
    return Recommender("tag", drawn_model(schema), FeatureStore(connections, schema), 10_000, **options)


def request(**fields: Any) -> RecommendRequest:
    return RecommendRequest.model_validate({"latitude": HERE[0], "longitude": HERE[1], "sort_dist": True} | fields)


def ids_of(answer: Answer) -> list[Any]:
    return [restaurant["id"] for restaurant in answer.response["restaurants"]]


async def test_restaurants_found_by_place_have_their_texts_byte_for_byte(connections: Connections) -> None:
    ranks = recommender(connections, TEXT)
    answer = await ranks.answer(request(), text_to_id("U1"))
    assert ids_of(answer) == TEXTS
    assert "keys" in stages_ms(answer.laps)
    assert [lap.stage for lap in answer.laps].count("order") == 1
    assert ids_of(await ranks.answer(request(size=3), 0)) == TEXTS[:3]


@pytest.mark.parametrize("max_dist", [50, 5_000])
async def test_candidates_come_back_as_they_were_asked_for(connections: Connections, max_dist: float) -> None:
    ranks = recommender(connections, TEXT)
    asked = [*reversed(TEXTS), "R1", "unknown", "R1 ", "R2"]
    answer = await ranks.answer(request(candidate_restaurant_ids=asked, max_dist=max_dist, explain=True), 0)
    assert ids_of(answer) == (TEXTS if max_dist > 1_000 else TEXTS[:1])
    assert answer.response["meta"]["counts"]["asked"] == len(asked)
    assert answer.response["meta"]["counts"]["known"] == len(TEXTS)
    assert ids_of(await ranks.answer(request(candidate_restaurant_ids=[]), 0)) == []


async def test_a_candidates_text_needs_no_second_question(connections: Connections, store: Connection) -> None:
    store.execute("UPDATE restaurants SET restaurant_key = NULL")
    ranks = recommender(connections, TEXT)
    assert ids_of(await ranks.answer(request(candidate_restaurant_ids=TEXTS), 0)) == TEXTS


async def test_each_text_user_has_a_row_of_its_own_and_an_unknown_one_the_mean_users(connections: Connections) -> None:
    ranks = recommender(connections, TEXT)
    fed = {}
    for user in ("U1", "u1", " U1", "U1 "):
        meta = (await ranks.answer(request(explain=True), text_to_id(user))).response["meta"]
        fed[user] = (meta["cold_start"], meta["user_features"]["a"])
    assert fed == {"U1": (False, 0.0), "u1": (False, 1.0), " U1": (True, 0.0), "U1 ": (True, 0.0)}


async def test_a_restaurant_without_its_text_is_left_out_and_the_others_are_answered(
    connections: Connections, store: Connection
) -> None:
    ranks = recommender(connections, TEXT)
    store.execute("UPDATE restaurants SET restaurant_key = NULL WHERE restaurant_key = ANY (%s)", (["r1", "42"],))
    answer = await ranks.answer(request(explain=True), 0)
    named = [text for text in TEXTS if text not in ("r1", "42")]
    assert ids_of(answer) == named
    assert len(answer.logits) == len(named)
    assert (answer.unnamed, answer.unplaced) == (2, 0)
    assert answer.response["meta"]["counts"]["left_out"] == 2
    # As soon as somebody writes it, it is there: what is missing is not kept.
    store.execute("UPDATE restaurants SET restaurant_key = '42' WHERE restaurant_id = %s", (text_to_id("42"),))
    assert "42" in ids_of(await ranks.answer(request(), 0))
    store.execute("UPDATE restaurants SET restaurant_key = NULL")
    assert ids_of(await recommender(connections, TEXT).answer(request(), 0)) == []


class CountedConnections(Connections):
    """Counts how often one is lent."""

    lent_times = 0

    def lend(self) -> Any:
        self.lent_times += 1
        return super().lend()


async def test_a_text_is_asked_for_once_and_what_is_kept_is_bounded(migrated_database: str, store: Connection) -> None:
    counted = CountedConnections(migrated_database, most=1, timeout_s=10)
    keys = Keys(counted, TEXT.fingerprint, generation=3)
    ids = [text_to_id(text) for text in TEXTS]
    assert await keys.of(ids) == dict(zip(ids, TEXTS, strict=True))
    assert counted.lent_times == 1
    assert await keys.of(ids) == dict(zip(ids, TEXTS, strict=True))
    assert await keys.of([]) == {}
    assert counted.lent_times == 1
    # Others push out what nobody asks for any more; what is asked for stays.
    for start in range(1, 6):
        await keys.of(ids[start : start + 4])
    kept = len(keys._young) + len(keys._old)
    assert kept <= 2 * (3 + 4)
    before = counted.lent_times
    assert await keys.of(ids[5:9]) == dict(zip(ids[5:9], TEXTS[5:9], strict=True))
    assert counted.lent_times == before
    assert await keys.of([0, 1]) == {}
    await counted.close()


async def test_a_store_without_the_column_is_said_so(
    migrated_database: str, connections: Connections, store: Connection
) -> None:
    store.execute("DELETE FROM restaurants")
    downgrade(migrated_database, "0006")
    with pytest.raises(StoreMisconfigured, match="db upgrade"):
        await recommender(connections, TEXT).rehearse()
    with pytest.raises(StoreMisconfigured, match="db upgrade"):
        await recommender(connections, INTEGER).rehearse()


@pytest.mark.parametrize("schema", [TEXT, INTEGER, MIXED], ids=["text", "integer", "mixed"])
async def test_every_kind_is_rehearsed(connections: Connections, schema: FeatureSchema) -> None:
    ranks = recommender(connections, schema)
    await ranks.rehearse()
    assert await FeatureStore(connections, schema).check() == ()


async def test_integers_are_answered_as_integers_or_as_the_request_had_them(connections: Connections) -> None:
    for schema in (INTEGER, MIXED):
        ranks = recommender(connections, schema)
        as_text = [str(id_) for id_ in INTEGERS]
        exact = INTEGERS[:3]
        assert ids_of(await ranks.answer(request(), 7)) == INTEGERS
        assert ids_of(await ranks.answer(request(candidate_restaurant_ids=INTEGERS), 7)) == INTEGERS
        assert ids_of(await ranks.answer(request(candidate_restaurant_ids=as_text), 7)) == as_text
        assert ids_of(await ranks.answer(request(candidate_restaurant_ids=["-5", "9"]), 7)) == ["-5"]
        # By a user as text in the body: all of an answer are text where one of them has to be.
        assert ids_of(await ranks.answer(request(user_id="7"), 7)) == as_text
        assert ids_of(await ranks.answer(request(user_id="7", size=3), 7)) == exact
        assert ids_of(await ranks.answer(request(user_id=7), 7)) == INTEGERS
        always = recommender(connections, schema, always_text=True)
        for fields in ({}, {"candidate_restaurant_ids": INTEGERS}, {"user_id": 7, "explain": True}):
            assert ids_of(await always.answer(request(**fields), 7)) == as_text
        assert ids_of(await always.answer(request(size=2), 7)) == as_text[:2]


@pytest.mark.parametrize(
    ("last", "is_text"), [(FIRST_INEXACT - 1, False), (FIRST_INEXACT, True), (-FIRST_INEXACT, True), (-(2**63), True)]
)
async def test_from_2_to_the_53rd_on_an_integer_is_text_to_who_asked_by_text(
    connections: Connections, store: Connection, last: int, is_text: bool
) -> None:
    store.execute("DELETE FROM restaurants")
    row = store.execute(
        "SELECT schema_id FROM feature_schemas WHERE fingerprint = %s", (INTEGER.fingerprint,)
    ).fetchone()
    assert row is not None
    write_restaurants(store, row[0], near([1, last]))
    answer = await recommender(connections, INTEGER).answer(request(user_id="7"), 7)
    assert ids_of(answer) == (["1", str(last)] if is_text else [1, last])


async def test_candidates_of_another_kind_are_refused(connections: Connections) -> None:
    with pytest.raises(InvalidRequestError, match="must be text"):
        await recommender(connections, TEXT).answer(request(candidate_restaurant_ids=[1]), 0)
    for schema in (INTEGER, MIXED):
        with pytest.raises(InvalidRequestError, match="must be a 64-bit integer"):
            await recommender(connections, schema).answer(request(candidate_restaurant_ids=["u7"]), 0)


def latitudes(store: Connection) -> dict[str, float]:
    """Of each restaurant, by schema and the id that the company knows."""
    named = "SELECT schema_id || ':' || coalesce(restaurant_key, restaurant_id::text), latitude FROM restaurants"
    return dict(store.execute(named).fetchall())


@pytest.mark.parametrize(
    ("id_", "moved"),
    [
        ("R1", (0, 1)),
        ("caf\u00e9", (0, 1)),
        ("--help", (0, 1)),
        ("42", (2, 1)),
        (42, (2, 1)),
        ("-5", (2, 0)),
        ("9223372036854775807", (2, 0)),
    ],
)
def test_a_restaurant_is_moved_by_the_companys_id(
    migrated_database: str, store: Connection, id_: int | str, moved: tuple[int, int]
) -> None:
    before = latitudes(store)
    assert move(migrated_database, id_, -33.86, 151.2) == moved
    after = latitudes(store)
    changed = {name for name in before if before[name] != after[name]}
    assert {name.partition(":")[2] for name in changed} == {str(id_)}
    assert len(changed) == sum(moved)


def test_a_hash_moves_what_it_stands_for_too(migrated_database: str, store: Connection) -> None:
    assert move(migrated_database, text_to_id("R1"), -33.86, 151.2) == (1, 0)
    assert latitudes(store)["1:R1"] == -33.86


@pytest.mark.parametrize("id_", ["R1 ", "R9", "", "a\0", "x" * 129, "\udcff", str(2**63), "9" * 40])
def test_what_no_restaurant_is_called_is_not_moved(migrated_database: str, store: Connection, id_: str) -> None:
    before = latitudes(store)
    with pytest.raises(StoreError, match=r"no restaurant|cannot be moved"):
        move(migrated_database, id_, 1, 1)
    assert latitudes(store) == before


@pytest.mark.parametrize(
    ("text", "command"),
    [("R1", "R1"), ("caf\u00e9", "'caf\u00e9'"), (" R1", "' R1'"), ("it's", """'it'"'"'s'"""), ("--help", "-- --help")],
)
def test_who_forgets_the_cell_is_told_the_command_by_the_companys_id(
    store: Connection, text: str, command: str
) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="stale h3_cell") as refused:
        store.execute("UPDATE restaurants SET latitude = 13.9 WHERE restaurant_key = %s", (text,))
    assert refused.value.diag.message_hint == f"python -m db move {command} 13.9 100.5"
    assert f"restaurant {text} would" in (refused.value.diag.message_primary or "")


def test_rows_are_found_and_changed_by_the_companys_id(store: Connection) -> None:
    update = "UPDATE users SET features = '{2}' WHERE user_key = 'U1'"
    assert store.execute(update).rowcount == 2
    store.execute("SET enable_seqscan = off")
    plan = "\n".join(line for (line,) in store.execute(f"EXPLAIN {update}").fetchall())
    assert "users_by_key" in plan
