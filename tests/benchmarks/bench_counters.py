"""Requests a second of a model with counters beside the same without, in turn; the median ratios in the last line.

    python -m tests.benchmarks.bench_counters [--pairs N] [--seconds N] [--restaurants N]

One world in one store under two schemas: the same people, places and features, and with the one the default counters,
the states of every place, and of people who know 200 places, or 5,000. Two kinds of requests each: with 1,000
candidates, few of them in range, and with all in range, some hundreds. Two services, of which the one that is not
asked waits.
"""

import argparse
import asyncio
import contextlib
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import psycopg
import torch
from pydantic_core import to_json

from db.embedded import EmbeddedServer
from db.migrate import upgrade
from hexbite.counters.definitions import By, Counters, default_counters
from hexbite.counters.packing import places_to_records, states_to_bytes
from hexbite.counters.states import Layout, Stat, Values
from hexbite.features import TIME_ZONE, FeatureSchema
from hexbite.geo import degrees_to_cells
from hexbite.zones import zone_to_number
from tests.benchmarks.bench_ids import CENTRE, FEATURES, PER_KM2, saturate
from tests.benchmarks.programs import run
from tests.benchmarks.servers import service
from tests.written import drawn_model, register

PLAIN: Final = FeatureSchema.from_names(
    *([f"f{number:02}" for number in range(count)] for count in FEATURES), ["distance_m", "hour"]
)
COUNTED: Final = PLAIN.with_counters(Counters(default_counters(["order"]), lag_s=60.0))
SCHEMAS: Final = {"plain": PLAIN, "counted": COUNTED}

#: People by how many places they know; ids from there on.
PEOPLE: Final = {200: range(1_000), 5_000: range(1_000, 1_100)}
REQUESTS: Final = 300
NOW_US: Final = 1_790_000_000_000_000
ZONE: Final = float(zone_to_number("Asia/Bangkok"))


class Mix(NamedTuple):
    """Requests of people who know so many places, with so many candidates, None for all in range."""

    places: int
    candidates: int | None
    max_dist: float

    @property
    def kind(self) -> str:
        return "in_range" if self.candidates is None else "candidates"

    @property
    def name(self) -> str:
        asked = "all in range" if self.candidates is None else f"{self.candidates:,} candidates"
        return f"{self.places:,} places, {asked}"


MIXES: Final = tuple(Mix(places, *asked) for places in PEOPLE for asked in ((1_000, 7_500.0), (None, 2_000.0)))


def drawn_states(draw: np.random.Generator, layout: Layout, count: int) -> Values:
    """States of things that were counted, in the last thirty days."""
    states = np.floor(draw.gamma(0.5, 20.0, (count, layout.width)))
    for place, column in enumerate(layout.columns):
        if column.need.stat in (Stat.LAST, Stat.FIRST):
            states[:, place] = NOW_US - draw.integers(0, 30 * 86_400_000_000, count)
    return states


def fill(database: str, count: int) -> None:
    """So many restaurants in a square around the centre, and the people, under both schemas."""
    draw = np.random.default_rng(count)
    half_km = np.sqrt(count / PER_KM2) / 2
    lats = CENTRE[0] + draw.uniform(-half_km, half_km, count) / 111.195
    lngs = CENTRE[1] + draw.uniform(-half_km, half_km, count) / 111.195 / np.cos(np.radians(CENTRE[0]))
    features = np.column_stack((draw.normal(size=(count, FEATURES[1])).round(4), np.full(count, ZONE)))
    assert PLAIN.stored_restaurant_names[-1] == TIME_ZONE
    places = list(
        zip(lats.tolist(), lngs.tolist(), degrees_to_cells(lats, lngs).tolist(), features.tolist(), strict=True)
    )
    users = [id_ for people in PEOPLE.values() for id_ in people]
    of_users = draw.normal(size=(len(users), FEATURES[0])).round(4).tolist()
    layouts = {by: Layout.of(COUNTED.counters, by) for by in By}
    upgrade(database)
    with psycopg.connect(database) as connection, connection.cursor() as cursor:
        for schema in SCHEMAS.values():
            schema_id = register(connection, schema)
            if schema.counters:
                _remember(cursor, schema_id, draw, layouts, count)
            with cursor.copy(
                "COPY hexbite.restaurants (schema_id, restaurant_id, latitude, longitude, h3_cell, features) FROM STDIN"
            ) as rows:
                for id_, place in enumerate(places):
                    rows.write_row((schema_id, id_, *place))
            with cursor.copy("COPY hexbite.users (schema_id, user_id, features) FROM STDIN") as rows:
                for id_, values in zip(users, of_users, strict=True):
                    rows.write_row((schema_id, id_, values))
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE) hexbite.users, hexbite.restaurants, hexbite.user_states")


def _remember(
    cursor: psycopg.Cursor[Any], schema_id: int, draw: np.random.Generator, layouts: dict[By, Layout], count: int
) -> None:
    """What is known of every place, of the people, and of the ways from the places that they were at last."""
    with cursor.copy("COPY hexbite.restaurant_states (schema_id, restaurant_id, state) FROM STDIN") as rows:
        for id_, state in enumerate(drawn_states(draw, layouts[By.RESTAURANT], count)):
            rows.write_row((schema_id, id_, states_to_bytes(state)))
    copy = "COPY hexbite.user_states (schema_id, user_id, state, previous_id, previous_ts, places) FROM STDIN"
    previous = set()
    with cursor.copy(copy) as rows:
        for known, people in PEOPLE.items():
            for id_ in people:
                ids = np.sort(draw.choice(count, min(known, count), replace=False))
                pairs = drawn_states(draw, layouts[By.PAIR], len(ids))
                state = drawn_states(draw, layouts[By.USER], 1)
                previous.add(int(ids[0]))
                packed = places_to_records(ids, pairs).tobytes()
                rows.write_row((schema_id, id_, states_to_bytes(state), int(ids[0]), "2026-11-25T12:00:00Z", packed))
    with cursor.copy("COPY hexbite.arrival_states (schema_id, restaurant_id, places) FROM STDIN") as rows:
        for id_ in sorted(previous):
            ids = np.sort(draw.choice(count, min(50, count), replace=False))
            rows.write_row(
                (schema_id, id_, places_to_records(ids, drawn_states(draw, layouts[By.PREVIOUS], len(ids))).tobytes())
            )


def drawn_requests(mix: Mix, count: int) -> list[bytes]:
    """Whole requests, the same ones for either model."""
    draw = np.random.default_rng(7)
    found = []
    for _ in range(REQUESTS):
        away = draw.normal(0, 0.01, 2)
        body: dict[str, Any] = {"latitude": CENTRE[0] + away[0], "longitude": CENTRE[1] + away[1]}
        body |= {"max_dist": mix.max_dist, "at": "2026-11-25T13:00:00Z"}
        if mix.candidates is not None:
            body["candidate_restaurant_ids"] = draw.choice(count, min(count, mix.candidates), replace=False).tolist()
        sent = to_json(body)
        head = f"POST /recommend/{draw.choice(PEOPLE[mix.places])} HTTP/1.1\r\nhost: bench\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(sent)}\r\n\r\n"
        found.append(head.encode() + sent)
    return found


@contextlib.contextmanager
def served_by(
    name: str, schema: FeatureSchema, database: str, scratch: Path, workers: int, settings: Mapping[str, str]
) -> Iterator[str]:
    """The address of a service whose model has drawn weights."""
    home = {"BENTOML_HOME": str(scratch / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    environment = os.environ | home | {"DATABASE_URL": database} | settings
    folder = scratch / name
    folder.mkdir()
    torch.manual_seed(0)
    drawn_model(schema).save(folder)
    published = run([sys.executable, "-m", "training", "publish", str(folder)], environment)
    model = {"HEXBITE_MODEL": published.printed.split()[-1]}
    with service(environment | model, folder, workers=workers) as url:
        yield url


@contextlib.contextmanager
def served(database: str, scratch: Path, workers: int) -> Iterator[dict[str, str]]:
    """The addresses of a service of each model."""
    with contextlib.ExitStack() as stack:
        off = {"HEXBITE_REFRESH_S": "off"}
        yield {
            name: stack.enter_context(served_by(name, schema, database, scratch, workers, off))
            for name, schema in SCHEMAS.items()
        }


def in_turn(urls: dict[str, str], count: int, pairs: int, seconds: float) -> dict[Mix, list[float]]:
    """Requests a second with counters over those without, of each mix, as often as there are pairs."""
    found: dict[Mix, list[float]] = {mix: [] for mix in MIXES}
    requests = {mix: drawn_requests(mix, count) for mix in MIXES}
    for mix in MIXES:
        for url in urls.values():  # the caches warm
            asyncio.run(saturate(url, requests[mix], seconds / 2))
    for pair in range(pairs):
        for mix in MIXES:
            rates = {}
            # Who is first may matter.
            for name in list(urls)[:: 1 if pair % 2 == 0 else -1]:
                rates[name] = asyncio.run(saturate(urls[name], requests[mix], seconds))
            found[mix].append(rates["counted"] / rates["plain"])
            shown = ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items())
            print(f"pair {pair + 1}, {mix.name}: {shown} requests/s, load {os.getloadavg()[0]:.1f}", flush=True)
    return found


def measure(database: str, scratch: Path, count: int, pairs: int, seconds: float, workers: int = 2) -> str:
    """The last line: the median ratio of each mix."""
    fill(database, count)
    with served(database, scratch, workers) as urls:
        found = in_turn(urls, count, pairs, seconds)
    return " ".join(
        f"counters_{mix.places}_{mix.kind} {statistics.median(ratios):.3f}" for mix, ratios in found.items()
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--pairs", type=int, default=20)
    arguments.add_argument("--seconds", type=float, default=1.5, help="of one run: short, as other load comes and goes")
    arguments.add_argument("--restaurants", type=int, default=100_000)
    asked = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="hexbite-bench-") as folder:
        server = EmbeddedServer(Path(folder) / "home")
        try:
            dsn = server.ensure_running()
            print(measure(dsn, Path(folder), asked.restaurants, asked.pairs, asked.seconds))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
