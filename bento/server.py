"""The HTTP server of a worker, which the framework configures: what it is to do otherwise, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from typing import Any, Final

from uvicorn import Server
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# A child of the framework's logger: the same handlers, the same form.
_log = logging.getLogger("bentoml.hexbite")

# Longer than clients and proxies keep a connection (60 s is usual): who closes an idle one should be who writes to it,
# or a request meets its end half-way.
_KEEP_ALIVE_S: Final = 75

# The supervisor stops listening first (see `bento.supervisor`): what it had accepted by then is still to be answered.
_MARGIN_S: Final = 0.25


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


class _Protocol(HttpToolsProtocol):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(_Together(transport, self.loop))  # type: ignore[arg-type]  # it is all of one


def configure() -> None:
    """Before the first connection: keep idle ones for longer, and leave requests for a WebSocket to the edge.

    There is none here, and a request for one that has a body would never be answered. And send an answer in one piece.
    """
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    if isinstance(server, Server):  # it is not, where the service runs inside another program
        server.config.timeout_keep_alive = _KEEP_ALIVE_S
        server.config.ws_protocol_class = None
        if server.config.http_protocol_class is HttpToolsProtocol:
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
