"""How revisions are run: by one migrator at a time, each in a transaction of its own, waiting for no lock for long."""

from __future__ import annotations

import sys
from typing import Any

import psycopg
from alembic import context
from alembic.util import CommandError
from psycopg.errors import Diagnostic
from sqlalchemy import Connection

from db.access.session import SINCE, command_settings, quoted
from db.migrate import LOCK_TIMEOUT, MIGRATOR_LOCK, OLD_HOME, OWN_SCHEMA_SINCE, engine, make_schema
from db.migrations.locks import one_at_a_time
from db.settings import StoreSettings, store_dsn
from db.statements import SQL
from hexbite.errors import HexbiteError, StoreMisconfigured


def print_script(schema: str) -> None:
    context.configure(dialect_name="postgresql", transaction_per_migration=True)
    output = context.get_context().impl.static_output
    begins_at = context.get_context().get_current_revision()
    settings = command_settings(schema)
    # After an error nothing that comes later would fit. Some statements run outside a transaction, so that psql, which
    # sends one after the other, is what runs it.
    output("-- For psql. What it has done stays when it stops at a lock: python -m db current, then --sql FROM:TO.")
    output("\\set ON_ERROR_STOP on\n")
    for name, value in settings.items():
        output(f"SET {name} = {value if name == 'search_path' else literal(value)};")
    for version, statement in SINCE.items():
        name, value = statement.removeprefix("SET ").split(" = ")
        output(f"SELECT set_config('{name}', '{value}', false)")
        output(f" WHERE current_setting('server_version_num')::integer >= {version};")
    output(f"{make_schema(schema)};\n")
    if begins_at is not None and begins_at < OWN_SCHEMA_SINCE:
        # A store of that revision may still stand there.
        output(f"SELECT set_config('search_path', {literal(f'{quoted(OLD_HOME)}, {quoted(schema)}')}, false)")
        output(f" WHERE to_regclass({literal(f'{quoted(schema)}.feature_schemas')}) IS NULL;\n")
    output(f"{one_at_a_time()};\n")
    output(f"SET lock_timeout = '{LOCK_TIMEOUT}';\n")
    with context.begin_transaction():
        context.run_migrations()
    output(f"SELECT pg_advisory_unlock({MIGRATOR_LOCK});\n")
    output("RESET ALL;\n")


def literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def show_warning(notice: Diagnostic) -> None:
    if notice.severity_nonlocalized == "WARNING":
        print(f"warning: {notice.message_primary}", file=sys.stderr)


def migrate(dsn: str, schema: str) -> None:
    with engine(dsn, schema).connect() as connection:
        connection.connection.driver_connection.add_notice_handler(show_warning)  # type: ignore[union-attr]  # psycopg's own
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.exec_driver_sql(one_at_a_time(), execution_options={"no_parameters": True})
        # For the session, not for a transaction: the current revision is read before the first one begins.
        connection.exec_driver_sql(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
        make(schema, connection)
        connection.commit()
        connection.execution_options(isolation_level="READ COMMITTED")
        context.configure(connection=connection, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()


def make(schema: str, connection: Connection) -> None:
    """The schema, where the store has none yet; who may not make one, or not use it, is told what to ask for."""
    driver: psycopg.Connection[Any] = connection.connection.driver_connection  # type: ignore[assignment]  # psycopg's own
    row = driver.execute(SQL["may_make"], {"schema": schema}).fetchone()
    assert row is not None
    user, database, may_make, is_enough = row
    if is_enough is None and may_make:
        driver.execute(make_schema(schema).encode())
    elif is_enough is None:
        raise StoreMisconfigured(
            f"user {user} may not make schema {quoted(schema)} in database {database}; run, as the database's owner: "
            f"GRANT CREATE ON DATABASE {database} TO {user}, or: CREATE SCHEMA {quoted(schema)} AUTHORIZATION {user}"
        )
    elif not is_enough:
        raise StoreMisconfigured(
            f"user {user} may not make tables in schema {quoted(schema)}, or not let the store's roles see them; run, "
            f"as the schema's owner: ALTER SCHEMA {quoted(schema)} OWNER TO {user}"
        )


if context.is_offline_mode():
    print_script(context.config.attributes.get("schema") or StoreSettings.from_environment().store_schema)
elif "dsn" in context.config.attributes:
    migrate(context.config.attributes["dsn"], context.config.attributes["schema"])
else:
    try:
        settings = StoreSettings.from_environment()
        migrate(store_dsn(settings), settings.store_schema)
    except HexbiteError as error:
        # Alembic's own command line prints this one as a line.
        raise CommandError(str(error)) from error
