"""The request and the answer of ``/recommend``, as the contract has them."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

ROUTE: Final = "/recommend"

MAX_CANDIDATES_ASKED: Final = 10_000

_INT64: Final = range(-(2**63), 2**63)

# From here on two integers are one and the same float: which of them was meant nobody can tell.
_INEXACT: Final = 2**53

_USER_ID: Final = re.compile(r"u?(-?)0*([0-9]{1,19})", re.ASCII)


def whole_to_int(value: object) -> object:
    """``20.0`` is the integer 20: some clients know one kind of number. What is no whole float is left as it is.

    Raises ValueError for a whole float that may stand for several integers.
    """
    if not isinstance(value, float) or not value.is_integer():
        return value
    if abs(value) >= _INEXACT:
        raise ValueError("must be written as an integer: with a point or an exponent it is exact only below 2^53")
    return int(value)


def parse_user_id(value: object) -> int:
    """``7``, ``7.0``, ``"7"``, ``"u7"`` and ``"u00007"`` are user 7. Raises ValueError for anything else."""
    value = whole_to_int(value)
    if isinstance(value, str) and (found := _USER_ID.fullmatch(value)):
        value = int(found[1] + found[2])
    if isinstance(value, bool) or not isinstance(value, int) or value not in _INT64:
        raise ValueError('must be a 64-bit id such as 7, "7" or "u00007"')
    return value


#: A user as text, in a path or a body. Nineteen digits are promised up to 8,999,999,999,999,999,999, for the sake of a
#: pattern that can be read; a few more are 64-bit ids, and taken.
USER_ID_SCHEMA: Final[dict[str, Any]] = {"type": "string", "pattern": "^u?-?0*[0-8]?[0-9]{1,18}$"}
_INT64_SCHEMA: Final = {"type": "integer", "format": "int64", "minimum": _INT64[0], "maximum": _INT64[-1]}

UserId = Annotated[int, BeforeValidator(parse_user_id), WithJsonSchema({"anyOf": [_INT64_SCHEMA, USER_ID_SCHEMA]})]
RestaurantId = Annotated[int, Field(strict=True, ge=_INT64[0], le=_INT64[-1])]

#: Integers as the parser reads them, where they are; else each is looked at, which takes ten times as long.
RestaurantIds = Annotated[
    Annotated[list[RestaurantId], Field(max_length=MAX_CANDIDATES_ASKED, fail_fast=True)]
    | Annotated[list[Annotated[RestaurantId, BeforeValidator(whole_to_int)]], Field(max_length=MAX_CANDIDATES_ASKED)],
    Field(union_mode="left_to_right"),
    WithJsonSchema({"type": "array", "maxItems": MAX_CANDIDATES_ASKED, "items": _INT64_SCHEMA}),
]

#: What pydantic calls the first way, in an error of it: what counts is what the second says.
FIRST_WAY: Final = "list[constrained-int]"


class RecommendRequest(BaseModel):
    """Who asks, from where, and for what. Distances in metres, coordinates in degrees."""

    # Extra fields are kept so that the service can name them; the schema says what it will say to them.
    model_config = ConfigDict(extra="allow", frozen=True, json_schema_extra={"additionalProperties": False})

    user_id: UserId | None = Field(
        None, description="Here or in the path, in both only the same; an unknown user gets the mean user's ranking."
    )
    latitude: float = Field(strict=True, ge=-90, le=90, allow_inf_nan=False, description="Degrees north.")
    longitude: float = Field(strict=True, ge=-180, le=180, allow_inf_nan=False, description="Degrees east.")
    candidate_restaurant_ids: RestaurantIds | None = Field(
        None,
        description="Absent or null: every restaurant in range. Duplicates count once, unknown ids are skipped.",
    )
    size: Annotated[int, BeforeValidator(whole_to_int)] = Field(
        20, strict=True, ge=1, le=1_000, description="At most so many restaurants."
    )
    max_dist: float = Field(5_000.0, strict=True, ge=0, le=50_000, allow_inf_nan=False, description="Metres.")
    sort_dist: bool = Field(False, strict=True, description="Nearest first instead of best first.")
    explain: bool = Field(False, strict=True, description="Adds `meta`, and `features` to each restaurant.")


class RestaurantFeatures(BaseModel):
    """What the ranker was fed for one restaurant, by name.

    ``event_ts`` is that of its row; a ``stale`` row was too old to count, and the mean restaurant's features stand in
    its place.
    """

    restaurant: dict[str, float]
    context: dict[str, float]
    event_ts: datetime
    stale: bool


class Recommendation(BaseModel):
    """One restaurant: ``score`` is a click probability 0..1, ``displacement`` metres from the request's position."""

    id: int
    score: float = Field(ge=0, le=1)
    displacement: float = Field(ge=0)
    features: RestaurantFeatures | None = None


class Counts(BaseModel):
    """How many restaurants were left after each step.

    ``asked`` is null where the request named no candidates; ``in_cover`` are those that the store's prefilter returned.
    Where a request without candidates is cut at the nearest, it counts what was read, not all that is in range.
    """

    asked: int | None
    known: int
    in_cover: int
    in_range: int
    scored: int


class Freshness(BaseModel):
    """What was too old to count; ``max_feature_age_s`` is null where nothing is."""

    max_feature_age_s: float | None
    user_event_ts: datetime | None
    user_stale: bool
    stale_restaurants: int


class Meta(BaseModel):
    """Why the answer is what it is."""

    model: str
    cold_start: bool
    freshness: Freshness
    counts: Counts
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
