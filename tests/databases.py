"""Databases and servers of their own for tests."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg


def new_database(server_dsn: str, name: str, template: str = "template1") -> str:
    """The address of a database that is as its template, whatever was there before."""
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    return urlsplit(server_dsn)._replace(path=f"/{name}").geturl()


@contextmanager
def started_server(programs: Path, folder: Path, options: str = "-h ''") -> Iterator[str]:
    """A server of other programs than the embedded one's, in an empty folder: its address, while it is used.

    Over a socket; ``options`` of the server may add others.
    """
    as_whom: list[str] = []
    if os.geteuid() == 0:  # as which Postgres will not run
        as_whom = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        for parent in (folder, *folder.parents[:3]):
            if parent.stat().st_uid == 0 and parent.name.startswith("pytest-"):
                parent.chmod(0o755)
        os.chown(folder, 65534, 65534)

    def run(program: str, *options: str) -> None:
        command = [*as_whom, str(programs / program), "-D", str(folder / "data"), *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/")

    run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C")
    run("pg_ctl", "-o", f"-k {folder} {options} -c fsync=off", "-l", str(folder / "log"), "-w", "start")
    try:
        yield f"postgresql://postgres@/postgres?host={folder}&port=5432"
    finally:
        run("pg_ctl", "-m", "immediate", "-w", "stop")
