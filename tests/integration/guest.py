"""A small town in a store, and everything that is done with one, for a guest in somebody else's database."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from db import migrate
from db.access.connections import Connections
from db.loading.load import load
from db.loading.move import move
from db.reading.online import FeatureStore
from db.status import status
from hexbite.cover import circle_to_intervals
from hexbite.features import FeatureSchema
from hexbite.folder import RESTAURANTS, USERS

#: Names that are not ASCII: they go into the store.
FEATURES = FeatureSchema.from_names(["größe", "อาหาร"], ["preis"])
CENTRE = (13.75, 100.5)


def write_town(folder: Path, *, first: float = 1.0) -> Path:
    """A data folder of a few users and restaurants, with event times; ``first`` is the first user's first feature."""
    folder.mkdir(exist_ok=True)
    ids = np.arange(1, 6)
    event = pl.Series("event_ts", [1_700_000_000_000_000] * len(ids)).cast(pl.Datetime("us", "UTC"))
    users = {"user_id": ids, "größe": [first, 2.0, 3.0, 4.0, 5.0], "อาหาร": ids / 2, "event_ts": event}
    pl.DataFrame(users).write_parquet(folder / USERS)
    restaurants = {
        "restaurant_id": ids,
        "latitude": CENTRE[0] + ids * 1e-4,
        "longitude": CENTRE[1] + ids * 1e-4,
        "preis": ids * 1.5,
        "event_ts": event,
    }
    pl.DataFrame(restaurants).write_parquet(folder / RESTAURANTS)
    return folder


async def read(dsn: str, schema: str = "hexbite", *, user: int = 1) -> tuple[Any, ...]:
    """What the service reads: ready, then the user's features and the restaurants around, with ids and features."""
    store = FeatureStore(Connections(dsn, most=1, timeout_s=10, schema=schema), FEATURES)
    try:
        await store.check()
        snapshot = await store.nearby(user, circle_to_intervals(*CENTRE, 1_000.0))
        some = await store.candidates(user, [2, 3], count_known=True)
    finally:
        await store.connections.close()
    assert snapshot.user is not None
    found = np.sort(snapshot.restaurants, order="id")
    return (
        snapshot.user.tolist(),
        snapshot.user_event_us,
        [(int(row["id"]), row["features"].tolist(), int(row["event_us"])) for row in found],
        some.known,
    )


def live(dsn: str, folder: Path, schema: str = "hexbite") -> list[str]:
    """Every command once, on a store that may have nothing yet; the lines of its status that do not tell of today."""
    migrate.upgrade(dsn, schema=schema)
    migrate.downgrade(dsn, "-1", schema=schema)
    migrate.upgrade(dsn, schema=schema)
    load(dsn, write_town(folder, first=9.0), schema=schema)
    load(dsn, write_town(folder), mode="upsert", schema=schema)
    load(dsn, folder, schema=schema)
    assert move(dsn, 5, CENTRE[0] + 5e-4, CENTRE[1] + 5e-4, schema=schema) == (1, 0)
    return [line for line in status(dsn, schema)[1:] if "registered" not in line]
