"""Many thousand requests, of which few are right, to a served service: none is answered by a fault or not at all.

`make fuzz` runs it; CASES and SEED say how many and which.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy
from pydantic import BaseModel
from schemathesis import Case
from schemathesis.generation import GenerationMode

import hexbite
from bento.contract.events import EventsResponse
from bento.contract.models import RecommendResponse
from bento.contract.openapi import document
from tests.fuzz import draw
from tests.fuzz.tally import TALLY
from tests.fuzz.wire import TIMEOUT_S, Answer, Request, Wire, judge

CASES = int(os.environ.get("CASES", "20000"))
SEED = int(os.environ.get("SEED", "20260101"))
_OF_DOCUMENT = CASES // 40
_ROUND = 1_000

_schema = schemathesis.openapi.from_dict(document(version=hexbite.__version__))
_schema.config.seed = SEED
# What is wrong may also be too much; what is right is never refused.
_schema.config.checks.negative_data_rejection.expected_statuses = ["400", "404", "405", "413", "415"]
_schema.config.checks.positive_data_acceptance.expected_statuses = ["200"]


@pytest.fixture(scope="module")
def wire(url: str) -> Iterator[Wire]:
    wire = Wire(url)
    yield wire
    wire.close()


@_schema.parametrize()
@settings(max_examples=_OF_DOCUMENT, deadline=None, database=None, suppress_health_check=list(HealthCheck))
def test_what_the_document_says_is_so(case: Case[Any], url: str) -> None:
    if case.meta is not None and case.meta.generation.mode is GenerationMode.POSITIVE:
        case.body = _within_what_a_schema_cannot_say(case.body, case.path_parameters or {})
    response = case.call(base_url=url, timeout=TIMEOUT_S)
    TALLY.count(response.status_code, response.elapsed)
    case.validate_response(response)
    good = {"/recommend": RecommendResponse, "/events": EventsResponse}.get(f"/{case.operation.path.split('/')[1]}")
    if good is not None:
        headers = {name: values[0] for name, values in response.headers.items()}
        answer = Answer(response.status_code, headers, response.content, response.elapsed)
        judge(answer, response.request.method or "", good)


def _within_what_a_schema_cannot_say(body: Any, path_parameters: Mapping[str, Any]) -> Any:
    """The body without a user where the path has one, as both must name the same; 7 where a schema also takes 7.0."""
    if not isinstance(body, dict):
        return body
    kept = {name: value for name, value in body.items() if name not in path_parameters}
    ids = kept.get("candidate_restaurant_ids")
    if isinstance(ids, list):
        kept["candidate_restaurant_ids"] = [_whole(value) for value in ids]
    if isinstance(events := kept.get("events"), list):
        kept["events"] = [_event_within_that(event) for event in events if isinstance(event, dict)]
    return {name: _whole(value) for name, value in kept.items()}


def _event_within_that(event: dict[str, Any]) -> dict[str, Any]:
    """An event with both coordinates or none, and with texts of no more bytes than characters, none of them NUL."""
    texts = {name: event[name] for name in ("event_id", "event") if isinstance(event.get(name), str)}
    kept = event | {name: repr(text.encode("utf-8", "replace"))[:128] for name, text in texts.items()}
    if None in (kept.get("latitude"), kept.get("longitude")):
        kept = {name: value for name, value in kept.items() if name not in ("latitude", "longitude")}
    return {
        name: _whole(value) if name in ("event_id", "user_id", "restaurant_id") else value
        for name, value in kept.items()
    }


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def test_whatever_is_sent_the_answer_is_in_the_contract(wire: Wire) -> None:
    _ask_often(wire, draw.REQUESTS, RecommendResponse)


def test_whatever_is_told_the_answer_is_in_the_contract(wire: Wire) -> None:
    _ask_often(wire, draw.TELLING, EventsResponse)


def _ask_often(wire: Wire, requests: SearchStrategy[Request], good: type[BaseModel]) -> None:
    for start in range(0, CASES, _ROUND):
        # Rounds, because Hypothesis remembers what it drew.
        _ask(wire, requests, good, SEED + start // _ROUND, min(_ROUND, CASES - start))


def _ask(wire: Wire, requests: SearchStrategy[Request], good: type[BaseModel], seeded: int, cases: int) -> None:
    @seed(seeded)
    @settings(
        max_examples=cases,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(requests)
    def ask(request: Request) -> None:
        try:
            answer = wire.ask(request)
            TALLY.count(answer.status, answer.seconds)
            judge(answer, request.method, good)
        except Exception as error:
            error.add_note(f"again: SEED={seeded}, or {request.command(wire.host, wire.port)}")
            raise

    ask()
