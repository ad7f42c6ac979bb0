"""``python -m data``: draw a world, import check-ins, draft a map, look into a data folder."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from data.checkins import MAX_RADIUS_M, Protocol, write_checkins
from data.describe import describe
from data.draft.draft import draft_map, write_map
from data.synthetic import Sizes, write_world
from hexbite.console import run
from hexbite.features import DISTANCE_M

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Draw, import and look into offline data.")

_SIZES = Sizes()
_PROTOCOL = Protocol()


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


def _split(text: str) -> datetime | float:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(text)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(f"{text!r} is neither a fraction nor an ISO 8601 time") from error


@app.command("checkins")
def import_checkins(
    checkins: Annotated[Path, typer.Argument(help="User, ISO time, latitude, longitude, venue; tabs; plain or gzip.")],
    folder: Annotated[Path, typer.Argument(help="Where to write; an earlier output there is replaced.")],
    venues: Annotated[Path | None, typer.Option(help="Venue, name, latitude, longitude; tabs; plain or gzip.")] = None,
    split: Annotated[
        str, typer.Option(help="UTC time from which visits are test visits, or the fraction of check-ins before it.")
    ] = str(_PROTOCOL.split),
    max_age_h: Annotated[float, typer.Option(help="Hours for which a check-in tells where the person stands.")] = (
        _PROTOCOL.max_age_h
    ),
    radius_m: Annotated[
        int, typer.Option(help="How far a visit may be from there, metres.", min=1, max=MAX_RADIUS_M)
    ] = (_PROTOCOL.radius_m),
    negatives: Annotated[int, typer.Option(help="Places left alone to draw for each visit.", min=1, max=1_000)] = (
        _PROTOCOL.negatives
    ),
    seed: Annotated[int, typer.Option(help="Of the negatives, their order, and the taste factors.", min=0)] = 0,
    strict: Annotated[bool, typer.Option("--strict", help="Stop where any row is dirty.")] = False,
) -> None:
    """Import check-ins in SNAP's layout: features from before the split, visits as clicks, requests to rank for."""
    protocol = Protocol(_split(split), max_age_h, radius_m, negatives, seed)
    source = write_checkins(checkins, folder, venues=venues, protocol=protocol, strict=strict)
    print(f"{folder}: split at {source['protocol']['split']}")
    _print_counts("", source["rows"])
    for file, dirt in source["dirty"].items():
        _print_counts(f"dirty in {file}", dirt)
    print(f"{DISTANCE_M} is measured from the previous check-in, at another venue, at most {max_age_h:g} h earlier")


def _print_counts(title: str, counts: dict[str, Any]) -> None:
    if title:
        print(f"{title}: {'nothing' if not counts else ''}".rstrip())
    for what, count in counts.items():
        print(f"  {what:<36} {count:>12,}")


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
def look(folder: Annotated[Path, typer.Argument(help="The data folder.")]) -> None:
    """Say what is in a data folder; status 1 where there are problems."""
    found = describe(folder)
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
