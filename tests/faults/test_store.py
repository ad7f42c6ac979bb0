"""Postgres that goes away, stands still, is cut off or slow, full or under change, while requests come in."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from db.embedded import EmbeddedServer
from tests.e2e.conftest import ROOT, run, serve
from tests.faults.conftest import (
    BUDGET_S,
    SLACK_S,
    Site,
    answers,
    assert_sound,
    connections,
    filled,
    is_ready,
    until,
)
from tests.faults.load import load
from tests.faults.proxy import proxy

# Two workers, their eight connections each, and one each for the readiness check.
MOST_CONNECTIONS = 18


@pytest.fixture(scope="module")
def url(site: Site) -> Iterator[str]:
    with serve(site.environment) as address:
        yield address


def test_postgres_restarted(site: Site, url: str) -> None:
    right = answers(url, site.requests)
    with load(url, site.requests) as running:
        time.sleep(1)
        site.server.stop()
        noticed_s = until(lambda: not is_ready(url))
        time.sleep(2)
        away = time.monotonic()
        time.sleep(1)
        while_away = running.since(away)
        assert site.server.ensure_running() == site.dsn
        back = time.monotonic()
        until(lambda: any(outcome.status == 200 for outcome in running.since(back)))
        first_good_s = min(o.sent + o.took_s for o in running.since(back) if o.status == 200) - back
        until(lambda: is_ready(url))
        time.sleep(1)
        assert {outcome.status for outcome in running.since(time.monotonic() - 0.8)} == {200}
    assert {outcome.status for outcome in while_away} == {503}
    assert_sound(running.outcomes, right, {503})
    assert running.slowest_s() < BUDGET_S + SLACK_S
    assert connections(site.dsn) <= MOST_CONNECTIONS
    print(f"restart: not ready after {noticed_s:.2f} s, first good answer after {first_good_s:.2f} s")
    print(f"restart: {dict(running.statuses())}, slowest {running.slowest_s():.3f} s")
    assert noticed_s < 2
    assert first_good_s < 2


@contextmanager
def frozen(server: EmbeddedServer, dsn: str) -> Iterator[None]:
    """Every process of a server stopped in its tracks."""
    with psycopg.connect(dsn) as connection:
        backend = psutil.Process(connection.info.backend_pid)
        postmaster = backend.parent()
    assert postmaster is not None
    processes = [postmaster, *postmaster.children(recursive=True)]
    for process in processes:
        if process.is_running():
            process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            if process.is_running():
                process.send_signal(signal.SIGCONT)


def test_postgres_frozen(site: Site, url: str) -> None:
    right = answers(url, site.requests)
    with load(url, site.requests) as running:
        time.sleep(1)
        with frozen(site.server, site.dsn):
            noticed_s = until(lambda: not is_ready(url))
            time.sleep(3)
            assert {outcome.status for outcome in running.since(time.monotonic() - 2)} <= {503, 504}
        thawed = time.monotonic()
        until(lambda: any(outcome.status == 200 for outcome in running.since(thawed)))
        until(lambda: is_ready(url))
        time.sleep(1.5)
        assert {outcome.status for outcome in running.since(time.monotonic() - 1)} == {200}
    assert_sound(running.outcomes, right, {503, 504})
    print(f"frozen: {dict(running.statuses())}, slowest {running.slowest_s():.3f} s, not ready after {noticed_s:.2f} s")
    assert running.slowest_s() < BUDGET_S + SLACK_S
    until(lambda: connections(site.dsn) <= MOST_CONNECTIONS)


def test_postgres_cut_off(site: Site) -> None:
    parts = conninfo_to_dict(site.dsn)
    with proxy(f"{parts['host']}/.s.PGSQL.{parts['port']}") as between:
        through = f"postgresql://{parts['user']}@127.0.0.1:{between.port}/{parts['dbname']}?sslmode=disable"
        with serve(site.environment | {"DATABASE_URL": through}) as url:
            right = answers(url, site.requests)
            with load(url, site.requests) as running:
                time.sleep(1)
                between.cut()
                until(lambda: not is_ready(url))
                time.sleep(3)
                assert {outcome.status for outcome in running.since(time.monotonic() - 2)} <= {503, 504}
                between.mend()
                mended = time.monotonic()
                until(lambda: any(outcome.status == 200 for outcome in running.since(mended)))
                time.sleep(1.5)
                assert {outcome.status for outcome in running.since(time.monotonic() - 1)} == {200}
            assert_sound(running.outcomes, right, {503, 504})
            print(f"cut off: {dict(running.statuses())}, slowest {running.slowest_s():.3f} s")
            assert running.slowest_s() < BUDGET_S + SLACK_S


def test_slow_statements_are_ended_by_the_server_below_the_budget(site: Site, url: str) -> None:
    right = answers(url, site.requests)
    longest_s = 0.0
    with (
        load(url, site.requests) as running,
        psycopg.connect(site.dsn) as blocker,
        psycopg.connect(site.dsn, autocommit=True) as watcher,
    ):
        blocker.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        ends = time.monotonic() + 4
        while time.monotonic() < ends:
            row = watcher.execute(
                "SELECT max(extract(epoch FROM clock_timestamp() - query_start)) FROM pg_stat_activity"
                " WHERE application_name = 'hexbite' AND state = 'active' AND pid <> ALL (%s)",
                ([blocker.info.backend_pid, watcher.info.backend_pid],),
            ).fetchone()
            assert row is not None
            longest_s = max(longest_s, float(row[0] or 0))
            time.sleep(0.05)
        blocker.rollback()
        time.sleep(1.5)
        assert {outcome.status for outcome in running.since(time.monotonic() - 1)} == {200}
    assert_sound(running.outcomes, right, {503, 504})
    print(f"slow statements: {dict(running.statuses())}, longest on the server {longest_s:.2f} s")
    assert running.statuses()[504] > 0
    assert running.slowest_s() < BUDGET_S + SLACK_S
    assert 0.5 < longest_s < BUDGET_S


def test_a_migration_while_serving(site: Site, url: str) -> None:
    right = answers(url, site.requests)
    with load(url, site.requests, clients=16) as running:
        for _ in range(2):
            run("db", "downgrade", "0003", environment=site.environment)
            run("db", "upgrade", environment=site.environment)
        time.sleep(0.5)
    print(f"migration: {dict(running.statuses())}, slowest {running.slowest_s():.3f} s")
    assert_sound(running.outcomes, right, set())
    assert running.slowest_s() < BUDGET_S


def test_a_load_while_serving(site: Site, url: str) -> None:
    old = answers(url, site.requests)
    run("db", "load", str(site.other_data), environment=site.environment)
    new = answers(url, site.requests)
    assert all(was != now for was, now in zip(old, new, strict=True))
    with load(url, site.requests, clients=16) as running:
        for folder in (site.data, site.other_data, site.data):
            run("db", "load", str(folder), environment=site.environment)
    print(f"load: {dict(running.statuses())}, slowest {running.slowest_s():.3f} s")
    assert set(running.statuses()) == {200}
    seen = {outcome.body in (old[outcome.request], new[outcome.request]) for outcome in running.outcomes}
    assert seen == {True}
    assert {outcome.body == old[outcome.request] for outcome in running.outcomes} == {True, False}
    assert running.slowest_s() < BUDGET_S


def test_a_full_disk_under_postgres(site: Site, small_disk: Path) -> None:
    server = EmbeddedServer(small_disk / "server")
    environment = site.environment | {"DATABASE_URL": server.ensure_running()}
    try:
        run("db", "upgrade", environment=environment)
        run("db", "load", str(site.data), environment=environment)
        with serve(environment) as url:
            right = answers(url, site.requests)
            with load(url, site.requests) as running, filled(small_disk):
                failed = subprocess.run(
                    [sys.executable, "-m", "db", "load", str(site.other_data)],
                    cwd=ROOT,
                    env=environment,
                    capture_output=True,
                    text=True,
                )
                assert failed.returncode == 1
                assert "disk is full" in failed.stderr.splitlines()[-1]
                assert "Traceback" not in failed.stderr
                time.sleep(1)
            print(f"full disk: {dict(running.statuses())}, slowest {running.slowest_s():.3f} s")
            assert_sound(running.outcomes, right, set())
            run("db", "load", str(site.other_data), environment=environment)
            assert answers(url, site.requests) != right
    finally:
        server.stop()
