"""The outermost layer of the service: every request and answer passes here, outside the framework's own layers.

`/recommend` and `/events` are answered from here: the framework's way to an endpoint (spans, access log, metrics, a
context, its own validation and errors) takes about a millisecond, several times what the answer itself takes. So are
`/metrics`, `/docs.json` and `/`, which the framework would answer for its own endpoints only. Everything else
(`/livez`, `/readyz`, …) goes on to the framework, whose errors get our one form.
"""

from __future__ import annotations

import asyncio
import re
from functools import partial
from random import Random
from typing import Any, Final

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import hexbite
from bento.contract.errors import CODES, refuse, refuse_error
from bento.contract.events import EVENTS_ROUTE, EventsRequest
from bento.contract.ids import path_to_user_id
from bento.contract.models import ROUTE, RecommendRequest
from bento.contract.openapi import document
from bento.contract.page import PAGE_HEADERS, draw
from bento.edge.admission import Admission, SideDoor
from bento.edge.endpoint import Endpoint
from bento.edge.keys import ApiKeys
from bento.edge.lane import Answered, Lane, Reply
from bento.settings import Settings
from bento.telemetry import metrics
from bento.telemetry.traces import Traces
from hexbite.ids import IdKinds

_HEALTH: Final = frozenset({"/livez", "/readyz", "/healthz"})

# What an error of the framework's says, where the table of errors says it of another.
_SAID: Final = {400: "CORS allows no such origin, method or header here", 503: "not ready; the log says why"}

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:-]{1,128}")

# For request ids, which are to be unique and no secret: the system's own randomness is a call of the system each.
_random: Final = Random()  # noqa: S311

# Of the limit of requests at work; what is told can be told again, and who asks is waiting.
_EVENTS_SHARE: Final = 0.25


class EdgeInstaller:
    """Middleware that passes everything on and, at start-up, puts an `Edge` around the whole application.

    The framework runs added middleware inside its own metrics, timeout and 429 layers, whose answers and labels are
    the edge's business too. Start-up passes here before the first request: time to wrap what lies outside.
    """

    def __init__(self, app: ASGIApp, *, lane: Lane, admission: Admission, settings: Settings) -> None:
        # Where other origins may ask, the framework has its CORS right within: it is taken out, to stand at the edge.
        self._cors = app if isinstance(app, CORSMiddleware) else None
        self._app = app if self._cors is None else self._cors.app
        self._lane = lane
        self._admission = admission
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on."""
        if scope["type"] == "lifespan":
            application: Starlette = scope["app"]
            if application.middleware_stack is None:
                raise RuntimeError("the framework answers before its middleware stack is built")
            application.middleware_stack = Edge(application, self._cors, self._lane, self._admission, self._settings)
        await self._app(scope, receive, send)


class Edge:
    """The layer itself; ``cors`` stands in it where other origins may ask."""

    def __init__(
        self,
        application: Starlette,
        cors: CORSMiddleware | None,
        lane: Lane,
        admission: Admission,
        settings: Settings,
    ) -> None:
        assert application.middleware_stack is not None
        self._app = application.middleware_stack
        self._application = application
        self._cors = cors
        self._lane = lane
        self._admission = admission
        self._settings = settings
        self._keys = ApiKeys(settings.api_keys)
        self._event_keys = ApiKeys(settings.event_keys)
        traces = lane.traces = Traces.from_environment()
        door = SideDoor(admission, _EVENTS_SHARE)
        self._endpoints = (
            Endpoint(ROUTE, True, self._may, admission, self._recommend, metrics.RECOMMEND, settings, traces),
            Endpoint(EVENTS_ROUTE, False, self._may_tell, door, self._events, metrics.EVENTS, settings, traces),
        )
        for code in CODES:
            for endpoint in self._endpoints:
                endpoint.metrics.refusals(code)  # from the first on it counts
        self._document = partial(
            document,
            version=hexbite.__version__,
            api_keys=bool(self._keys),
            event_keys=bool(self._keys or self._event_keys),
            unknown_fields=settings.unknown_fields,
        )
        self._contract: tuple[tuple[str, IdKinds], dict[str, Any], str] | None = None
        own = (
            ("/metrics", self._tell_metrics, settings.metrics),
            ("/docs.json", self._tell_document, settings.docs),
            ("/", self._tell_page, settings.docs),
        )
        self._own = {path: tell for path, tell, is_open in own if is_open}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])  # names in lower case, as ASGI has it
        given = headers.get(b"x-request-id", b"")
        request_id = given if _REQUEST_ID.fullmatch(given) else b"%032x" % _random.getrandbits(128)
        app = self._app
        if self._cors is not None:
            if _is_preflight(scope, headers):
                app = self._cors
            else:
                send = partial(self._cors.send, send=send, request_headers=Headers(scope=scope))
        # Who asks before sending a body (Expect: 100-continue) sends none where that was not asked for: the next
        # request is not its body. What follows a CONNECT is no request at all.
        reply = Reply(send, self._lane, request_id, closes=b"expect" in headers or scope["method"] == "CONNECT")
        path: str = scope["path"]
        try:
            if app is self._cors:  # a preflight carries no key
                await self._pass_on(app, scope, receive, reply)
            elif (endpoint := next((own for own in self._endpoints if own.meets(path)), None)) is not None:
                await endpoint(scope, headers, receive, reply, request_id)
            elif (answer := await self._answer_other(scope, headers)) is not None:
                await answer(scope, receive, reply)
            else:
                await self._pass_on(app, scope, receive, reply)
        except Exception as error:
            if reply.has_begun:  # half of it is sent
                raise
            await refuse_error(error, request_id.decode())(scope, receive, reply)

    async def _recommend(self, body: bytes, user_in_path: bytes | None) -> Answered:
        assert self._lane.recommend is not None
        request = RecommendRequest.model_validate_json(body)
        return await self._lane.recommend(request, None if user_in_path is None else path_to_user_id(user_in_path))

    async def _events(self, body: bytes, _: bytes | None) -> Answered:
        assert self._lane.tell is not None
        return await self._lane.tell(EventsRequest.model_validate_json(body))

    def _may(self, headers: dict[bytes, bytes]) -> bool:
        return not self._keys or self._keys.admit(headers.get(b"authorization", b""))

    def _may_tell(self, headers: dict[bytes, bytes]) -> bool:
        # Where some keys ask, none of them tells: who opened /recommend did not mean to open what it ranks by.
        is_open = not self._keys and not self._event_keys
        return is_open or self._event_keys.admit(headers.get(b"authorization", b""))

    async def _answer_other(self, scope: Scope, headers: dict[bytes, bytes]) -> Response | None:
        """The answer to what is no recommendation and yet not the framework's; None for what is."""
        path = scope["path"]
        if path in _HEALTH:
            return self._refuse_route(scope)
        if not self._may(headers):
            return refuse(401)
        if path in self._own:
            if scope["method"] not in ("GET", "HEAD"):
                return refuse(405, headers={"allow": "GET, HEAD"})
            return await self._own[path]()
        # Whatever else the framework has tells of the contract.
        return refuse(404) if path == "/metrics" or not self._settings.docs else self._refuse_route(scope)

    async def _tell_metrics(self) -> Response:
        return Response(await asyncio.to_thread(metrics.text), media_type=CONTENT_TYPE_LATEST)

    async def _tell_document(self) -> Response:
        return JSONResponse(self._contract_told()[0])

    async def _tell_page(self) -> Response:
        return HTMLResponse(self._contract_told()[1], headers=PAGE_HEADERS)

    def _contract_told(self) -> tuple[dict[str, Any], str]:
        """The document and the page of the model that answers."""
        # Once for each: it takes some milliseconds of a loop that answers others too.
        of = self._lane.model, self._lane.ids
        if self._contract is None or self._contract[0] != of:
            told = self._document(ids=self._lane.ids)
            self._contract = of, told, draw(told, self._lane.model)
        return self._contract[1:]

    def _refuse_route(self, scope: Scope) -> Response | None:
        """A refusal of a path or a method that the framework does not have; None for what it has.

        What is mounted is the files of its page, which ours stands in place of.
        """
        routes = [route for route in self._application.routes if isinstance(route, Route)]
        matches = [(route.matches(scope)[0], route) for route in routes]
        if any(match is Match.FULL for match, _ in matches):
            return None
        methods = sorted(
            {method for match, route in matches if match is Match.PARTIAL for method in route.methods or ()}
        )
        return refuse(405, headers={"allow": ", ".join(methods)}) if methods else refuse(404)

    async def _pass_on(self, app: ASGIApp, scope: Scope, receive: Receive, reply: Reply) -> None:
        """Let the framework answer. Its errors get our form: our words say as much as its own, and leak nothing."""
        status = 0

        async def send_on(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            if status < 400:
                await reply(message)

        await app(scope, receive, send_on)
        if status >= 400:
            await refuse(status, _SAID.get(status))(scope, receive, reply)


def _is_preflight(scope: Scope, headers: dict[bytes, bytes]) -> bool:
    return scope["method"] == "OPTIONS" and b"origin" in headers and b"access-control-request-method" in headers
