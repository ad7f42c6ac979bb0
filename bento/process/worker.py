"""A worker: what its server reads HTTP by, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from typing import Any, Final

from uvicorn import Server

from bento.process.run import folder
from hexbite.errors import SettingsError

# A child of the framework's logger: the same handlers, the same form.
_log = logging.getLogger("bentoml.hexbite")

# The supervisor stops listening first (see `bento.process.supervisor`): what was accepted by then is still answered.
_MARGIN_S: Final = 0.5


def pass_over_offers() -> None:
    """Before the server is made: an offer to speak another protocol changes nothing, nor is a WebSocket spoken."""
    from uvicorn.config import HTTP_PROTOCOLS  # see `bento.process.private`, which asks first whether it is there

    if "auto" not in HTTP_PROTOCOLS:
        raise SettingsError("uvicorn chooses what reads HTTP in another way than it did")
    HTTP_PROTOCOLS["auto"] = "bento.process.offers:Protocol"


def drain_at_sigterm(drain_s: float, begin: Callable[[], None]) -> None:
    """From the loop that answers: at SIGTERM call ``begin``, and hand the signal to the server ``drain_s`` later.

    At once, the server would close connections that a client is just writing a request to. Raises SettingsError where
    a worker's server does not take signals as it did.
    """
    server: Any = signal.getsignal(signal.SIGTERM)
    if folder() is not None and not isinstance(getattr(server, "__self__", None), Server):
        raise SettingsError("uvicorn takes SIGTERM in another way than it did: a worker would not drain")
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
