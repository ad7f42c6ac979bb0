"""The one table of errors: what a client sees for everything that can go wrong, ours or the framework's."""

from __future__ import annotations

import codecs
import logging
from collections.abc import Mapping
from typing import Final, NamedTuple

from pydantic import ValidationError
from starlette.responses import JSONResponse

from bento.contract.ids import QUICK_WAYS
from bento.contract.models import ErrorDetail, ErrorResponse
from hexbite.errors import (
    ArtifactError,
    InvalidRequestError,
    ModelStoreError,
    SchemaError,
    ServerError,
    SettingsError,
    StoreMisconfigured,
    StoreTimeout,
    StoreUnavailable,
)


class Refusal(NamedTuple):
    """What a status means in the error form."""

    code: str
    message: str


#: Status -> code, and the message where there is nothing better to say.
TABLE: Final[Mapping[int, Refusal]] = {
    400: Refusal("invalid", "the request is invalid"),
    401: Refusal("unauthorized", "an API key is needed: Authorization: Bearer KEY"),
    404: Refusal("not_found", "no such route; POST to /recommend, /recommend/{user_id} or /events"),
    405: Refusal("method_not_allowed", "this route does not take this method"),
    408: Refusal("too_slow_a_body", "the body did not arrive in time"),
    413: Refusal("too_large", "the body is too large"),
    415: Refusal("unsupported_media_type", "the body must be application/json, and not encoded otherwise"),
    429: Refusal("too_many_requests", "too many requests at once; try again"),
    500: Refusal("internal", "an internal error; the log has it under this answer's X-Request-Id"),
    503: Refusal("unavailable", "the feature store is away; try again"),
    504: Refusal("timeout", "the answer took too long; try again"),
}

#: The other reason of a 503: the store is there, but too many ask.
OVERLOADED: Final = Refusal("overloaded", "too many requests at once; try again")

#: And what somebody has to mend: an address, tables, rights, a model's features.
MISCONFIGURED: Final = Refusal("misconfigured", "the service is not set up to answer, and its log says why")

#: Our own errors -> status. Anything that is not here is a 500.
_STATUS: Final = ((StoreTimeout, 504), (TimeoutError, 504), (StoreUnavailable, 503))
_TO_BE_MENDED: Final = (StoreMisconfigured, SchemaError, ModelStoreError, ArtifactError, ServerError, SettingsError)

#: Every code that an answer can carry.
CODES: Final = (*(refusal.code for refusal in TABLE.values()), OVERLOADED.code, MISCONFIGURED.code)

_HEADERS: Final = {429: {"retry-after": "1"}, 503: {"retry-after": "1"}, 401: {"www-authenticate": "Bearer"}}

# Those of UTF-32 first: one of them begins as one of UTF-16 does.
_BYTE_ORDER_MARKS: Final = {
    "UTF-8": codecs.BOM_UTF8,
    "UTF-32, little-endian": codecs.BOM_UTF32_LE,
    "UTF-32, big-endian": codecs.BOM_UTF32_BE,
    "UTF-16, little-endian": codecs.BOM_UTF16_LE,
    "UTF-16, big-endian": codecs.BOM_UTF16_BE,
}

_LONGEST_MESSAGE: Final = 400
_LONGEST_FIELD: Final = 200

# A child of the framework's logger: the same handlers, the same form.
_log = logging.getLogger("bentoml.hexbite")


class Refused(JSONResponse):
    """An answer in the error form; ``code`` is the one in it."""

    def __init__(self, status: int, reason: Refusal, field: str | None, headers: Mapping[str, str]) -> None:
        # A client's own words may be in it, and they may be long.
        named = None if field is None else field[:_LONGEST_FIELD]
        body = ErrorResponse(
            error=ErrorDetail(code=reason.code, message=reason.message[:_LONGEST_MESSAGE], field=named)
        )
        super().__init__(body.model_dump(), status_code=status, headers=headers)
        self.code = reason.code


def refuse(
    status: int, message: str | None = None, field: str | None = None, headers: Mapping[str, str] | None = None
) -> Refused:
    """An answer in the error form; the table's message where none is given. A status unknown to it becomes 500."""
    status = status if status in TABLE else 400 if 400 <= status < 500 else 500
    code, default = TABLE[status]
    return Refused(status, Refusal(code, message or default), field, _HEADERS.get(status, {}) | dict(headers or {}))


def refuse_overloaded() -> Refused:
    """The answer to one request too many."""
    return Refused(503, OVERLOADED, None, _HEADERS[503])


def refuse_misconfigured() -> Refused:
    """The answer where somebody has to mend the service: nobody is told to try again."""
    return Refused(503, MISCONFIGURED, None, {})


def refuse_error(error: Exception, request_id: str) -> Refused:
    """The answer to an exception: a client's mistake is told, ours is logged with its request id and not told."""
    if isinstance(error, InvalidRequestError):
        return refuse(400, str(error), error.field)
    if isinstance(error, _TO_BE_MENDED):
        _log.warning("%s: %s, request %s", MISCONFIGURED.code, error, request_id, extra={"request_id": request_id})
        return refuse_misconfigured()
    for kind, status in _STATUS:
        if isinstance(error, kind):
            _log.warning("%s: %s, request %s", TABLE[status].code, error, request_id, extra={"request_id": request_id})
            return refuse(status)
    _log.error("failed, request %s", request_id, exc_info=error, extra={"request_id": request_id})
    return refuse(500)


def refuse_invalid(error: ValidationError, body: bytes) -> Refused:
    """The answer to a body that is no request: what is wrong with the first field that is."""
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    detail = next(detail for detail in errors if QUICK_WAYS.isdisjoint(detail["loc"]))
    location = [str(part) for part in detail["loc"] if not str(part).startswith(("function-", "list["))]
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "missing":
        message = "is required"
    elif detail["type"] == "json_invalid":
        marks = (name for name, mark in _BYTE_ORDER_MARKS.items() if body.startswith(mark))
        if (name := next(marks, None)) is not None:
            message = f"the body begins with a byte order mark ({name}); it must be UTF-8 without one"
        return refuse(400, message)
    if not location:
        return refuse(400, "the body must be a JSON object")
    return refuse(400, f"{'.'.join(location)}: {message[:1].lower()}{message[1:]}", location[0])
