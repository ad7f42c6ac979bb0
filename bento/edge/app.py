"""The outermost layer of the service: every request and answer passes here, outside the framework's own layers.

`/recommend` is answered from here: the framework's way to an endpoint (spans, access log, metrics, a context, its own
validation and errors) takes about a millisecond, several times what the answer itself takes. So are `/metrics`,
`/docs.json` and `/`, which the framework would answer for its own endpoints only. Everything else (`/livez`, `/readyz`,
…) goes on to the framework, whose errors get our one form.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, Final, NamedTuple
from urllib.parse import unquote_to_bytes

from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import hexbite
from bento.contract.errors import (
    CODES,
    Refused,
    refuse,
    refuse_error,
    refuse_invalid,
    refuse_overloaded,
)
from bento.contract.ids import path_to_user_id
from bento.contract.models import ROUTE, RecommendRequest
from bento.contract.openapi import document
from bento.contract.page import PAGE_HEADERS, draw
from bento.edge.admission import Admission
from bento.edge.compression import LEAST_BYTES, accepts_gzip, compressed
from bento.edge.keys import ApiKeys
from bento.settings import Settings
from bento.telemetry import metrics
from bento.telemetry.laps import Lap
from bento.telemetry.logs import log_access
from bento.telemetry.traces import Traces
from hexbite.ids import IdKinds

_HEALTH: Final = frozenset({"/livez", "/readyz", "/healthz"})

_ROUTE: Final = ROUTE[1:].encode()

_JSON: Final = b"application/json"

_CLOSE: Final = (b"connection", b"close")

# What an error of the framework's says, where the table of errors says it of another.
_SAID: Final = {400: "CORS allows no such origin, method or header here", 503: "not ready; the log says why"}

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:-]{1,128}")

# For request ids, which are to be unique and no secret: the system's own randomness is a call of the system each.
_random: Final = Random()  # noqa: S311

# Made once: there are many of them when there is no time for any.
_OVERLOADED: Final = refuse_overloaded()

# What ids are until a model is loaded.
_INTEGERS: Final = IdKinds()

_Headers = list[tuple[bytes, bytes]]


class Answered(NamedTuple):
    """A recommendation as it leaves: JSON, headers of its own, the model that spoke, and how long each stage took."""

    body: bytes
    headers: _Headers
    model: str
    laps: list[Lap]


@dataclass
class Lane:
    """What the service puts in place when it starts, and the edge looks at for each request.

    ``recommend`` answers a request of the user in its path, where it has one, ``model`` speaks where none was asked for
    and has such ``ids``, ``draining`` says that this worker is about to end. ``traces`` is what the edge writes to, for
    the service to close.
    """

    recommend: Callable[[RecommendRequest, str | None], Awaitable[Answered]] | None = None
    model: str = ""
    ids: IdKinds = _INTEGERS
    draining: bool = False
    traces: Traces | None = None


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


class _Reply:
    """Sends one answer, with the headers that every answer carries."""

    def __init__(self, send: Send, lane: Lane, request_id: bytes, *, closes: bool) -> None:
        self._send = send
        self._lane = lane
        self._request_id = request_id
        self.model = lane.model
        self.closes = closes
        self.has_begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_begun = True
            head = [*message["headers"], (b"x-request-id", self._request_id), (b"x-hexbite-model", self.model.encode())]
            # Who keeps a connection to a worker that is about to end learns it with an answer, and not by losing a
            # request.
            if (self.closes or self._lane.draining) and _CLOSE not in head:
                head.append(_CLOSE)
            message = dict(message, headers=head)
        await self._send(message)


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
        self._traces = lane.traces = Traces.from_environment()
        for code in CODES:
            metrics.refusals(code)  # from the first on it counts
        self._document = partial(
            document,
            version=hexbite.__version__,
            api_keys=bool(self._keys),
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
        reply = _Reply(send, self._lane, request_id, closes=b"expect" in headers or scope["method"] == "CONNECT")
        path: str = scope["path"]
        try:
            if app is self._cors:  # a preflight carries no key
                await self._pass_on(app, scope, receive, reply)
            elif path == ROUTE or path.startswith(f"{ROUTE}/"):
                await self._recommend(scope, headers, receive, reply, request_id)
            elif (answer := await self._answer_other(scope, headers)) is not None:
                await answer(scope, receive, reply)
            else:
                await self._pass_on(app, scope, receive, reply)
        except Exception as error:
            if reply.has_begun:  # half of it is sent
                raise
            await refuse_error(error, request_id.decode())(scope, receive, reply)

    async def _recommend(
        self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, reply: _Reply, request_id: bytes
    ) -> None:
        """Answer `/recommend` and `/recommend/{user_id}`, and write down how that went."""
        started, started_ns = time.perf_counter(), time.time_ns()
        # Where there is no room now, a body need not be read to know it.
        answer = _OVERLOADED if self._admission.is_full() else await self._answer(scope, headers, receive, request_id)
        if isinstance(answer, Refused):
            status, head, body, laps = answer.status_code, answer.raw_headers, answer.body, []
            metrics.refusals(answer.code).inc()
        else:
            status, body, laps = 200, answer.body, answer.laps
            reply.model, reply.closes = answer.model, False
            head = [(b"content-type", _JSON), *answer.headers]
            if len(body) >= LEAST_BYTES:
                head.append((b"vary", b"Accept-Encoding"))
                if accepts_gzip(scope["headers"]):
                    head.append((b"content-encoding", b"gzip"))
                    body = await asyncio.to_thread(compressed, body)
            head.append((b"content-length", str(len(body)).encode()))
        await reply({"type": "http.response.start", "status": status, "headers": head})
        await reply({"type": "http.response.body", "body": body})
        took_s = time.perf_counter() - started
        metrics.recommend_seconds(str(status), reply.model).observe(took_s)
        trace_id = None
        if self._traces is not None:
            trace_id = self._traces.record(headers, started, started_ns, took_s, status, reply.model, laps)
        if self._settings.access_log:
            log_access(request_id.decode(), scope["method"], ROUTE, status, took_s, reply.model, trace_id)

    async def _answer(
        self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, request_id: bytes
    ) -> Answered | Refused:
        """A recommendation or a refusal."""
        if not self._may(headers):
            return refuse(401)
        # As it was sent: a slash that is escaped belongs to an id.
        route, *segments = scope["raw_path"][1:].split(b"/")
        if len(segments) > 1 or segments == [b""] or unquote_to_bytes(route) != _ROUTE:
            return refuse(404)
        if scope["method"] != "POST":
            return refuse(405, headers={"allow": "POST"})
        if not _is_json(headers):
            return refuse(415)
        body = None
        try:
            async with asyncio.timeout(self._settings.answer_timeout_s):
                body = await self._read(headers, receive)
                if body is None:
                    said = f"the body is larger than {self._settings.max_body_bytes} bytes"
                    return refuse(413, said)
                return await self._work(body, *segments)
        except ClientDisconnect:
            return refuse(400, "the client went away before its body was complete")
        except ValidationError as error:
            return refuse_invalid(error, body or b"")
        except Exception as error:  # noqa: BLE001 - one table answers for all of them, and logs what is ours
            if isinstance(error, TimeoutError) and body is None:
                # What comes after so late is not waited for.
                said = f"the body did not arrive within {self._settings.answer_timeout_s:g} seconds"
                return refuse(408, said, headers={"connection": "close"})
            return refuse_error(error, request_id.decode())

    async def _work(self, body: bytes, user_in_path: bytes | None = None) -> Answered | Refused:
        """A recommendation, where there is room for one more: who is slow to send a body takes none."""
        if not self._admission.enter():
            return _OVERLOADED
        entered = time.perf_counter()
        try:
            assert self._lane.recommend is not None
            request = RecommendRequest.model_validate_json(body or b"{}")
            in_path = None if user_in_path is None else path_to_user_id(user_in_path)
            return await self._lane.recommend(request, in_path)
        finally:
            self._admission.leave(time.perf_counter() - entered)

    async def _read(self, headers: dict[bytes, bytes], receive: Receive) -> bytes | None:
        """The body, None where it is too large. Raises ClientDisconnect."""
        declared = headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > self._settings.max_body_bytes:
            return None
        parts = []
        size = 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise ClientDisconnect
            part = message.get("body", b"")
            parts.append(part)
            size += len(part)
            if size > self._settings.max_body_bytes:
                return None
            if not message.get("more_body", False):
                return b"".join(parts)

    def _may(self, headers: dict[bytes, bytes]) -> bool:
        return not self._keys or self._keys.admit(headers.get(b"authorization", b""))

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

    async def _pass_on(self, app: ASGIApp, scope: Scope, receive: Receive, reply: _Reply) -> None:
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


def _is_json(headers: dict[bytes, bytes]) -> bool:
    is_plain = (
        headers.get(b"content-encoding", b"identity").strip().lower() == b"identity"
        and headers.get(b"transfer-encoding", b"chunked").strip().lower() == b"chunked"
    )
    return is_plain and headers.get(b"content-type", _JSON).partition(b";")[0].strip().lower() == _JSON
