"""``python -m data``: draw a world, import check-ins, draft a map, look into a data folder."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from data.describe import describe
from data.draft.draft import draft_map, write_map
from data.folder.clicks import Unknown
from data.folder.tables import MAX_REJECTED
from data.log.map import Map
from data.log.mapfile import CHECKINS_MAP, fill_checkins_map, read_map
from data.log.tell import source_to_lines
from data.log.write import write_log
from data.orders import Sizes as OrderSizes
from data.orders import write_orders
from data.replay.replay import replay
from data.replay.service import SIZE, Service
from data.synthetic import Sizes, write_world
from data.visits import Sizes as VisitSizes
from data.visits import write_visits
from hexbite.console import run
from hexbite.errors import DataError

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Draw, import and look into offline data.")

_SIZES = Sizes()
_ORDER_SIZES = OrderSizes()
_VISIT_SIZES = VisitSizes()


@app.command("synthetic")
def draw(
    folder: Annotated[Path, typer.Argument(help="Where to write; an earlier output there is replaced.")],
    users: Annotated[int, typer.Option(help="Rows of the user table.", min=1)] = _SIZES.users,
    restaurants: Annotated[int, typer.Option(help="Rows of the restaurant table.", min=1)] = _SIZES.restaurants,
    clicks: Annotated[int, typer.Option(help="Train rows.", min=1)] = _SIZES.clicks,
    test_clicks: Annotated[int, typer.Option(help="Test rows.", min=1)] = _SIZES.test_clicks,
    requests: Annotated[int, typer.Option(help="Requests, each of another user.", min=0)] = _SIZES.requests,
    seed: Annotated[int, typer.Option(help="The same seed and sizes give the same bytes.", min=0)] = 0,
    files: Annotated[int | None, typer.Option(help="Train files; by default 625,000 rows each.", min=1)] = None,
) -> None:
    """Draw a world whose best possible ranking is known, and print that ceiling."""
    sizes = Sizes(users, restaurants, clicks, test_clicks, requests)
    world = write_world(folder, sizes, seed=seed, files=files)
    drawn = world["sizes"]
    print(
        f"{folder}: {drawn['users']:,} users, {drawn['restaurants']:,} restaurants, {drawn['clicks']:,} train clicks,"
    )
    print(f"  {drawn['test_clicks']:,} test clicks, {drawn['requests']:,} requests, seed {seed}")
    if drawn["requests"] < requests:
        print(f"  {requests:,} requests were asked for; each is of another user, and there are {users:,}")
    ceiling = world["ceiling"]
    auc = "-" if ceiling["auc"] is None else f"{ceiling['auc']:.4f}"
    print(f"ceiling on the test rows, for who knew each true score: accuracy {ceiling['accuracy']:.4f},")
    print(f"  AUC {auc}, log loss {ceiling['log_loss']:.4f}; click rate {ceiling['click_rate']:.4f}")


@app.command("orders")
def draw_orders(
    folder: Annotated[Path, typer.Argument(help="Where to write; an earlier output there is replaced.")],
    customers: Annotated[int, typer.Option(help="Rows of customers.csv.", min=1)] = _ORDER_SIZES.customers,
    merchants: Annotated[int, typer.Option(help="Rows of merchants.jsonl.", min=1)] = _ORDER_SIZES.merchants,
    days: Annotated[int, typer.Option(help="Files of events.", min=1)] = _ORDER_SIZES.days,
    lists_a_day: Annotated[int, typer.Option(help="Lists that are shown, some 13 events each.", min=1)] = (
        _ORDER_SIZES.lists_a_day
    ),
    seed: Annotated[int, typer.Option(help="The same seed and sizes give the same files.", min=0)] = 0,
) -> None:
    """Draw an order log as a company has it, to try `map` and `log` on."""
    drawn = write_orders(folder, OrderSizes(customers, merchants, days, lists_a_day), seed=seed)
    print(f"{folder}: {', '.join(f'{count:,} {what}' for what, count in drawn.items())}")


@app.command("visits")
def draw_visits(
    folder: Annotated[Path, typer.Argument(help="Where to write; an earlier output there is replaced.")],
    people: Annotated[int, typer.Option(help="Rows of people.parquet.", min=1)] = _VISIT_SIZES.people,
    places: Annotated[int, typer.Option(help="Rows of places.parquet.", min=1)] = _VISIT_SIZES.places,
    visits: Annotated[int, typer.Option(help="Rows of visits.parquet.", min=1)] = _VISIT_SIZES.visits,
    days: Annotated[int, typer.Option(help="In which they happen; the last 15 in 100 are test time.", min=2)] = (
        _VISIT_SIZES.days
    ),
    until: Annotated[
        datetime | None, typer.Option(help="The day before which it happened.", formats=["%Y-%m-%d"])
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed and sizes give the same files.", min=0)] = 0,
) -> None:
    """Draw a past, people who return and places that rise and fall, and print what the best ranking of it reaches."""
    before = _VISIT_SIZES.until if until is None else until.date()
    drawn = write_visits(folder, VisitSizes(people, places, visits, days, before), seed=seed)
    best = drawn["best"]
    print(f"{folder}: {', '.join(f'{count:,} {what}' for what, count in drawn['drawn'].items())}")
    print(f"ceiling on the {best['visits']:,.0f} visits from {drawn['split']} on, for who knew each true score:")
    told = (f"{name} {value:.4f}" for name, value in best.items() if "@" in name and value is not None)
    print(f"  {', '.join(told)}")
    print(f"import it: python -m data log {folder}/map.toml OUT")


def _split(text: str) -> dict[str, Any]:
    """The ``[split]`` of a map: a time, or the share of the choices that come before it."""
    try:
        before = float(text)
    except ValueError:
        pass
    else:
        if not 0 < before < 1:
            raise typer.BadParameter(f"{text}: a fraction lies between 0 and 1")
        return {"test": 1 - before}
    try:
        return {"at": datetime.fromisoformat(text)}
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is neither a fraction nor an ISO 8601 time") from error


@app.command("checkins")
def import_checkins(
    checkins: Annotated[Path, typer.Argument(help="User, ISO time, latitude, longitude, venue; tabs; packed or not.")],
    folder: Annotated[Path, typer.Argument(help="Where to write; an earlier output there is replaced.")],
    venues: Annotated[Path | None, typer.Option(help="Venue, name, latitude, longitude; tabs; packed or not.")] = None,
    split: Annotated[
        str, typer.Option(help="UTC time from which visits are test visits, or the fraction of check-ins before it.")
    ] = "0.8",
    max_age_h: Annotated[float, typer.Option(help="Hours for which a check-in tells where the person stands.")] = 24.0,
    radius_m: Annotated[int, typer.Option(help="How far a visit may be from there, metres.")] = 2_000,
    negatives: Annotated[int, typer.Option(help="Places left alone to draw for each visit.")] = 50,
    seed: Annotated[int, typer.Option(help="Of the negatives, their order, and the taste factors.", min=0)] = 0,
    strict: Annotated[bool, typer.Option("--strict", help="Stop where any row is dirty.")] = False,
) -> None:
    """Import check-ins in SNAP's layout, by the map data/maps/checkins.toml."""
    asked = fill_checkins_map(
        checkins,
        venues,
        {
            "split": _split(split),
            "standing": {"max_age_h": max_age_h},
            "negatives": {"count": negatives, "radius_m": radius_m},
            "seed": seed,
        },
    )
    _import(asked, folder, CHECKINS_MAP, strict=strict)


@app.command("log")
def import_log(
    map_file: Annotated[Path, typer.Argument(metavar="MAP", help="The map of your files, TOML.")],
    folder: Annotated[Path, typer.Argument(help="Where to write; an earlier output there is replaced.")],
    strict: Annotated[bool, typer.Option("--strict", help="Stop where any row is dirty.")] = False,
    like: Annotated[
        Path | None, typer.Option(help="An earlier output: the same columns, for a model that is served.")
    ] = None,
) -> None:
    """Import a log of events and its tables: features, lists of what was shown or in reach, requests to rank for."""
    _import(read_map(map_file), folder, map_file, strict=strict, like=like)


def _import(asked: Map, folder: Path, path: Path, *, strict: bool, like: Path | None = None) -> None:
    for line in source_to_lines(folder, write_log(asked, folder, path=path, strict=strict, like=like)):
        print(line)


@app.command("replay")
def replay_visits(
    folder: Annotated[Path, typer.Argument(help="The data folder whose test time is to be replayed.")],
    url: Annotated[str, typer.Option(help="The service's address.")],
    frozen: Annotated[bool, typer.Option("--frozen", help="Ask alone: nothing that happens is told.")] = False,
    limit: Annotated[int | None, typer.Option(help="So many visits, the first ones.", min=1)] = None,
    key: Annotated[
        str | None,
        typer.Option(envvar="HEXBITE_KEY", help="To ask with, where keys are used.", show_envvar=True),
    ] = None,
    event_key: Annotated[
        str | None, typer.Option(envvar="HEXBITE_EVENT_KEY", help="To tell with.", show_envvar=True)
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="A file for the figures.")] = None,
) -> None:
    """Ask a service for each visit of the test time, at its moment, and then tell it; how high did visits rank?"""
    with Service(url, key=key, event_key=event_key) as service:
        found = replay(folder, service, frozen=frozen, limit=limit)
    for line in found.lines(SIZE):
        print(line)
    if json_file is not None:
        try:
            json_file.write_text(json.dumps(found.to_json(), indent=2, allow_nan=False) + "\n", encoding="utf-8")
        except OSError as error:
            raise DataError(f"cannot be written: {error.strerror or error}", path=json_file) from error


@app.command("map")
def draft(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Files, folders, patterns or addresses.")],
    out: Annotated[Path | None, typer.Option(help="Where to write the map; by default it is printed.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a map that is there already.")] = False,
) -> None:
    """Draft the map of a company's files: which is which, and what each column means."""
    if out is None:
        print(draft_map(files, folder=Path.cwd()), end="")
        return
    write_map(files, out, force=force)
    print(f"{out}: correct it, then: python -m data log {out} OUT")


@app.command("describe")
def look(
    folder: Annotated[Path, typer.Argument(help="The data folder.")],
    max_rejected: Annotated[
        float, typer.Option(help="Share of a table's rows that may be unusable.", min=0.0, max=1.0)
    ] = MAX_REJECTED,
    unknown: Annotated[Unknown, typer.Option(help="Rows whose user or restaurant has no features.")] = "error",
) -> None:
    """Say what is in a data folder, and the verdict of training and loads on it; status 1 where there are problems."""
    found = describe(folder, unknown=unknown, max_rejected=max_rejected)
    for line in (str(folder), *found.lines):
        print(line)
    if not found.problems:
        print("problems      none")
        return
    print(f"problems      {len(found.problems)}")
    for problem in found.problems:
        print(f"  {problem}")
    sys.exit(1)


if __name__ == "__main__":
    run(app)
