"""Databases of their own for tests."""

from urllib.parse import urlsplit

import psycopg


def new_database(server_dsn: str, name: str, template: str = "template1") -> str:
    """The address of a database that is as its template, whatever was there before."""
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    return urlsplit(server_dsn)._replace(path=f"/{name}").geturl()
