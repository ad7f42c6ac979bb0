"""The layout of a folder of offline data; what reads it is ``data/folder``."""

from __future__ import annotations

from typing import Final

SCHEMA: Final = "schema.json"
USERS: Final = "user_features.parquet"
RESTAURANTS: Final = "restaurant_features.parquet"
REQUESTS: Final = "requests.parquet"
TRAIN: Final = "train"
TEST: Final = "test"

#: What people did, of the whole log: what counters count.
EVENTS: Final = "events"

#: What an event is called where a log tells no kinds: each of its choices is one.
VISIT: Final = "visit"

USER_KEYS: Final = ("user_id",)
RESTAURANT_KEYS: Final = ("restaurant_id", "latitude", "longitude")
CLICK_KEYS: Final = ("user_id", "restaurant_id", "click")

#: When a row of a feature table was so; the load's time stands in.
EVENT_TS: Final = "event_ts"
