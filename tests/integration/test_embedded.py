"""The embedded server: started once, by one, and unharmed by the death of anybody."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from db.embedded import EmbeddedServer
from hexbite.errors import ServerError

ROOT = Path(__file__).parents[2]
START = "import sys, pathlib, db.embedded as e; print(e.EmbeddedServer(pathlib.Path(sys.argv[1])).ensure_running())"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "a home, with 'quotes' and spaces"
    yield folder
    EmbeddedServer(folder).stop()


def start_elsewhere(home: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", START, str(home)], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def postmaster_pid(home: Path) -> int:
    return int(next(home.glob("postgres-*/postmaster.pid")).read_text().splitlines()[0])


def remember(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE kept (number int)")
        connection.execute("INSERT INTO kept VALUES (42)")


def recall(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT number FROM kept").fetchone()
    assert row is not None
    return int(row[0])


def test_of_many_that_start_at_once_one_does_and_all_get_the_same_server(home: Path) -> None:
    starters = [start_elsewhere(home) for _ in range(4)]
    addresses = {starter.communicate(timeout=120)[0] for starter in starters}
    assert all(starter.returncode == 0 for starter in starters)
    assert len(addresses) == 1
    pid = postmaster_pid(home)
    assert EmbeddedServer(home).ensure_running() == addresses.pop().strip()
    assert postmaster_pid(home) == pid


def test_a_starter_killed_at_any_moment_leaves_no_harm(home: Path) -> None:
    for after_s in (0.3, 0.6, 0.9, 1.2):
        starter = start_elsewhere(home)
        time.sleep(after_s)
        starter.kill()
        starter.communicate()
    dsn = EmbeddedServer(home).ensure_running()
    remember(dsn)
    assert recall(EmbeddedServer(home).ensure_running()) == 42


def test_data_survives_a_stop_and_the_death_of_the_server(home: Path) -> None:
    server = EmbeddedServer(home)
    remember(server.ensure_running())
    assert server.stop()
    assert not server.stop()
    assert recall(server.ensure_running()) == 42
    os.kill(postmaster_pid(home), signal.SIGKILL)
    assert recall(server.ensure_running()) == 42


def test_a_pid_file_whose_number_went_to_another_process_is_no_obstacle(home: Path) -> None:
    server = EmbeddedServer(home)
    remember(server.ensure_running())
    pid_file = next(home.glob("postgres-*/postmaster.pid"))
    lines = pid_file.read_text().splitlines(keepends=True)
    owner = pid_file.stat()
    server.stop()
    pid_file.write_text("".join([f"{os.getpid()}\n", *lines[1:]]))
    os.chown(pid_file, owner.st_uid, owner.st_gid)
    assert recall(server.ensure_running()) == 42
    assert postmaster_pid(home) != os.getpid()


@pytest.fixture
def neighbour(tmp_path: Path) -> Iterator[Path]:
    """A home with a server that runs, whose path begins with that of the home ``a``."""
    folder = tmp_path / "ab"
    EmbeddedServer(folder).ensure_running()
    yield folder
    EmbeddedServer(folder).stop()


def test_a_server_beside_or_within_a_home_is_not_taken_for_its_own(neighbour: Path) -> None:
    for other in (neighbour.parent / "a", neighbour.parent, neighbour / "run"):
        other.mkdir(exist_ok=True)
        assert not EmbeddedServer(other)._is_coming_up()
        assert not EmbeddedServer(other).stop()
    assert psutil.pid_exists(postmaster_pid(neighbour))


def test_a_program_at_work_on_a_home_is_seen_by_whichever_path_it_was_told(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "link").symlink_to("home")
    (tmp_path / "initdb").write_text("#!/bin/sh\nread wait\n")
    (tmp_path / "initdb").chmod(0o755)
    for told, asked in (("home", "link"), ("link", "home")):
        command = [tmp_path / "initdb", "-D", tmp_path / told / "initdb-1"]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as program:
            assert EmbeddedServer(tmp_path / asked)._is_coming_up()
            program.communicate(b"\n")
        assert not EmbeddedServer(tmp_path / asked)._is_coming_up()


def test_a_pid_that_was_given_to_another_postgres_is_no_obstacle_and_that_one_is_left_alone(
    home: Path, neighbour: Path
) -> None:
    server = EmbeddedServer(home)
    remember(server.ensure_running())
    pid_file = next(home.glob("postgres-*/postmaster.pid"))
    lines, owner = pid_file.read_text().splitlines(keepends=True), pid_file.stat()
    server.stop()
    pid_file.write_text("".join([f"{postmaster_pid(neighbour)}\n", *lines[1:]]))
    os.chown(pid_file, owner.st_uid, owner.st_gid)
    assert not server.stop()
    assert recall(server.ensure_running()) == 42
    assert postmaster_pid(home) != postmaster_pid(neighbour)
    assert EmbeddedServer(neighbour)._address() is not None


def test_a_copy_of_a_home_is_not_taken_for_the_server_that_runs_in_the_other(home: Path, tmp_path: Path) -> None:
    server, copied = EmbeddedServer(home), EmbeddedServer(tmp_path / "copied")
    dsn = server.ensure_running()
    remember(dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CHECKPOINT")
    subprocess.run(["cp", "--archive", home, tmp_path / "copied"], check=True)
    assert copied._address() is None
    try:
        copy = copied.ensure_running()
        assert recall(copy) == 42
        assert postmaster_pid(home) != postmaster_pid(tmp_path / "copied")
    finally:
        copied.stop()
    assert recall(dsn) == 42


@needs_root
def test_a_server_is_known_by_who_may_not_see_where_it_works_and_through_a_link(home: Path, tmp_path: Path) -> None:
    dsn = EmbeddedServer(home).ensure_running()
    pid = postmaster_pid(home)
    (tmp_path / "link").symlink_to(home)
    for path in (home, tmp_path / "link"):
        # As root in a container.
        command = ["setpriv", "--bounding-set=-sys_ptrace", "--", sys.executable, "-c", START, str(path)]
        found = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        assert found.stdout.strip() == dsn
    assert postmaster_pid(home) == pid
    assert EmbeddedServer(tmp_path / "link").stop()


def test_a_server_in_use_is_left_alone_where_that_is_asked(home: Path) -> None:
    server = EmbeddedServer(home)
    with psycopg.connect(server.ensure_running()):
        assert not server.stop(only_if_unused=True)
    assert server.stop(only_if_unused=True)


def test_a_stop_right_after_an_interrupted_start_leaves_nothing_behind(home: Path) -> None:
    for after_s in (0.25, 0.4, 0.6, 0.8, 1.0):
        starter = start_elsewhere(home)
        time.sleep(after_s)
        starter.send_signal(signal.SIGINT if after_s < 0.7 else signal.SIGKILL)
        starter.communicate()
        EmbeddedServer(home).stop()
        time.sleep(0.3)
        assert not [p for p in psutil.process_iter(["cmdline", "status"]) if str(home) in str(p.info["cmdline"])]


def test_only_the_owner_reaches_the_socket_and_the_data(home: Path) -> None:
    EmbeddedServer(home).ensure_running()
    for folder in (home, *home.glob("postgres-*")):
        assert folder.stat().st_mode & 0o077 == 0
    socket_folder = Path(next(home.glob("postgres-*/postmaster.pid")).read_text().splitlines()[4])
    assert socket_folder.stat().st_mode & 0o077 == 0


def test_a_home_that_cannot_be_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ServerError, match=r"file.*HEXBITE_HOME"):
        EmbeddedServer(tmp_path / "file" / "home").ensure_running()


# --- a user whom the system does not name, as a container's --user may be ---

NAMELESS = 54_321

ASK = """
import asyncio, sys
from db.access.connections import Connections
from hexbite.errors import StoreError

async def ask():
    async with Connections(sys.argv[1], most=1, timeout_s=10).lend() as connection:
        print(await connection.fetchval("SELECT 42"))

try:
    asyncio.run(ask())
except StoreError as error:
    print(error)
"""


def as_nameless(*command: str, cwd: Path, **environment: str | None) -> "subprocess.CompletedProcess[str]":
    """Run Python as that user; None takes a variable away. It may read this tree, below whomever's home it lies."""
    identity = [f"--reuid={NAMELESS}", f"--regid={NAMELESS}", "--clear-groups"]
    capability = [f"--{which}-caps=+dac_override" for which in ("inh", "ambient")]
    given = os.environ | {"PYTHONPATH": str(ROOT), "DATABASE_URL": None, "HEXBITE_HOME": None} | environment
    return subprocess.run(
        ["setpriv", *identity, *capability, "--", sys.executable, *command],
        cwd=cwd,
        env={name: value for name, value in given.items() if value is not None},
        capture_output=True,
        text=True,
    )


@needs_root
@pytest.mark.parametrize(
    "where",
    [
        {"HOME": None},
        {"HOME": "."},
        {"HOME": None, "HEXBITE_HOME": "."},
        {"HOME": None, "HEXBITE_HOME": "~/store"},
        {"HEXBITE_HOME": "~nobody-of-this-name/store"},
    ],
)
def test_who_has_no_name_is_told_to_name_a_server(tmp_path: Path, where: dict[str, str | None]) -> None:
    os.chown(tmp_path, NAMELESS, NAMELESS)
    whole = {name: str(tmp_path) if value == "." else value for name, value in where.items()}
    said = as_nameless("-m", "db", "status", cwd=tmp_path, **whole)
    assert said.returncode == 1
    assert re.fullmatch(r"error: .*DATABASE_URL to a server\n", said.stderr)


@needs_root
@pytest.mark.parametrize("home", [None, "/"])
def test_who_has_no_name_uses_the_server_that_is_named(
    migrated_database: str, tmp_path: Path, home: str | None
) -> None:
    status = as_nameless("-m", "db", "status", cwd=tmp_path, HOME=home, DATABASE_URL=migrated_database)
    assert status.returncode == 0, status.stderr
    assert as_nameless("-c", ASK, migrated_database, cwd=tmp_path, HOME=home).stdout == "42\n"
    unnamed = migrated_database.replace("hexbite@", "", 1)
    asked = as_nameless("-c", ASK, unnamed, cwd=tmp_path, HOME=home)
    assert "names no user" in asked.stdout, asked.stderr
