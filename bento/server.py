"""The HTTP server of a worker, which the framework configures: what it is to do otherwise, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import re
import signal
from collections.abc import Callable
from typing import Any, Final, Protocol

from uvicorn import Server
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# A child of the framework's logger: the same handlers, the same form.
_log = logging.getLogger("bentoml.hexbite")

# Longer than clients and proxies keep a connection (60 s is usual): who closes an idle one should be who writes to it,
# or a request meets its end half-way.
_KEEP_ALIVE_S: Final = 75

# The supervisor stops listening first (see `bento.supervisor`): what it had accepted by then is still to be answered.
_MARGIN_S: Final = 0.25


class Door(Protocol):
    """Who says whether there is room for one request more."""

    def is_shut(self, coming: int) -> bool:
        """Whether there is none, if so many that were let in a moment ago have yet to ask."""

    def refuse(self, head: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
        """The whole answer that says so to a request with a head; ``headers`` are the server's own."""


class _Together:
    """A transport that sends the head of an answer with what follows it: one call of the system where there were two.

    What follows comes at once, or never (HEAD): a head waits for it no longer than this turn of the loop.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(b"HTTP/1.1 "):
            self._head = data
            self._loop.call_soon(self._flush)
            return
        self._transport.write(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)


# What a request that is refused at once looks like: whole, and nothing in its head that asks for more than an answer.
_WHOLE: Final = re.compile(rb"POST /recommend(?:/[^ ]*)? HTTP/1\.1\r\n(?:[^\r\n]+\r\n)+\r\n")
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ ]*([0-9]{1,7})[ ]*\r\n", re.IGNORECASE)
_ASKS_MORE: Final = re.compile(
    rb"\r\n(?:transfer-encoding|expect|upgrade|connection:(?![ ]*keep-alive[ ]*\r\n))", re.IGNORECASE
)


class _Protocol(HttpToolsProtocol):
    """uvicorn's, but an answer leaves in one piece, and one request too many is refused before it is made out.

    To parse it, start a task and pass the layers of an application costs several times what a refusal says.
    """

    door: Door | None = None
    coming = 0  # of all connections: requests whose task has not begun yet
    _is_between_requests = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(_Together(transport, self.loop))  # type: ignore[arg-type]  # it is all of one

    def on_message_begin(self) -> None:
        self._is_between_requests = False
        super().on_message_begin()

    def on_message_complete(self) -> None:
        self._is_between_requests = True
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        head = self._head_of_one_too_many(data)
        if self.door is None or head is None:
            _Protocol.coming += 1
            try:
                super().data_received(data)
            finally:
                self.loop.call_soon(self._has_come)  # behind the task's first step, in which it is counted as at work
            return
        self._unset_keepalive_if_required()
        self.transport.write(self.door.refuse(head, self.server_state.default_headers))
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    @staticmethod
    def _has_come() -> None:
        _Protocol.coming -= 1

    def _head_of_one_too_many(self, data: bytes) -> bytes | None:
        if self.door is None or not self.door.is_shut(self.coming) or not self._is_between_requests:
            return None
        if self.cycle is not None and not self.cycle.response_complete:  # type: ignore[redundant-expr]  # it is None at first
            return None
        head = _WHOLE.match(data)
        length = None if head is None else _LENGTH.search(head[0])
        if head is None or length is None or _ASKS_MORE.search(head[0]):
            return None
        return head[0] if head.end() + int(length[1]) == len(data) else None


def configure(door: Door | None) -> None:
    """Before the first connection: keep idle ones for longer, and leave requests for a WebSocket to the edge.

    There is none here, and a request for one that has a body would never be answered. And send an answer in one piece,
    and where the ``door`` is shut, refuse whole requests for a recommendation there.
    """
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    if isinstance(server, Server):  # it is not, where the service runs inside another program
        server.config.timeout_keep_alive = _KEEP_ALIVE_S
        server.config.ws_protocol_class = None
        if server.config.http_protocol_class is HttpToolsProtocol:
            _Protocol.door = door
            server.config.http_protocol_class = _Protocol


def drain_at_sigterm(drain_s: float, begin: Callable[[], None]) -> None:
    """From the loop that answers: at SIGTERM call ``begin``, and hand the signal to the server ``drain_s`` later.

    At once, the server would close connections that a client is just writing a request to.
    """
    server: Any = signal.getsignal(signal.SIGTERM)
    loop = asyncio.get_running_loop()

    def end() -> None:
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, server)
        signal.raise_signal(signal.SIGTERM)

    def drain() -> None:
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _log.info("draining for %g s", drain_s)
        begin()
        loop.call_later(drain_s + _MARGIN_S, end)

    if callable(server):
        loop.add_signal_handler(signal.SIGTERM, drain)
