"""A route that is answered at the edge: what comes before its work, and what is written down behind it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from pydantic import ValidationError
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from bento.contract.errors import Refused, refuse, refuse_error, refuse_invalid, refuse_overloaded
from bento.edge.admission import Door
from bento.edge.compression import LEAST_BYTES, accepts_gzip, compressed
from bento.edge.lane import Answered, Reply
from bento.settings import Settings
from bento.telemetry.logs import log_access
from bento.telemetry.metrics import RouteMetrics
from bento.telemetry.traces import Traces

_JSON: Final = b"application/json"

# Made once: there are many of them when there is no time for any.
_OVERLOADED: Final = refuse_overloaded()


@dataclass(frozen=True)
class Endpoint:
    """Answers POST on a ``route`` and, where it ``takes_a_part``, on the route with one more part of a path.

    ``work`` makes an answer of a body and of that part; ``may`` says of the headers whether they carry a key, the
    ``door`` whether there is room for one more.
    """

    route: str
    takes_a_part: bool
    may: Callable[[dict[bytes, bytes]], bool]
    door: Door
    work: Callable[[bytes, bytes | None], Awaitable[Answered]]
    metrics: RouteMetrics
    settings: Settings
    traces: Traces | None

    def meets(self, path: str) -> bool:
        """Whether a path is this endpoint's, to answer or to refuse."""
        return path == self.route or path.startswith(f"{self.route}/")

    async def __call__(
        self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, reply: Reply, request_id: bytes
    ) -> None:
        """Answer one request, and write down how that went."""
        started, started_ns = time.perf_counter(), time.time_ns()
        # Where there is no room now, a body need not be read to know it.
        answer = _OVERLOADED if self.door.is_full() else await self._answer(scope, headers, receive, request_id)
        if isinstance(answer, Refused):
            status, head, body, laps = answer.status_code, answer.raw_headers, answer.body, []
            self.metrics.refusals(answer.code).inc()
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
        self.metrics.seconds(str(status), reply.model).observe(took_s)
        trace_id = None
        if self.traces is not None:
            trace_id = self.traces.record(self.route, headers, started, started_ns, took_s, status, reply.model, laps)
        if self.settings.access_log:
            log_access(request_id.decode(), scope["method"], self.route, status, took_s, reply.model, trace_id)

    async def _answer(
        self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, request_id: bytes
    ) -> Answered | Refused:
        """An answer or a refusal."""
        if not self.may(headers):
            return refuse(401)
        # As it was sent: a slash that is escaped belongs to an id.
        route, *parts = scope["raw_path"][1:].split(b"/")
        is_ours = unquote_to_bytes(route) == self.route[1:].encode()
        if not is_ours or parts == [b""] or len(parts) > (1 if self.takes_a_part else 0):
            return refuse(404)
        if scope["method"] != "POST":
            return refuse(405, headers={"allow": "POST"})
        if not _is_json(headers):
            return refuse(415)
        body = None
        try:
            async with asyncio.timeout(self.settings.answer_timeout_s):
                body = await self._read(headers, receive)
                if body is None:
                    said = f"the body is larger than {self.settings.max_body_bytes} bytes"
                    return refuse(413, said)
                return await self._work(body, *parts)
        except ClientDisconnect:
            return refuse(400, "the client went away before its body was complete")
        except ValidationError as error:
            return refuse_invalid(error, body or b"")
        except Exception as error:  # noqa: BLE001 - one table answers for all of them, and logs what is ours
            if isinstance(error, TimeoutError) and body is None:
                # What comes after so late is not waited for.
                said = f"the body did not arrive within {self.settings.answer_timeout_s:g} seconds"
                return refuse(408, said, headers={"connection": "close"})
            return refuse_error(error, request_id.decode())

    async def _work(self, body: bytes, part: bytes | None = None) -> Answered | Refused:
        """An answer, where there is room for one more: who is slow to send a body takes none."""
        if not self.door.enter():
            return _OVERLOADED
        entered = time.perf_counter()
        try:
            return await self.work(body or b"{}", part)
        finally:
            self.door.leave(time.perf_counter() - entered)

    async def _read(self, headers: dict[bytes, bytes], receive: Receive) -> bytes | None:
        """The body, None where it is too large. Raises ClientDisconnect."""
        declared = headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > self.settings.max_body_bytes:
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
            if size > self.settings.max_body_bytes:
                return None
            if not message.get("more_body", False):
                return b"".join(parts)


def _is_json(headers: dict[bytes, bytes]) -> bool:
    is_plain = (
        headers.get(b"content-encoding", b"identity").strip().lower() == b"identity"
        and headers.get(b"transfer-encoding", b"chunked").strip().lower() == b"chunked"
    )
    return is_plain and headers.get(b"content-type", _JSON).partition(b";")[0].strip().lower() == _JSON
