"""The request and the answer of ``/events``, as the contract has them."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from bento.contract.ids import AnyId, text_or_refusal, whole_to_int
from bento.contract.models import Moment
from hexbite.ids import MAX_TEXT_BYTES

EVENTS_ROUTE: Final = "/events"

MAX_EVENTS: Final = 1_000

#: What becomes of an event that is told.
Outcome = Literal["taken", "known", "refused"]

#: Why one is refused that is told rightly.
Reason = Literal["too_late", "in_the_future", "before_retention"]

_MOST_POSITION: Final = 2**31 - 1

Kind = Annotated[
    str,
    Field(strict=True, json_schema_extra={"minLength": 1, "maxLength": MAX_TEXT_BYTES}),
    AfterValidator(text_or_refusal),
]


class Event(BaseModel):
    """What somebody did at a restaurant. Ids are as in `/recommend`."""

    # Extra fields are kept so that the service can name them; the schema says what it will say to them.
    model_config = ConfigDict(extra="allow", frozen=True, json_schema_extra={"additionalProperties": False})

    event_id: AnyId = Field(
        description="The teller's own id: text, or an integer, which is its decimal text. An id counts once, whatever "
        "else is told with it."
    )
    user_id: AnyId = Field(description="Who; an unknown user is remembered too.")
    restaurant_id: AnyId = Field(description="Where; an unknown restaurant is remembered too.")
    event: Kind = Field(
        description="What: a kind that a counter names; of another kind it is kept, and counts nothing."
    )
    event_ts: Moment = Field(description="When, in RFC 3339 with an offset or `Z`.")
    latitude: float | None = Field(
        None, strict=True, ge=-90, le=90, allow_inf_nan=False, description="Where the person was, in degrees north."
    )
    longitude: float | None = Field(
        None, strict=True, ge=-180, le=180, allow_inf_nan=False, description="Degrees east; told with `latitude`."
    )
    request_id: str | None = Field(
        None,
        strict=True,
        pattern="^[A-Za-z0-9._:-]{1,128}$",
        description="The `X-Request-Id` of the recommendation that led to it.",
    )
    position: Annotated[int, BeforeValidator(whole_to_int)] | None = Field(
        None, strict=True, ge=0, le=_MOST_POSITION, description="Where in that recommendation the restaurant stood."
    )
    value: float | None = Field(None, strict=True, allow_inf_nan=False, description="What it was worth.")

    @model_validator(mode="after")
    def _require_a_whole_position(self) -> Event:
        if (self.latitude is None) != (self.longitude is None):
            raise ValueError("latitude and longitude are told together or not at all")
        return self


class EventsRequest(BaseModel):
    """Events to remember, of any users."""

    model_config = ConfigDict(extra="allow", frozen=True, json_schema_extra={"additionalProperties": False})

    events: list[Event] = Field(min_length=1, max_length=MAX_EVENTS, fail_fast=True, description="In any order.")


class Told(BaseModel):
    """What became of one event: ``taken``, ``known`` since it was told before, or ``refused``.

    ``reason`` and ``message`` say why it was refused: it happened longer ago than is taken (`too_late`), it is yet to
    happen (`in_the_future`), or the events of its time are gone (`before_retention`). Telling it again is vain.
    """

    event_id: int | str
    outcome: Outcome
    reason: Reason | None = None
    message: str | None = None


class EventsResponse(BaseModel):
    """The events in the order in which they were told, and how many of them came to what."""

    events: list[Told]
    taken: int = Field(ge=0)
    known: int = Field(ge=0)
    refused: int = Field(ge=0)


def unknown_event_fields(request: EventsRequest) -> list[str]:
    """The names of the fields that the contract does not know, those of an event behind its place."""
    extra: dict[str, Any] = request.model_extra or {}
    return [
        *extra,
        *(f"events.{place}.{name}" for place, event in enumerate(request.events) for name in event.model_extra or ()),
    ]
