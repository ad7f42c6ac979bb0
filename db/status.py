"""What is in a store, as lines to print."""

from __future__ import annotations

from typing import Any, Final

from psycopg.rows import dict_row

from db.access.driver import opened
from db.access.session import SCHEMA
from db.migrate import current, head
from db.statements import SQL

#: The first revision that keeps events.
EVENTS_SINCE: Final = "0008"


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
        rows = connection.cursor(row_factory=dict_row)
        features = rows.execute(SQL["status"]).fetchall()
        has_events = revision >= EVENTS_SINCE
        told = rows.execute(SQL["told_events"]).fetchone() if has_events else None
        counting = {row["fingerprint"]: row for row in rows.execute(SQL["lag"])} if has_events else {}
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
        if stored["fingerprint"] in counting:
            lines.append(f"  counters     {_lag(counting[stored['fingerprint']])}")
    if told is not None:
        lines += _events(told)
    return lines


def _lag(row: dict[str, Any]) -> str:
    told = f"{row['counters']}, places may lag by {row['lag_s']:g} s"
    if row["remembered_at"] is None:
        return f"{told}; states are not made yet: python -m db refresh"
    return f"{told}; last refreshed {row['remembered_at']:%Y-%m-%d %H:%M:%S %Z}, {row['ago_s']:,.0f} s ago"


def _events(told: dict[str, Any]) -> list[str]:
    between = (
        f", {told['oldest']:%Y-%m-%d %H:%M:%S %Z} to {told['newest']:%Y-%m-%d %H:%M:%S %Z}" if told["events"] else ""
    )
    kept = f"; kept since {told['kept_since']:%Y-%m-%d %H:%M:%S %Z}" if told["kept_since"] else ""
    waiting = f", the oldest of {told['oldest_pending']:%Y-%m-%d %H:%M:%S %Z}" if told["pending"] else ""
    return [f"events    {told['events']:,}{between}{kept}", f"pending   {told['pending']:,}{waiting}"]
