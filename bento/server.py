"""The HTTP server of a worker, which the framework configures: what it is to do otherwise, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from typing import Any, Final

from uvicorn import Server

# A child of the framework's logger: the same handlers, the same form.
_log = logging.getLogger("bentoml.hexbite")

# Longer than clients and proxies keep a connection (60 s is usual): who closes an idle one should be who writes to it,
# or a request meets its end half-way.
_KEEP_ALIVE_S: Final = 75

# The supervisor stops listening first (see `bento.supervisor`): what it had accepted by then is still to be answered.
_MARGIN_S: Final = 0.25


def configure() -> None:
    """Before the first connection: keep idle ones for longer, and leave requests for a WebSocket to the edge.

    There is none here, and a request for one that has a body would never be answered.
    """
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    if isinstance(server, Server):  # it is not, where the service runs inside another program
        server.config.timeout_keep_alive = _KEEP_ALIVE_S
        server.config.ws_protocol_class = None


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
