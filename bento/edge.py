"""The outermost layer of the service: every request and answer passes here, outside the framework's own layers.

`/recommend` is answered from here: the framework's way to an endpoint (spans, access log, metrics, a context, its own
validation and errors) takes about a millisecond, several times what the answer itself takes. Everything else
(`/livez`, `/readyz`, `/metrics`, `/docs.json`, …) goes on to the framework, whose errors get our one form.
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bento.errors import refuse, refuse_error, refuse_framework_error, refuse_invalid
from bento.metrics import recommended
from bento.models import RecommendRequest, parse_user_id
from hexbite.errors import InvalidRequestError

ROUTE: Final = "/recommend"

_JSON: Final = b"application/json"

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


@dataclass
class Lane:
    """What the service puts in place when it starts: who answers a request of a user, and headers for every answer."""

    recommend: Callable[[RecommendRequest, int], Awaitable[Response]] | None = None
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)


@dataclass(frozen=True)
class Limits:
    """How long one request may take in all, and how large its body may be."""

    request_timeout_s: float
    max_body_bytes: int


class EdgeInstaller:
    """Middleware that passes everything on and, at start-up, puts an `Edge` around the whole application.

    The framework runs added middleware inside its own metrics, timeout and 429 layers, whose answers and labels are
    the edge's business too. Start-up passes here before the first request: time to wrap what lies outside.
    """

    def __init__(self, app: ASGIApp, *, lane: Lane, limits: Limits) -> None:
        self._app = app
        self._lane = lane
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on."""
        if scope["type"] == "lifespan":
            application: Starlette = scope["app"]
            if application.middleware_stack is None:
                raise RuntimeError("the framework answers before its middleware stack is built")
            application.middleware_stack = Edge(application, self._lane, self._limits)
        await self._app(scope, receive, send)


class Edge:
    """The layer itself."""

    def __init__(self, application: Starlette, lane: Lane, limits: Limits) -> None:
        assert application.middleware_stack is not None
        self._app = application.middleware_stack
        self._application = application
        self._lane = lane
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])  # names in lower case, as ASGI has it
        given = headers.get(b"x-request-id", b"")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex.encode()
        path: str = scope["path"]
        if path == ROUTE or path.startswith(f"{ROUTE}/"):
            started = time.perf_counter()
            response = await self._answer(scope, headers, receive, request_id)
            head = [*response.raw_headers, (b"x-request-id", request_id), *self._lane.headers]
            await send({"type": "http.response.start", "status": response.status_code, "headers": head})
            await send({"type": "http.response.body", "body": response.body})
            recommended(response.status_code, time.perf_counter() - started)
        else:
            await self._pass_on(scope, receive, send, request_id)

    async def _answer(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, request_id: bytes) -> Response:
        """What `/recommend` and `/recommend/{user_id}` answer: a recommendation or a refusal."""
        path_user_id = scope["path"][len(ROUTE) + 1 :]
        if "/" in path_user_id or (not path_user_id and scope["path"] != ROUTE):
            return refuse(404)
        if scope["method"] != "POST":
            return refuse(405, headers={"allow": "POST"})
        if headers.get(b"content-type", _JSON).partition(b";")[0].strip().lower() != _JSON:
            return refuse(415)
        try:
            async with asyncio.timeout(self._limits.request_timeout_s):
                body = await self._read(headers, receive)
                if body is None:
                    return refuse(413, f"the body is larger than {self._limits.max_body_bytes} bytes")
        except TimeoutError:
            return refuse(408)
        except ClientDisconnect:
            return refuse(400, "the client went away before its body was complete")
        assert self._lane.recommend is not None
        try:
            request = RecommendRequest.model_validate_json(body or b"{}")
            return await self._lane.recommend(request, _user_id(request, path_user_id))
        except ValidationError as error:
            return refuse_invalid(error)
        except Exception as error:  # noqa: BLE001 - one table answers for all of them, and logs what is ours
            return refuse_error(error, request_id.decode())

    async def _read(self, headers: dict[bytes, bytes], receive: Receive) -> bytes | None:
        """The body, None where it is too large. Raises ClientDisconnect."""
        declared = headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > self._limits.max_body_bytes:
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
            if size > self._limits.max_body_bytes:
                return None
            if not message.get("more_body", False):
                return b"".join(parts)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send, request_id: bytes) -> None:
        """Let the framework answer."""
        answer = _Answer(send, [(b"x-request-id", request_id), *self._lane.headers])
        matches = [route.matches(scope)[0] for route in self._application.routes]
        if Match.FULL not in matches:
            # Refused here, a path that does not exist makes no metric series.
            await refuse(405 if Match.PARTIAL in matches else 404)(scope, receive, answer.send)
            return
        try:
            await self._app(scope, receive, answer.send)
        except Exception as error:
            if answer.started:
                raise
            await refuse_error(error, request_id.decode())(scope, receive, answer.send)


def _user_id(request: RecommendRequest, path_user_id: str) -> int:
    """The user, from the path or the body. Raises InvalidRequestError where neither names one, or they disagree."""
    if not path_user_id:
        if request.user_id is None:
            raise InvalidRequestError("user_id is required, in the path or in the body", "user_id")
        return request.user_id
    try:
        user_id = parse_user_id(path_user_id)
    except ValueError as error:
        raise InvalidRequestError(f"user_id in the path {error}", "user_id") from error
    if request.user_id not in (None, user_id):
        raise InvalidRequestError("user_id in the body is not the one in the path", "user_id")
    return user_id


class _Answer:
    """Sends an answer on, with our headers; an error is held back until it is whole, and given our form."""

    def __init__(self, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        self._send = send
        self._headers = headers
        self._error: Message | None = None
        self._body = bytearray()
        self.started = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if message["status"] >= 400:
                self._error = message
                return
            await self._start(message)
        elif message["type"] == "http.response.body" and self._error is not None:
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._finish_error(self._error)
        else:
            await self._send(message)

    async def _start(self, message: Message) -> None:
        self.started = True
        await self._send(dict(message, headers=[*message["headers"], *self._headers]))

    async def _finish_error(self, start: Message) -> None:
        ours = refuse_framework_error(start["status"], bytes(self._body))
        body = bytes(self._body)
        if ours is not None:
            start = {"type": "http.response.start", "status": ours.status_code, "headers": ours.raw_headers}
            body = bytes(ours.body)
        await self._start(start)
        await self._send({"type": "http.response.body", "body": body})
