"""Databases and servers of their own for tests."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import psycopg


def new_database(server_dsn: str, name: str, template: str = "template1") -> str:
    """The address of a database that is as its template, whatever was there before."""
    name, template = named(name), template if template == "template1" else named(template)
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        # For what tests send by themselves.
        connection.execute(f'ALTER DATABASE "{name}" SET search_path = hexbite, public')
    return urlsplit(server_dsn)._replace(path=f"/{name}").geturl()


def named(database: str) -> str:
    """A database's name on the server: several processes that test on one have databases of their own."""
    return database + os.environ.get("PYTEST_XDIST_WORKER", "")


@contextmanager
def started_server(programs: Path, options: str = "-h ''") -> Iterator[str]:
    """A server of other programs than the embedded one's, in a folder of its own: its address, while it is used.

    Over a socket in that folder; ``options`` of the server may add others.
    """
    # Not below pytest's own folder: each run of pytest closes that to the user whom the server runs as.
    with TemporaryDirectory(prefix="hexbite-test-") as scratch:
        as_whom: list[str] = []
        if os.geteuid() == 0:  # as which Postgres will not run
            as_whom = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
            os.chown(scratch, 65534, 65534)

        def run(program: str, *options: str) -> None:
            command = [*as_whom, str(programs / program), "-D", f"{scratch}/data", *options]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/")

        run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C")
        run(
            "pg_ctl",
            "-o",
            f"-k {scratch} {options} -c fsync=off -c search_path=hexbite,public",
            "-l",
            f"{scratch}/log",
            "-w",
            "start",
        )
        try:
            yield f"postgresql://postgres@/postgres?host={scratch}&port=5432"
        finally:
            run("pg_ctl", "-m", "immediate", "-w", "stop")
