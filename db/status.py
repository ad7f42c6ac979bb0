"""What is in a store, as lines to print."""

from __future__ import annotations

from psycopg.rows import dict_row

from db.access.driver import connect, driver_errors
from db.migrate import current, head
from db.statements import SQL


def status(dsn: str) -> list[str]:
    """Server, revision, and the rows and newest events of each schema. Raises StoreError, StoreUnavailable."""
    revision, newest = current(dsn), head()
    behind = "" if revision == newest else f", the newest is {newest}: python -m db upgrade"
    with driver_errors(), connect(dsn) as connection:
        lines = [
            f"server    Postgres {connection.info.parameter_status('server_version')}",
            f"revision  {revision or 'none'}{behind}",
        ]
        if revision is None:
            return lines
        # In another zone the calendar's first or last hours would lie beyond it.
        connection.execute("SET TIME ZONE 'UTC'")
        schemas = connection.cursor(row_factory=dict_row).execute(SQL["status"]).fetchall()
    if not schemas:
        lines.append("schemas   none: python -m db load DIR")
    for schema in schemas:
        widths = f"{schema['user_width']} user, {schema['restaurant_width']} restaurant"
        lines += [
            f"schema    {schema['fingerprint'][:12]}, {widths} and {schema['context_width']} context features",
            f"  registered   {schema['registered_at']:%Y-%m-%d %H:%M:%S %Z}",
        ]
        for table, entity in (("users", "user"), ("restaurants", "restaurant")):
            event = schema[f"newest_{entity}"]
            since = "" if event is None else f", newest event {event:%Y-%m-%d %H:%M:%S %Z}"
            lines.append(f"  {table:<12} {schema[table]:,}{since}")
    return lines
