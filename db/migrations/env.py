"""How revisions are run: by one migrator at a time, each in a transaction of its own, waiting for no lock for long."""

from __future__ import annotations

from alembic import context
from alembic.util import CommandError

from db.migrate import LOCK_TIMEOUT, MIGRATOR_LOCK, MIGRATOR_WAIT, engine
from db.settings import StoreSettings, store_dsn
from hexbite.errors import HexbiteError


def print_script() -> None:
    context.configure(dialect_name="postgresql", transaction_per_migration=True)
    output = context.get_context().impl.static_output
    output(f"SET lock_timeout = '{MIGRATOR_WAIT}';\n")
    output(f"SELECT pg_advisory_lock({MIGRATOR_LOCK});\n")
    output(f"SET lock_timeout = '{LOCK_TIMEOUT}';\n")
    with context.begin_transaction():
        context.run_migrations()
    output(f"SELECT pg_advisory_unlock({MIGRATOR_LOCK});\n")
    output("RESET lock_timeout;\n")


def migrate(dsn: str) -> None:
    with engine(dsn).connect() as connection:
        # For the session, not for a transaction: the current revision is read before the first one begins.
        connection.exec_driver_sql(f"SET lock_timeout = '{MIGRATOR_WAIT}'")
        connection.exec_driver_sql(f"SELECT pg_advisory_lock({MIGRATOR_LOCK})")
        connection.exec_driver_sql(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
        connection.commit()
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
