"""The outermost layer of the service: what every request passes before the framework, and every answer after it.

Request id, route, method, content type and body size; `/recommend/{user_id}` becomes `/recommend` with the user
beside it (the framework would make one metric series of each path); answers get their headers, errors their one form.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from contextvars import ContextVar
from typing import Final, NamedTuple

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bento.errors import refuse, refuse_error, refuse_framework_error

ROUTE: Final = "/recommend"

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class Passage(NamedTuple):
    """What the edge knows of the request in flight: its id, and the user that its path named, as written."""

    request_id: str
    path_user_id: str | None


passage: ContextVar[Passage] = ContextVar("passage")


class EdgeInstaller:
    """Middleware that passes everything on and, at start-up, puts an `Edge` around the whole application.

    The framework runs added middleware inside its own metrics, timeout and 429 layers, whose answers and labels are
    the edge's business too. Start-up passes here before the first request: time to wrap what lies outside.
    """

    def __init__(
        self, app: ASGIApp, *, max_body_bytes: int, body_timeout_s: float, answer_headers: dict[str, str]
    ) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._body_timeout_s = body_timeout_s
        self._answer_headers = answer_headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on."""
        if scope["type"] == "lifespan":
            application: Starlette = scope["app"]
            if application.middleware_stack is None:
                raise RuntimeError("the framework answers before its middleware stack is built")
            application.middleware_stack = Edge(
                application, self._max_body_bytes, self._body_timeout_s, self._answer_headers
            )
        await self._app(scope, receive, send)


class Edge:
    """The layer itself. ``answer_headers`` go on every answer; the service fills them in when it knows its model."""

    def __init__(
        self,
        application: Starlette,
        max_body_bytes: int,
        body_timeout_s: float,
        answer_headers: dict[str, str],
    ) -> None:
        assert application.middleware_stack is not None
        self._app = application.middleware_stack
        self._application = application
        self._max_body_bytes = max_body_bytes
        self._body_timeout_s = body_timeout_s
        self._answer_headers = answer_headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        answer = _Answer(send, {"x-request-id": request_id} | self._answer_headers)
        path: str = scope["path"]
        user_id = None
        if path.startswith(f"{ROUTE}/") and (user_id := path.removeprefix(f"{ROUTE}/")) and "/" not in user_id:
            scope = dict(scope, path=ROUTE, raw_path=ROUTE.encode())
        passage.set(Passage(request_id, user_id))
        refusal, receive = await self._admit(scope, headers, receive)
        if refusal is not None:
            await refusal(scope, receive, answer.send)
            return
        try:
            await self._app(scope, receive, answer.send)
        except Exception as error:
            if answer.started:
                raise
            await refuse_error(error, request_id)(scope, receive, answer.send)

    async def _admit(self, scope: Scope, headers: Headers, receive: Receive) -> tuple[Response | None, Receive]:
        """A refusal, or None and the way to receive what is left of the request."""
        matches = [route.matches(scope)[0] for route in self._application.routes]
        if Match.FULL not in matches:
            # Refused here, a path that does not exist makes no metric series.
            if Match.PARTIAL in matches:
                return refuse(405, headers={"allow": "POST"} if scope["path"] == ROUTE else None), receive
            return refuse(404), receive
        if scope["path"] != ROUTE:
            return None, receive
        media_type = headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        if media_type != "application/json":
            return refuse(415), receive
        too_large = refuse(413, f"the body is larger than {self._max_body_bytes} bytes")
        declared = headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > self._max_body_bytes:
            return too_large, receive
        body = bytearray()
        try:
            async with asyncio.timeout(self._body_timeout_s):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        return refuse(400, "the client went away before its body was complete"), receive
                    body += message.get("body", b"")
                    if len(body) > self._max_body_bytes:
                        return too_large, receive
                    if not message.get("more_body", False):
                        break
        except TimeoutError:
            return refuse(408), receive
        return None, _Replay(bytes(body), receive).receive


class _Replay:
    """The body that was read, once more for the framework; after it, the connection's own messages."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def receive(self) -> Message:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


class _Answer:
    """Sends an answer on, with our headers; an error is held back until it is whole, and given our form."""

    def __init__(self, send: Send, headers: dict[str, str]) -> None:
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
        MutableHeaders(scope=message).update(self._headers)
        await self._send(message)

    async def _finish_error(self, start: Message) -> None:
        ours = refuse_framework_error(start["status"], bytes(self._body))
        body = bytes(self._body)
        if ours is not None:
            start = {"type": "http.response.start", "status": ours.status_code, "headers": ours.raw_headers}
            body = bytes(ours.body)
        await self._start(start)
        await self._send({"type": "http.response.body", "body": body})
