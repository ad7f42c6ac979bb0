"""The request and the answer of ``/recommend``, as the contract has them."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, WithJsonSchema

from bento.contract.ids import AnyId, RestaurantIds, whole_to_int

ROUTE: Final = "/recommend"

# RFC 3339, section 5.6: a date, a time and what it differs from UTC by.
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)", re.ASCII)


def _read_moment(value: object) -> datetime:
    if isinstance(value, datetime) and value.tzinfo is not None:  # asked in process
        return value
    if not isinstance(value, str) or not _MOMENT.fullmatch(value):
        raise ValueError('must be text as RFC 3339 has it, with an offset or Z, such as "2026-03-29T18:30:00+02:00"')
    try:
        return datetime.fromisoformat(value.upper())
    except ValueError as error:
        raise ValueError(f"is not in the calendar: {error}") from error


Moment = Annotated[datetime, PlainValidator(_read_moment), WithJsonSchema({"type": "string", "format": "date-time"})]


class RecommendRequest(BaseModel):
    """Who asks, from where, and for what. Distances in metres, coordinates in degrees."""

    # Extra fields are kept so that the service can name them; the schema says what it will say to them.
    model_config = ConfigDict(extra="allow", frozen=True, json_schema_extra={"additionalProperties": False})

    user_id: AnyId | None = Field(
        None, description="Here or in the path, in both only the same; an unknown user gets the mean user's ranking."
    )
    latitude: float = Field(strict=True, ge=-90, le=90, allow_inf_nan=False, description="Degrees north.")
    longitude: float = Field(strict=True, ge=-180, le=180, allow_inf_nan=False, description="Degrees east.")
    candidate_restaurant_ids: RestaurantIds | None = Field(
        None,
        description="Absent or null: every restaurant in range. All integers or all text; duplicates count once, "
        "unknown ids are skipped.",
    )
    size: Annotated[int, BeforeValidator(whole_to_int)] = Field(
        20, strict=True, ge=1, le=1_000, description="At most so many restaurants."
    )
    max_dist: float = Field(5_000.0, strict=True, ge=0, le=50_000, allow_inf_nan=False, description="Metres.")
    at: Moment | None = Field(
        None,
        description="The moment, in RFC 3339 with an offset or `Z`, whose hour and weekday by each restaurant's clock "
        "a model is told that asks for them. Absent or null: now.",
    )
    sort_dist: bool = Field(False, strict=True, description="Nearest first instead of best first.")
    explain: bool = Field(False, strict=True, description="Adds `meta`, and `features` to each restaurant.")


class RestaurantFeatures(BaseModel):
    """What the ranker was fed for one restaurant, by name.

    ``event_ts`` is that of its row; a ``stale`` row was too old to count, and the mean restaurant's features stand in
    its place. ``time_zone`` is the one whose clock told hour and weekday, null where the model asks for neither.
    """

    restaurant: dict[str, float]
    context: dict[str, float]
    event_ts: datetime
    stale: bool
    time_zone: str | None = None


class Recommendation(BaseModel):
    """One restaurant: ``score`` is a click probability 0..1, ``displacement`` metres from the request's position.

    ``id`` is what the data has. Where that is an integer, all of an answer are text if the candidates were, or if the
    body's ``user_id`` was and an id lies at 2^53 or beyond.
    """

    id: int | str
    score: float = Field(ge=0, le=1)
    displacement: float = Field(ge=0)
    features: RestaurantFeatures | None = None


class Counts(BaseModel):
    """How many restaurants were left after each step.

    ``asked`` is null where the request named no candidates; ``in_cover`` are those that the store's prefilter returned.
    Where a request without candidates is cut at the nearest, it counts what was read, not all that is in range.
    ``left_out`` are those that could not be scored or named: their rows lack a time zone, or the text of their id.
    """

    asked: int | None
    known: int
    in_cover: int
    in_range: int
    scored: int
    left_out: int


class Freshness(BaseModel):
    """What was too old to count; ``max_feature_age_s`` is null where nothing is."""

    max_feature_age_s: float | None
    user_event_ts: datetime | None
    user_stale: bool
    stale_restaurants: int


class MemoryMeta(BaseModel):
    """How much the answer knows of what people did.

    What belongs to the person never lags: ``pending_events`` of it were counted that no refresh has moved yet. What
    belongs to places alone is as of ``places_refreshed_at``: the service refreshes it every ``refresh_s`` seconds, null
    for never, and the model was trained with a lag of ``lag_s``.
    """

    places_refreshed_at: datetime
    lag_s: float
    refresh_s: float | None
    pending_events: int


class Meta(BaseModel):
    """Why the answer is what it is. ``at`` is the moment that it was asked for.

    ``memory`` is null where the model counts nothing.
    """

    model: str
    at: datetime
    cold_start: bool
    freshness: Freshness
    counts: Counts
    memory: MemoryMeta | None = None
    stages_ms: dict[str, float]
    user_features: dict[str, float]


class RecommendResponse(BaseModel):
    """Restaurants in order; ``meta`` only where the request asked for an explanation."""

    restaurants: list[Recommendation]
    meta: Meta | None = None


class ErrorDetail(BaseModel):
    """``code`` is for programs, ``message`` for people, ``field`` the one to blame (null where it is none)."""

    code: str
    message: str
    field: str | None


class ErrorResponse(BaseModel):
    """The one form of every error."""

    error: ErrorDetail


def unknown_fields(request: RecommendRequest) -> list[str]:
    """The names of the body's fields that the contract does not know."""
    extra: dict[str, Any] = request.model_extra or {}
    return list(extra)
