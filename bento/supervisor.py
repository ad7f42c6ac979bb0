"""What the framework's supervisor of workers lacks: a dead worker is replaced at once, and an end loses no request.

It looks for dead workers every ten seconds, and keeps the listening socket open behind workers that have ended: whoever
connects then is accepted by nobody and cut off. Both are mended in a subclass that takes its place.
"""

from __future__ import annotations

import logging
import select
import signal
import socket
from collections.abc import Generator
from contextlib import suppress
from typing import Any, Final

from bentoml._internal.utils import circus as framework  # its arbiter cannot be configured from outside
from circus.exc import ConflictError
from tornado import gen

# A child of the framework's logger: the same handlers, the same form.
_log = logging.getLogger("bentoml.hexbite")

# Between looks for dead workers where no signal told of one.
_LOOK_S: Final = 1.0

# How long the queue of a listening socket is waited for to be empty.
_EMPTY_S: Final = 0.5


def install(drain_s: float) -> None:
    """In the process of the supervisor, before it makes its arbiter."""

    class Arbiter(framework.Arbiter):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options | {"check_delay": _LOOK_S})

        def initialize(self) -> None:
            super().initialize()
            signal.signal(signal.SIGCHLD, lambda *_: self.loop.add_callback_from_signal(self._look))

        @gen.coroutine
        def _look(self) -> Generator[Any, Any, None]:
            with suppress(ConflictError):  # it is being looked already, or the end has begun
                yield self.manage_watchers()

        @gen.coroutine
        def _stop_watchers(self, *arguments: Any, **options: Any) -> Generator[Any, Any, None]:
            stopped = super()._stop_watchers(*arguments, **options)  # workers are told, and drain
            if self._stopping:
                yield gen.sleep(drain_s)
                for listening in self.sockets.values():
                    yield self._stop_listening(listening)
            yield stopped

        @gen.coroutine
        def _stop_listening(self, listening: socket.socket) -> Generator[Any, Any, None]:
            # A moment at which everybody who was let in is with a worker.
            looks = 0
            while select.select([listening], [], [], 0)[0] and looks < _EMPTY_S * 1_000:
                looks += 1
                yield gen.sleep(0.001)
            with suppress(OSError):  # nobody listens any more
                listening.shutdown(socket.SHUT_RDWR)

    framework.Arbiter = Arbiter  # type: ignore[misc]  # the point of it
