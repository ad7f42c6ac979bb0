"""The end of a worker: asked to go, it still answers for a while, and tells everybody to go elsewhere."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from typing import Any, Final

# A child of the framework's logger: the same handlers, the same form.
_log = logging.getLogger("bentoml.hexbite")

# The supervisor stops listening first (see `bento.supervisor`): what it had accepted by then is still to be answered.
_MARGIN_S: Final = 0.25


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
