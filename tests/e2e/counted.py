"""A small world whose model counts what people did, for the tests that tell and ask."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from data.synthetic import Sizes, write_world
from hexbite.counters.definitions import By, Counter, Counters, Figure, default_counters
from hexbite.features import FeatureSchema
from tests.databases import new_database
from tests.e2e.conftest import Line, environment_of, run

ZONES = ("Asia/Bangkok", "Europe/London", "America/New_York")
COUNTERS = (*default_counters(["order"]), Counter("own_looks", ("look",), By.PAIR, Figure.DECAYED, half_life_days=1.0))
SMALL = Sizes(users=60, restaurants=400, clicks=4_000, test_clicks=400, requests=0)


@dataclass(frozen=True)
class Place:
    """A restaurant of the world."""

    id: int
    latitude: float
    longitude: float
    zone: str


def write_counted_world(folder: Path, lag_s: float, sizes: Sizes = SMALL) -> None:
    """The drawn world with zones and with counters, whose columns of the rows are drawn too."""
    write_world(folder, sizes, seed=7)
    users, restaurants = folder / "user_features.parquet", folder / "restaurant_features.parquet"
    stored = pl.read_parquet(restaurants)
    zones = pl.Series("time_zone", [ZONES[row % len(ZONES)] for row in range(len(stored))])
    stored.with_columns(zones).write_parquet(restaurants)
    keys = {"user_id", "restaurant_id", "latitude", "longitude", "event_ts"}
    features = ([name for name in table.columns if name not in keys] for table in (pl.read_parquet(users), stored))
    schema = FeatureSchema.from_names(*features).with_counters(Counters(COUNTERS, lag_s))
    (folder / "schema.json").write_text(json.dumps(schema.to_json()))
    draw = np.random.default_rng(3)
    for path in [*folder.glob("train/*.parquet"), *folder.glob("test/*.parquet")]:
        rows = pl.read_parquet(path)
        drawn = {name: draw.uniform(0, 5, len(rows)).astype(np.float32) for name in schema.counters.names}
        rows.with_columns(**{name: pl.Series(values) for name, values in drawn.items()}).write_parquet(path)


def counted_line(server_dsn: str, home: Path, database: str, lag_s: float) -> Line:
    """The world loaded and trained on: the states of its counters are made, and nothing has happened yet."""
    data, dsn = home / "world", new_database(server_dsn, database)
    environment = environment_of(dsn, home)
    write_counted_world(data, lag_s)
    run("db", "upgrade", environment=environment)
    run("db", "load", str(data), environment=environment)
    tag = run("training", "train", "--data", str(data), "--epochs", "1", environment=environment).split()[-1]
    return Line(data, dsn, tag, environment)


def places_of(line: Line) -> list[Place]:
    """The restaurants of a world."""
    table = pl.read_parquet(line.data / "restaurant_features.parquet")
    return [Place(*row) for row in table.select("restaurant_id", "latitude", "longitude", "time_zone").iter_rows()]
