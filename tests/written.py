"""Rows written by SQL, of any schema: ids of either kind, zones beside the features."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import psycopg
from psycopg.types.json import Jsonb

from hexbite.artifact import Artifact
from hexbite.counters.definitions import By
from hexbite.counters.packing import states_to_bytes
from hexbite.counters.states import Layout
from hexbite.features import FeatureSchema
from hexbite.geo import degrees_to_cell
from hexbite.ids import text_to_id
from hexbite.networks import NETWORKS
from hexbite.ranker import Ranker
from hexbite.zones import zone_to_number

Connection = psycopg.Connection[Any]
Place = tuple[float, float]


def drawn_model(schema: FeatureSchema) -> Artifact:
    """A model of a schema that learned nothing: its weights are drawn, its missing rows are zeros."""
    ranker = Ranker.fold(NETWORKS["ranknet"](schema.width), np.zeros(schema.width), np.ones(schema.width))
    user, restaurant = (np.zeros(len(schema.group(name)), np.float32) for name in ("user", "restaurant"))
    return Artifact(schema, ranker, user, restaurant)


def register(connection: Connection, schema: FeatureSchema) -> int:
    """The number of the schema in the store, where nothing has happened yet."""
    stored = schema.stored_restaurant_names
    row = connection.execute(
        "INSERT INTO feature_schemas (fingerprint, user_features, restaurant_features, context_features, user_fills,"
        " restaurant_fills, counters, empty_state, remembered_at)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, CASE WHEN %s THEN now() END) RETURNING schema_id",
        (
            schema.fingerprint,
            *(list(names) for names in (schema.names("user"), stored, schema.names("context"))),
            list(schema.fills("user")),
            [*schema.fills("restaurant"), *[None] * (len(stored) - len(schema.restaurant))],
            Jsonb(schema.counters.to_json() if schema.counters else {}),
            states_to_bytes(Layout.of(schema.counters, By.RESTAURANT).empty()),
            bool(schema.counters),
        ),
    ).fetchone()
    assert row is not None
    return int(row[0])


def write_users(connection: Connection, schema_id: int, users: Mapping[Any, list[float]]) -> None:
    """Features by id."""
    insert = "INSERT INTO users (schema_id, user_id, user_key, features) VALUES (%s, %s, %s, %s)"
    with connection.cursor() as cursor:
        cursor.executemany(insert, [(schema_id, *id_and_key(id_), row) for id_, row in users.items()])


def write_restaurants(
    connection: Connection, schema_id: int, restaurants: Mapping[Any, tuple[Place, list[float], str | None]]
) -> None:
    """Position, features and, where the schema tells local time, zone by id."""
    insert = (
        "INSERT INTO restaurants (schema_id, restaurant_id, restaurant_key, latitude, longitude, h3_cell, features)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s)"
    )
    rows = [
        (
            schema_id,
            *id_and_key(id_),
            *place,
            degrees_to_cell(*place),
            [*features, *([] if zone is None else [float(zone_to_number(zone))])],
        )
        for id_, (place, features, zone) in restaurants.items()
    ]
    with connection.cursor() as cursor:
        cursor.executemany(insert, rows)


def id_and_key(id_: int | str) -> tuple[int, str | None]:
    """What stands in the table's two columns of an id."""
    return (text_to_id(id_), id_) if isinstance(id_, str) else (id_, None)
