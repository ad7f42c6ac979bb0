import json

import numpy as np
import pytest

from hexbite.errors import SchemaError
from hexbite.features import Feature, FeatureSchema

SCHEMA = FeatureSchema(
    (Feature("age", 30.0, "years"), Feature("f00")), (Feature("stars", 3.5), Feature("f00")), (Feature("distance_m"),)
)


def test_a_schema_survives_json() -> None:
    assert FeatureSchema.from_json(json.loads(json.dumps(SCHEMA.to_json()))) == SCHEMA


def test_the_fingerprint_is_of_groups_names_and_order_alone() -> None:
    bare = FeatureSchema.from_names(["age", "f00"], ["stars", "f00"], ["distance_m"])
    assert bare.fingerprint == SCHEMA.fingerprint
    assert FeatureSchema.from_names(["f00", "age"], ["stars", "f00"], ["distance_m"]).fingerprint != bare.fingerprint
    assert FeatureSchema.from_names(["age"], ["f00", "stars", "f01"], ["distance_m"]).fingerprint != bare.fingerprint
    assert FeatureSchema.from_names(["age", "f00"], ["stars", "f00"]).fingerprint != bare.fingerprint


def test_rows_are_user_then_restaurant_then_context() -> None:
    restaurants = np.array([[4, 5], [6, 7]], dtype=np.float32)
    context = SCHEMA.context_rows(np.array([100.0, 200.0]))
    rows = SCHEMA.assemble(np.array([1, 2], dtype=np.float32), restaurants, context)
    np.testing.assert_array_equal(rows, [[1, 2, 4, 5, 100], [1, 2, 6, 7, 200]])
    assert rows.dtype == np.float32
    assert SCHEMA.assemble(np.zeros(2, np.float32), restaurants[:0], context[:0]).shape == (0, 5)


def test_a_row_of_another_width_is_refused() -> None:
    with pytest.raises(SchemaError, match="restaurant rows hold 3 features, the schema names 2"):
        SCHEMA.assemble(np.zeros(2, np.float32), np.zeros((4, 3), np.float32), np.zeros((4, 1), np.float32))


def test_a_context_feature_that_no_request_can_tell_is_refused() -> None:
    schema = FeatureSchema.from_names(["a"], ["b"], ["weather"])
    with pytest.raises(SchemaError, match="weather"):
        schema.context_rows(np.zeros(3))


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"user": [{"name": "a"}, {"name": "a"}], "restaurant": [{"name": "b"}]}, "more than once"),
        ({"user": [], "restaurant": [{"name": "b"}]}, "user group is empty"),
        ({"user": [{"name": "user_id"}], "restaurant": [{"name": "b"}]}, "user_id"),
        ({"user": [{"name": "a b"}], "restaurant": [{"name": "b"}]}, "identifier"),
        ({"user": [{"name": "a", "fill": "x"}], "restaurant": [{"name": "b"}]}, "fill"),
        ({"user": [{"name": "a", "fill": 1e39}], "restaurant": [{"name": "b"}]}, "finite"),
        ({"user": [{"name": "a", "fil": 1}], "restaurant": [{"name": "b"}]}, "fil"),
        ({"users": []}, "users"),
        ({"user": [3], "restaurant": []}, "3"),
        ({"user": "a", "restaurant": []}, "list"),
        ([1], "object"),
    ],
)
def test_a_malformed_schema_is_refused_with_what_is_wrong(document: object, said: str) -> None:
    with pytest.raises(SchemaError, match=said):
        FeatureSchema.from_json(document)
