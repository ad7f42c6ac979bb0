"""``python -m db``: migrate, load and look into the feature store."""

from __future__ import annotations

import csv
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from data.folder.clicks import Unknown
from data.folder.tables import MAX_REJECTED, Rejection
from db import migrate
from db.access.address import shown
from db.embedded import EmbeddedServer
from db.loading.backfill import backfill
from db.loading.load import Loaded, Mode, load
from db.loading.move import move
from db.memory.expire import expire
from db.memory.forget import forget
from db.memory.refresh import refresh
from db.settings import StoreSettings, home, store_address, store_dsn
from db.status import status
from hexbite.console import run
from hexbite.errors import StoreError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="The feature store: the one at DATABASE_URL, else an embedded Postgres that is started when it is needed.",
)

_SHOWN_REJECTIONS: Final = 100

_MOMENTS: Final = [
    "%Y-%m-%d",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S%z",
    "%Y-%m-%dT%H:%M:%S.%f%z",
]

Sql = Annotated[bool, typer.Option("--sql", help="Print the script for a DBA instead; no server is asked.")]


def _store() -> tuple[str, str]:
    """The store's address and its schema there."""
    settings = StoreSettings.from_environment()
    return store_dsn(settings), settings.store_schema


@app.command("upgrade")
def upgrade(
    revision: Annotated[str, typer.Argument(help="Up to which; FROM:TO with --sql.")] = "head", sql: Sql = False
) -> None:
    """Bring the tables up to a revision."""
    if sql:
        print(migrate.upgrade_script(revision, schema=StoreSettings.from_environment().store_schema), end="")
        return
    dsn, schema = _store()
    migrate.upgrade(dsn, revision, schema=schema)
    _print_current()


@app.command("downgrade", context_settings={"ignore_unknown_options": True})
def downgrade(
    revision: Annotated[str, typer.Argument(help="Down to which; -1 for the one before, base for none.")],
    sql: Sql = False,
) -> None:
    """Bring the tables down to a revision; what only newer ones can hold is dropped."""
    if sql:
        print(migrate.downgrade_script(revision, schema=StoreSettings.from_environment().store_schema), end="")
        return
    dsn, schema = _store()
    migrate.downgrade(dsn, revision, schema=schema)
    _print_current()


def _print_current() -> None:
    print(f"revision {migrate.current(*_store()) or 'none'}")


@app.command("current")
def current() -> None:
    """The revision that the store is at."""
    revision = migrate.current(*_store())
    print(f"{revision or 'none'}{' (head)' if revision == migrate.head() else ''}")


@app.command("history")
def history() -> None:
    """Every revision, newest first."""
    for revision, message in migrate.history():
        print(f"{revision}  {message}")


@app.command("load")
def load_folder(
    folder: Annotated[Path, typer.Argument(help="A data folder, see docs/architecture.md.")],
    mode: Annotated[
        Mode,
        typer.Option(
            help="replace: the store holds what the folder holds. upsert: new and changed rows only. "
            "fill: all rows, if the store has none of these features yet, else nothing."
        ),
    ] = "replace",
    rejected: Annotated[
        Path | None, typer.Option(help="A CSV file for every row that could not be stored, with its reason.")
    ] = None,
    max_rejected: Annotated[
        float, typer.Option(help="Share of a table's rows that may be unusable.", min=0.0, max=1.0)
    ] = MAX_REJECTED,
    unknown: Annotated[
        Unknown, typer.Option(help="Click rows in the folder whose user or restaurant has no features.")
    ] = "error",
) -> None:
    """Load feature tables: readers see all of the old or all of the new."""
    dsn, schema = _store()
    tables = load(dsn, folder, mode=mode, schema=schema, unknown=unknown, max_rejected=max_rejected)
    if mode == "fill" and not tables:
        print("left alone: the store holds rows of these features; --mode upsert or replace loads over them")
    for name, loaded in tables.items():
        print(f"{name}: {_summary(loaded, mode)}")
    rejections = [(name, row) for name, loaded in tables.items() for row in loaded.rejections]
    if rejections:
        _report(rejections)
    if rejected is not None:
        _write(rejections, rejected)


def _summary(loaded: Loaded, mode: Mode) -> str:
    counts = {
        "new": loaded.inserted,
        "changed": loaded.updated,
        "unchanged": loaded.unchanged,
        "rejected": len(loaded.rejections),
    }
    if mode == "replace":
        counts["removed"] = loaded.deleted
    elif mode == "upsert":
        counts["older than stored"] = loaded.older
    return ", ".join(f"{count:,} {what}" for what, count in counts.items())


def _report(rejections: list[tuple[str, Rejection]]) -> None:
    print("rejected:", file=sys.stderr)
    for (name, reason), count in Counter((name, row.reason) for name, row in rejections).most_common():
        print(f"  {name}: {reason} ({count:,} rows)", file=sys.stderr)
    for _, row in rejections[:_SHOWN_REJECTIONS]:
        print(f"  {row.file} row {row.row}, id {row.id}: {row.reason}", file=sys.stderr)
    if len(rejections) > _SHOWN_REJECTIONS:
        print(f"  and {len(rejections) - _SHOWN_REJECTIONS:,} more; --rejected FILE lists all", file=sys.stderr)


def _write(rejections: list[tuple[str, Rejection]], path: Path) -> None:
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(("table", "file", "row", "id", "reason"))
            rows.writerows((name, *row) for name, row in rejections)
    except OSError as error:
        raise StoreError(f"loaded, but the list of rejected rows cannot be written: {error}") from error


@app.command("move", context_settings={"ignore_unknown_options": True})
def move_restaurant(
    restaurant_id: Annotated[str, typer.Argument(help="As the data has it; behind -- where it begins with -.")],
    latitude: Annotated[float, typer.Argument(help="Degrees.")],
    longitude: Annotated[float, typer.Argument(help="Degrees.")],
) -> None:
    """Put a restaurant where it now is."""
    dsn, schema = _store()
    moved = move(dsn, restaurant_id, latitude, longitude, schema=schema)
    schemas = moved.as_integer + moved.as_text
    print(f"restaurant {restaurant_id} moved in {schemas} {'schema' if schemas == 1 else 'schemas'}", end="")
    print(f": as an integer in {moved.as_integer}, as text in {moved.as_text}" if all(moved) else "")


@app.command("events")
def backfill_events(
    files: Annotated[
        list[str], typer.Argument(help="Parquet, CSV or JSON lines: files, folders, patterns, addresses.")
    ],
    since: Annotated[datetime | None, typer.Option(help="Only events from this UTC time on.", formats=_MOMENTS)] = None,
    before: Annotated[
        datetime | None, typer.Option(help="Only events from before this UTC time.", formats=_MOMENTS)
    ] = None,
) -> None:
    """Tell the store what people did: all events of the files or none, and each once however often it is told."""
    dsn, schema = _store()
    done = backfill(dsn, files, schema=schema, since=_utc(since), before=_utc(before))
    left_out = f", {done.left_out:,} left out by their time" if since is not None or before is not None else ""
    print(f"events: {done.new:,} new, {done.known:,} known already{left_out}")
    if not done.new:
        print("nothing was changed")


def _utc(moment: datetime | None) -> datetime | None:
    return moment if moment is None or moment.tzinfo is not None else moment.replace(tzinfo=UTC)


@app.command("refresh")
def refresh_states() -> None:
    """Bring what counters are read from up to the events that were told."""
    dsn, schema = _store()
    done = refresh(dsn, schema)
    assert done is not None
    for fingerprint in done.made:
        print(f"schema {fingerprint[:12]}: states made from the events that are kept")
    print(
        f"refreshed: {done.events:,} events of {done.users:,} people at {done.restaurants:,} restaurants "
        f"in {done.seconds:.1f} s"
    )


@app.command("forget", context_settings={"ignore_unknown_options": True})
def forget_user(
    user_id: Annotated[str, typer.Argument(help="As the data has it; behind -- where it begins with -.")],
) -> None:
    """Remove a person: rows, events, and what is remembered of it."""
    dsn, schema = _store()
    gone = forget(dsn, user_id, schema=schema)
    print(
        f"user {user_id} forgotten: {gone.rows:,} rows, {gone.events:,} events ({gone.pending:,} of them pending) and "
        f"{gone.event_ids:,} ids of events, {gone.states:,} states"
    )


@app.command("expire")
def expire_events(
    before: Annotated[datetime, typer.Option(help="UTC; events from before are let go.", formats=_MOMENTS)],
) -> None:
    """Let old events go; what they were counted into stays, and none from before can be told any more."""
    settings = StoreSettings.from_environment()
    moment = _utc(before)
    assert moment is not None
    gone = expire(store_dsn(settings), moment, max_event_age_s=settings.max_event_age_s, schema=settings.store_schema)
    print(f"events: {gone.events:,} and {gone.event_ids:,} ids let go, {gone.months} months as wholes")


@app.command("status")
def show_status() -> None:
    """What the store holds."""
    dsn, schema = _store()
    print(f"address   {shown(dsn)}, schema {schema}")
    for line in status(dsn, schema):
        print(line)


@app.command("url")
def url() -> None:
    """The address of the store in use, as psql takes it; the embedded server is started where it is that one.

    A password that DATABASE_PASSWORD_FILE holds is not in it.
    """
    print(store_address(StoreSettings.from_environment()))


@app.command("stop")
def stop() -> None:
    """Stop the embedded server; the next command that needs it starts it again."""
    stopped = EmbeddedServer(home(StoreSettings.from_environment())).stop()
    print("stopped" if stopped else "the embedded server does not run")


if __name__ == "__main__":
    run(app)
