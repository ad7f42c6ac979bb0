"""A Postgres server for all tests, a database of its own for each that wants one, and the folder of shared material."""

import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from db.embedded import EmbeddedServer
from db.migrate import upgrade

TEMPLATE = "hexbite_test_template"
DATABASE = "hexbite_test"


@pytest.fixture(scope="session")
def server_dsn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The embedded server, in a folder of its own; HEXBITE_TEST_DATABASE_URL names another, as its superuser."""
    given = os.environ.get("HEXBITE_TEST_DATABASE_URL")
    if given:
        yield given
        return
    server = EmbeddedServer(tmp_path_factory.mktemp("server"))
    yield server.ensure_running()
    server.stop()


def recreate(server_dsn: str, name: str, template: str = "template1") -> str:
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    return psycopg.conninfo.make_conninfo(server_dsn, dbname=name)


def as_address(conninfo: str) -> str:
    """psycopg's keywords as the address that every driver reads."""
    parts = psycopg.conninfo.conninfo_to_dict(conninfo)
    user, password = parts.pop("user", ""), parts.pop("password", "")
    database = parts.pop("dbname", "")
    credentials = f"{user}:{password}" if password else str(user)
    options = "&".join(f"{name}={str(value).replace(' ', '%20')}" for name, value in parts.items())
    return f"postgresql://{credentials}@/{database}?{options}"


@pytest.fixture
def fresh_database(server_dsn: str) -> str:
    """The address of an empty database."""
    return as_address(recreate(server_dsn, DATABASE))


@pytest.fixture(scope="session")
def template(server_dsn: str) -> str:
    upgrade(as_address(recreate(server_dsn, TEMPLATE)))
    return TEMPLATE


@pytest.fixture
def migrated_database(server_dsn: str, template: str) -> str:
    """The address of a database with empty tables."""
    return as_address(recreate(server_dsn, DATABASE, template))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Material beside the project that is no part of it."""
    folder = Path(__file__).parents[2] / "shared"
    if not folder.exists():
        pytest.skip(f"{folder} is absent: this test needs it")
    return folder
