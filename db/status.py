"""What is in a store, as lines to print."""

from __future__ import annotations

from psycopg.rows import dict_row

from db.access.driver import opened
from db.access.session import SCHEMA
from db.migrate import current, head
from db.statements import SQL


def status(dsn: str, schema: str = SCHEMA) -> list[str]:
    """Server, revision, and the rows and newest events of each schema. Raises StoreError, StoreUnavailable."""
    revision, newest = current(dsn, schema), head()
    behind = "" if revision == newest else f", the newest is {newest}: python -m db upgrade"
    with opened(dsn, schema) as connection:
        lines = [
            f"server    Postgres {connection.info.parameter_status('server_version')}",
            f"revision  {revision or 'none'}{behind}",
        ]
        if revision is None or connection.execute("SELECT to_regclass('feature_schemas')").fetchone() == (None,):
            return lines
        features = connection.cursor(row_factory=dict_row).execute(SQL["status"]).fetchall()
    if not features:
        lines.append("schemas   none: python -m db load DIR")
    for stored in features:
        widths = f"{stored['user_width']} user, {stored['restaurant_width']} restaurant"
        lines += [
            f"schema    {stored['fingerprint'][:12]}, {widths} and {stored['context_width']} context features",
            f"  registered   {stored['registered_at']:%Y-%m-%d %H:%M:%S %Z}",
        ]
        for table, entity in (("users", "user"), ("restaurants", "restaurant")):
            event = stored[f"newest_{entity}"]
            since = "" if event is None else f", newest event {event:%Y-%m-%d %H:%M:%S %Z}"
            lines.append(f"  {table:<12} {stored[table]:,}{since}")
    return lines
