"""How revisions are run: by one migrator at a time, each in a transaction of its own, waiting for no lock for long."""

from __future__ import annotations

import sys

from alembic import context
from alembic.util import CommandError
from psycopg.errors import Diagnostic

from db.migrate import LOCK_TIMEOUT, MIGRATOR_LOCK, engine
from db.migrations.locks import one_at_a_time
from db.settings import StoreSettings, store_dsn
from hexbite.errors import HexbiteError


def print_script() -> None:
    context.configure(dialect_name="postgresql", transaction_per_migration=True)
    output = context.get_context().impl.static_output
    # After an error nothing that comes later would fit. Some statements run outside a transaction, so that psql, which
    # sends one after the other, is what runs it.
    output("-- For psql. What it has done stays when it stops at a lock: python -m db current, then --sql FROM:TO.")
    output("\\set ON_ERROR_STOP on\n")
    output(f"{one_at_a_time()};\n")
    output(f"SET lock_timeout = '{LOCK_TIMEOUT}';\n")
    with context.begin_transaction():
        context.run_migrations()
    output(f"SELECT pg_advisory_unlock({MIGRATOR_LOCK});\n")
    output("RESET lock_timeout;\n")


def show_warning(notice: Diagnostic) -> None:
    if notice.severity_nonlocalized == "WARNING":
        print(f"warning: {notice.message_primary}", file=sys.stderr)


def migrate(dsn: str) -> None:
    with engine(dsn).connect() as connection:
        connection.connection.driver_connection.add_notice_handler(show_warning)  # type: ignore[union-attr]  # psycopg's own
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.exec_driver_sql(one_at_a_time(), execution_options={"no_parameters": True})
        # For the session, not for a transaction: the current revision is read before the first one begins.
        connection.exec_driver_sql(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
        connection.commit()
        connection.execution_options(isolation_level="READ COMMITTED")
        context.configure(connection=connection, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()


if context.is_offline_mode():
    print_script()
elif "dsn" in context.config.attributes:
    migrate(context.config.attributes["dsn"])
else:
    try:
        migrate(store_dsn(StoreSettings()))
    except HexbiteError as error:
        # Alembic's own command line prints this one as a line.
        raise CommandError(str(error)) from error
