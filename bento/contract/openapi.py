"""The service's OpenAPI document, drawn from the request and answer models and from the one table of errors.

The framework's own knows one route, none of our headers and none of our errors. The page at ``/`` is drawn from it. It
is 3.1, which is what pydantic's schemas are written for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final, Literal

from pydantic import BaseModel, Field
from pydantic.json_schema import models_json_schema

from bento.contract.errors import CODES, TABLE, refuse, refuse_misconfigured, refuse_overloaded
from bento.contract.events import EVENTS_ROUTE, Event, EventsRequest, EventsResponse
from bento.contract.ids import AnyId, restaurant_id_schema, restaurant_ids_schema, told_id_schema, user_id_schemas
from bento.contract.models import ROUTE, ErrorResponse, RecommendRequest, RecommendResponse
from hexbite.ids import IdKind, IdKinds

_Json = dict[str, Any]

#: What `/recommend` and `/events` can answer besides 200 and, where it asks for a key, 401.
_REFUSED: Final = (400, 405, 408, 413, 415, 500, 503, 504)

_HEADERS: Final[dict[str, _Json]] = {
    "X-Request-Id": {
        "description": "The request's own `X-Request-Id` where it has one of this form, else a new one.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"},
    },
    "X-Hexbite-Model": {
        "description": "The tag of the model that ranks.",
        "required": True,
        "schema": {"type": "string"},
    },
    "X-Hexbite-Truncated": {
        "description": "More restaurants were in range than may be scored; only so many, the nearest, were.",
        "schema": {"type": "string", "pattern": "^nearest [0-9]+$"},
    },
    "X-Hexbite-Warning": {
        "description": "Fields that are unknown and were ignored.",
        "schema": {"type": "string"},
    },
    "Content-Encoding": {
        "description": "Where the answer is large and the request's `Accept-Encoding` takes `gzip`.",
        "schema": {"const": "gzip"},
    },
    "Vary": {
        "description": "`Accept-Encoding`, where the answer is large enough to be compressed.",
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "Seconds after which to try again; absent where somebody has to mend the service first.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "Allow": {"description": "The methods that the route takes.", "required": True, "schema": {"type": "string"}},
    "WWW-Authenticate": {"description": "How to name a key.", "required": True, "schema": {"type": "string"}},
}
_ALWAYS: Final = ("X-Request-Id", "X-Hexbite-Model")

# What ids are where nothing else is known.
_INTEGERS: Final = IdKinds()

_EXAMPLE: Final = {"latitude": 13.75, "longitude": 100.5, "size": 2, "max_dist": 3000}
_EXAMPLE_USER: Final[dict[IdKind, str]] = {"integer": "u00007", "text": "U1077"}
_EXAMPLE_ANSWER: Final = ({"score": 0.8125, "displacement": 412.5}, {"score": 0.7307, "displacement": 1830.25})
_EXAMPLE_IDS: Final[dict[IdKind, tuple[int, int] | tuple[str, str]]] = {
    "integer": (4711, 1234),
    "text": ("R4711", "R1234"),
}

_EXAMPLE_EVENT: Final[_Json] = {"event_id": "order-81245", "event": "order", "event_ts": "2026-03-29T18:30:00+07:00"}
_EXAMPLE_TOLD: Final = {
    "events": [{"event_id": "order-81245", "outcome": "taken"}],
    "taken": 1,
    "known": 0,
    "refused": 0,
}

#: Headers of a recommendation, and of what became of events, that not every one has.
_AT_TIMES: Final = ("X-Hexbite-Truncated", "X-Hexbite-Warning", "Content-Encoding", "Vary")
_AT_TIMES_OF_EVENTS: Final = ("X-Hexbite-Warning", "Content-Encoding", "Vary")


class RecommendRequestOfUser(RecommendRequest):
    """As `RecommendRequest`, with the user in the body: the path has none."""

    user_id: AnyId = Field(description="An unknown user gets the mean user's ranking.")


def document(
    *,
    version: str,
    api_keys: bool = False,
    event_keys: bool = False,
    unknown_fields: Literal["refuse", "warn"] = "refuse",
    ids: IdKinds = _INTEGERS,
) -> dict[str, Any]:
    """The OpenAPI 3.1 document.

    ``api_keys``: whether a request must carry one; ``event_keys``: whether one that tells events must.
    ``unknown_fields``: as in `bento.settings.Settings`. ``ids``: what they are to the model that answers.
    """
    user = {
        "name": "user_id",
        "in": "path",
        "required": True,
        "description": "An unknown user gets the mean user's ranking.",
        "schema": user_id_schemas(ids.user)[0],
        "example": _EXAMPLE_USER[ids.user],
    }
    open_paths: dict[str, _Json] = {
        "/livez": {"get": _plain("live", "The process answers.")},
        "/readyz": {"get": _plain("ready", "The store has what the model needs.", refused=[503])},
    }
    paths: dict[str, _Json] = {
        ROUTE: {"post": _recommend(RecommendRequestOfUser, {"user_id": user["example"]} | _EXAMPLE, ids)},
        f"{ROUTE}/{{user_id}}": {
            "parameters": [user],
            "post": _recommend(RecommendRequest, _EXAMPLE, ids, refused=[404]),
        },
        "/metrics": {"get": _plain("metrics", "Counts and times, in Prometheus' text format.")},
        "/docs.json": {"get": _plain("document", "The contract as an OpenAPI document.", "application/json")},
        "/": {"get": _plain("page", "The contract as a page for people.", "text/html")},
    }
    told = {EVENTS_ROUTE: {"post": _tell(ids)}}
    components: _Json = {"schemas": _schemas(unknown_fields, ids), "headers": _HEADERS}
    for wanted, scheme, locked in ((api_keys, "key", paths), (event_keys, "event_key", told)):
        if wanted:
            components.setdefault("securitySchemes", {})[scheme] = {"type": "http", "scheme": "bearer"}
            _lock(locked, scheme)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Hexbite",
            "version": version,
            "description": "Ranks the restaurants near a person.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "."}],
        "paths": paths | told | open_paths,
        "components": components,
    }


def _lock(paths: dict[str, _Json], scheme: str) -> None:
    for operations in paths.values():
        for method in operations.keys() & {"get", "post"}:
            operations[method]["security"] = [{scheme: []}]
            operations[method]["responses"]["401"] = _refusal(401)


def _schemas(unknown_fields: Literal["refuse", "warn"], ids: IdKinds) -> dict[str, _Json]:
    _, definitions = models_json_schema(
        [
            (RecommendRequest, "validation"),
            (RecommendRequestOfUser, "validation"),
            (RecommendResponse, "serialization"),
            (EventsRequest, "validation"),
            (EventsResponse, "serialization"),
            (ErrorResponse, "serialization"),
        ],
        ref_template="#/components/schemas/{model}",
    )
    schemas: dict[str, _Json] = definitions["$defs"]
    schemas["ErrorDetail"]["properties"]["code"]["enum"] = list(CODES)
    # A field of a request that may be absent may be null too.
    for request, absent in ((RecommendRequest, [{"type": "null"}]), (RecommendRequestOfUser, [])):
        fields = schemas[request.__name__]["properties"]
        _put(fields["user_id"], user_id_schemas(ids.user)[1], *absent)
        _put(fields["candidate_restaurant_ids"], restaurant_ids_schema(ids.restaurant), {"type": "null"})
    _put(schemas["Recommendation"]["properties"]["id"], restaurant_id_schema(ids.restaurant))
    for field, kind in (("user_id", ids.user), ("restaurant_id", ids.restaurant)):
        _put(schemas["Event"]["properties"][field], told_id_schema(field, kind))
    if unknown_fields == "warn":
        for of in (RecommendRequest, RecommendRequestOfUser, Event, EventsRequest):
            del schemas[of.__name__]["additionalProperties"]
    return schemas


def _put(field: _Json, *forms: _Json) -> None:
    """Let a field have one of some forms: what its type says of both kinds of ids goes."""
    for word in ("anyOf", "type", "items", "maxItems"):
        field.pop(word, None)
    flat = [each for form in forms for each in form.get("anyOf", [form])]
    field |= {"anyOf": flat} if len(flat) > 1 else flat[0]


def _recommend(request: type[RecommendRequest], example: _Json, ids: IdKinds, refused: Iterable[int] = ()) -> _Json:
    """The operation: who asks is told by a path or by the body of ``request``."""
    answers = {200: _answer("Restaurants, best first.", RecommendResponse, *_AT_TIMES)}
    ranked = [{"id": id_} | told for id_, told in zip(_EXAMPLE_IDS[ids.restaurant], _EXAMPLE_ANSWER, strict=True)]
    answers[200]["content"]["application/json"]["example"] = {"restaurants": ranked}
    answers |= {status: _refusal(status) for status in (*_REFUSED, *refused)}
    name = "recommend" if request is RecommendRequestOfUser else "recommend_user"
    return _post(name, "Rank the restaurants near a person, best first.", request, example, answers)


def _tell(ids: IdKinds) -> _Json:
    """The operation that tells events."""
    answers = {200: _answer("What became of each event.", EventsResponse, *_AT_TIMES_OF_EVENTS)}
    answers[200]["content"]["application/json"]["example"] = _EXAMPLE_TOLD
    answers |= {status: _refusal(status) for status in (*_REFUSED, 404)}
    whose = {"user_id": _EXAMPLE_USER[ids.user], "restaurant_id": _EXAMPLE_IDS[ids.restaurant][0]}
    example = {"events": [_EXAMPLE_EVENT | whose]}
    return _post(
        "tell_events", "Tell what people did; the next recommendation counts it.", EventsRequest, example, answers
    )


def _post(
    operation_id: str, summary: str, request: type[BaseModel], example: _Json, answers: dict[int, _Json]
) -> _Json:
    # Three reasons, one status.
    away = answers[503]["content"]["application/json"]
    others = (json.loads(bytes(refused.body)) for refused in (refuse_overloaded(), refuse_misconfigured()))
    reasons = (away.pop("example"), *others)
    away["examples"] = {reason["error"]["code"]: {"value": reason} for reason in reasons}
    return {
        "operationId": operation_id,
        "summary": summary,
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _ref("schemas", request.__name__), "example": example}},
        },
        "responses": _by_status(answers),
    }


def _plain(operation_id: str, summary: str, media_type: str = "text/plain", refused: Iterable[int] = ()) -> _Json:
    """A route without parameters, and what is refused of it."""
    schema = {"type": "object" if media_type == "application/json" else "string"}
    answers = {200: {"description": summary, "headers": _headers(), "content": {media_type: {"schema": schema}}}}
    return {
        "operationId": operation_id,
        "summary": summary,
        "responses": _by_status(answers | {status: _refusal(status) for status in (405, *refused)}),
    }


def _refusal(status: int) -> _Json:
    """What a client sees of an error: its code, its message as the example, and the headers that go with it."""
    refused = refuse(status, headers={"allow": "POST"} if status == 405 else None)
    answer = _answer(TABLE[status].message, ErrorResponse, *(name for name in _HEADERS if name in refused.headers))
    answer["content"]["application/json"]["example"] = json.loads(bytes(refused.body))
    return answer


def _answer(description: str, model: type[BaseModel], *headers: str) -> _Json:
    content = {"application/json": {"schema": _ref("schemas", model.__name__)}}
    return {"description": description, "headers": _headers(*headers), "content": content}


def _headers(*names: str) -> _Json:
    return {name: _ref("headers", name) for name in (*_ALWAYS, *names)}


def _by_status(answers: dict[int, _Json]) -> _Json:
    return {str(status): answers[status] for status in sorted(answers)}


def _ref(kind: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/components/{kind}/{name}"}
