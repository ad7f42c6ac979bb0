"""A Postgres server for all tests, a database of its own for each that wants one, and the folder of shared material."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# As many processes test at once as there are cores: threads of each would wait for one another's. Before torch looks.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from db.embedded import EmbeddedServer
from db.migrate import upgrade
from tests.databases import new_database

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


@pytest.fixture
def fresh_database(server_dsn: str) -> str:
    """The address of an empty database."""
    return new_database(server_dsn, DATABASE)


@pytest.fixture(scope="session")
def template(server_dsn: str) -> str:
    upgrade(new_database(server_dsn, TEMPLATE))
    return TEMPLATE


@pytest.fixture
def migrated_database(server_dsn: str, template: str) -> str:
    """The address of a database with empty tables."""
    return new_database(server_dsn, DATABASE, template)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Material beside the project that is no part of it."""
    folder = Path(__file__).parents[2] / "shared"
    if not folder.exists():
        pytest.skip(f"{folder} is absent: this test needs it")
    return folder
