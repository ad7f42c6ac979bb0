"""A town of restaurants for two schemas, for the tests of reads."""

from typing import Any

import numpy as np
import psycopg

from hexbite.features import FeatureSchema
from hexbite.geo import degrees_to_cells

SCHEMA = FeatureSchema.from_names(["a", "b"], ["c", "d", "e"])
OTHER = FeatureSchema.from_names(["a", "b"], ["c", "d"])
CENTRE = (13.75, 100.5)
COUNT = 20_000


def draw_town() -> dict[str, np.ndarray]:
    """Restaurants within some 25 km of the centre, with ids that are neither dense nor in order."""
    draw = np.random.default_rng(5)
    lats, lngs = CENTRE[0] + draw.uniform(-0.2, 0.2, COUNT), CENTRE[1] + draw.uniform(-0.2, 0.2, COUNT)
    ids = draw.permutation(COUNT).astype(np.int64) * 1_000_003 - 5_000_000_000
    features = draw.normal(size=(COUNT, 3)).astype(np.float32)
    return {"ids": ids, "lats": lats, "lngs": lngs, "cells": degrees_to_cells(lats, lngs), "features": features}


def fill(database: str, town: dict[str, Any]) -> None:
    """Put the town into migrated tables, vacuumed and analysed; user -7 is the only one."""
    with psycopg.connect(database) as connection:
        for schema in (SCHEMA, OTHER):
            connection.execute(
                "INSERT INTO feature_schemas (fingerprint, user_features, restaurant_features, context_features,"
                " user_fills, restaurant_fills) VALUES (%s, %s, %s, '{}', %s, %s)",
                (
                    schema.fingerprint,
                    list(schema.names("user")),
                    list(schema.names("restaurant")),
                    list(schema.fills("user")),
                    list(schema.fills("restaurant")),
                ),
            )
        ours, other = (
            connection.execute(
                "SELECT schema_id FROM feature_schemas WHERE fingerprint = %s", (s.fingerprint,)
            ).fetchone()
            for s in (SCHEMA, OTHER)
        )
        assert ours is not None and other is not None
        copy = "COPY restaurants (schema_id, restaurant_id, latitude, longitude, h3_cell, features) FROM STDIN"
        with connection.cursor() as cursor, cursor.copy(copy) as rows:
            columns = (town[name].tolist() for name in ("ids", "lats", "lngs", "cells", "features"))
            for id_, lat, lng, cell, features in zip(*columns, strict=True):
                rows.write_row((ours[0], id_, lat, lng, cell, features))
                # The other model's rows stand at the same places.
                rows.write_row((other[0], id_, lat, lng, cell, features[:2]))
        connection.execute("INSERT INTO users (schema_id, user_id, features) VALUES (%s, -7, '{1, 2.5}')", ours)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE) restaurants")
