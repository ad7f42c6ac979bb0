"""What the tables refuse by themselves, whoever writes."""

from collections.abc import Iterator
from typing import Any

import h3.api.basic_int as h3
import numpy as np
import psycopg
import pytest
from psycopg import errors

from hexbite.features import FeatureSchema
from hexbite.geo import degrees_to_cell

SCHEMA = FeatureSchema.from_names(["a", "b"], ["c", "d", "e"])
HERE = (13.75, 100.5)
CELL = degrees_to_cell(*HERE)


@pytest.fixture
def store(migrated_database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(migrated_database, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO feature_schemas (fingerprint, user_features, restaurant_features, context_features,"
            " user_fills, restaurant_fills) VALUES (%s, '{a,b}', '{c,d,e}', '{}', '{0,NULL}', '{NULL,NULL,NULL}')",
            (SCHEMA.fingerprint,),
        )
        connection.execute("INSERT INTO users (schema_id, user_id, features) VALUES (1, 7, '{1,2}')")
        connection.execute(
            "INSERT INTO restaurants (schema_id, restaurant_id, latitude, longitude, h3_cell, features)"
            " VALUES (1, 5, %s, %s, %s, '{1,2,3}')",
            (*HERE, CELL),
        )
        yield connection


BAD_FEATURES = {
    "a NULL element": "{1,NULL}",
    "NaN": "{1,NaN}",
    "infinity": "{1,Infinity}",
    "minus infinity": "{1,-Infinity}",
    "too few": "{1}",
    "too many": "{1,2,3,4}",
    "none": "{}",
    "two dimensions": "{{1,2}}",
    "another lower bound": "[0:1]={1,2}",
}


@pytest.mark.parametrize("features", BAD_FEATURES.values(), ids=BAD_FEATURES)
def test_features_that_could_not_be_read_are_refused(store: psycopg.Connection[Any], features: str) -> None:
    with pytest.raises(errors.CheckViolation):
        store.execute("INSERT INTO users (schema_id, user_id, features) VALUES (1, 8, %s::real[])", (features,))
    with pytest.raises(errors.CheckViolation):
        store.execute("UPDATE users SET features = %s::real[]", (features,))
    with pytest.raises(errors.CheckViolation):
        store.execute("UPDATE restaurants SET features = %s::real[]", (features,))
    assert store.execute("SELECT features FROM users").fetchall() == [([1.0, 2.0],)]


def test_missing_features_and_unknown_schemas_are_refused(store: psycopg.Connection[Any]) -> None:
    with pytest.raises(errors.NotNullViolation):
        store.execute("UPDATE users SET features = NULL")
    with pytest.raises(errors.ForeignKeyViolation):
        store.execute("INSERT INTO users (schema_id, user_id, features) VALUES (2, 8, '{1,2}')")


def test_the_width_comes_from_the_registry(store: psycopg.Connection[Any]) -> None:
    store.execute(
        "INSERT INTO feature_schemas (fingerprint, user_features, restaurant_features, context_features,"
        " user_fills, restaurant_fills) VALUES (%s, '{a,b,c,d}', '{c}', '{}', '{0,0,0,0}', '{0}')",
        (FeatureSchema.from_names("abcd", "c").fingerprint,),
    )
    store.execute("INSERT INTO users (schema_id, user_id, features) VALUES (2, 7, '{1,2,3,4}')")
    with pytest.raises(errors.CheckViolation, match=r"user 8 has 2 features, its schema .* has 4"):
        store.execute("INSERT INTO users (schema_id, user_id, features) VALUES (2, 8, '{1,2}')")
    with pytest.raises(errors.CheckViolation, match="cannot change"):
        store.execute("UPDATE feature_schemas SET user_features = '{a}', user_fills = '{0}' WHERE schema_id = 2")


@pytest.mark.parametrize(
    ("latitude", "longitude"), [(90.1, 0), (-91, 0), (0, 180.5), (0, "-Infinity"), ("NaN", 0), (0, "NaN"), (None, 0)]
)
def test_a_position_out_of_range_is_refused(store: psycopg.Connection[Any], latitude: Any, longitude: Any) -> None:
    with pytest.raises((errors.CheckViolation, errors.NotNullViolation)):
        store.execute(
            "UPDATE restaurants SET latitude = %s, longitude = %s, h3_cell = %s",
            (latitude, longitude, degrees_to_cell(1, 1)),
        )


def test_a_position_does_not_change_without_its_cell_nor_a_cell_without_its_position(
    store: psycopg.Connection[Any],
) -> None:
    with pytest.raises(errors.CheckViolation, match="change together") as refused:
        store.execute("UPDATE restaurants SET latitude = 13.9")
    assert refused.value.diag.message_hint == "python -m db move 5 13.9 100.5"
    with pytest.raises(errors.CheckViolation, match="change together"):
        store.execute("UPDATE restaurants SET h3_cell = %s", (degrees_to_cell(1, 1),))
    store.execute("UPDATE restaurants SET latitude = 1, longitude = 1, h3_cell = %s", (degrees_to_cell(1, 1),))
    store.execute("UPDATE restaurants SET features = '{4,5,6}'")


def test_every_cell_of_a_place_is_taken_and_what_is_none_is_refused(store: psycopg.Connection[Any]) -> None:
    draws = np.random.default_rng(3)
    pentagons = [h3.cell_to_latlng(cell) for cell in h3.get_pentagons(3)]
    near = [(lat + a, lng + b) for lat, lng in pentagons for a, b in draws.normal(0, 0.5, (40, 2))]
    anywhere = [(np.degrees(np.arcsin(a)), b) for a, b in draws.uniform((-1, -180), (1, 180), (400, 2))]
    for lat, lng in near + anywhere:
        cell = h3.latlng_to_cell(lat, lng, 15)
        store.execute("UPDATE restaurants SET latitude = %s, longitude = %s, h3_cell = %s", (lat % 90, lng % 180, cell))
    for wrong in (0, 1, -CELL, h3.latlng_to_cell(*HERE, 14), CELL | 7, CELL | 1 << 63 - 1, CELL | 127 << 45):
        if wrong != CELL and not h3.is_valid_cell(wrong % 2**64):
            with pytest.raises((errors.CheckViolation, errors.NumericValueOutOfRange)):
                store.execute("UPDATE restaurants SET latitude = 1, longitude = 2, h3_cell = %s", (wrong,))


@pytest.mark.parametrize("table", ["users", "restaurants"])
def test_an_event_time_stands_on_every_row_and_is_one_that_the_calendar_holds_whatever_a_session_is_set_to(
    store: psycopg.Connection[Any], table: str
) -> None:
    assert store.execute(f"SELECT count(*) FROM {table} WHERE event_ts IS NOT NULL").fetchone() == (1,)
    first, last = "0001-01-01 00:00:00+00", "9999-12-31 23:59:59.999999+00"
    beyond = ["infinity", "-infinity", "10000-01-01 00:00:00+00", "290000-01-01 00:00:00+00", "4713-01-01 00:00+00 BC"]
    for zone, style in (("UTC", "ISO"), ("Pacific/Kiritimati", "German"), ("US/Hawaii", "SQL, DMY")):
        store.execute(f"SET timezone = '{zone}'; SET datestyle = '{style}'".encode())
        update = f"UPDATE {table} SET event_ts = %s::timestamptz"
        for held in (first, last):
            store.execute(update, (held,))
        for bad in (*beyond, None):
            with pytest.raises((errors.CheckViolation, errors.NotNullViolation)):
                store.execute(update, (bad,))
        for moment, step in ((first, "-"), (last, "+")):
            with pytest.raises(errors.CheckViolation):
                store.execute(f"{update} {step} interval '1 microsecond'", (moment,))
