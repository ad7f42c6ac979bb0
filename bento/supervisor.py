"""What the framework's supervisor of workers lacks: a dead worker is replaced at once, and an end loses no request.

It looks for dead workers every ten seconds, and keeps the listening socket open behind workers that have ended: whoever
connects then is accepted by nobody and cut off. Both are mended in a subclass that takes its place.
"""

from __future__ import annotations

import atexit
import ctypes
import select
import shutil
import signal
import socket
import struct
import sys
import tempfile
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from bentoml._internal.utils import circus as framework  # its arbiter cannot be configured from outside
from circus.exc import ConflictError
from tornado import gen

from bento.standby import PLACES, make_places

# Between looks for dead workers where no signal told of one.
_LOOK_S: Final = 1.0

# Those that stand by are started when those that answer have had the processor to themselves.
_STANDBY_AFTER_S: Final = 10.0

# How long a handshake that has begun may take, and how long the queue of a listening socket is waited for to be empty.
_HANDSHAKE_S: Final = 0.05
_EMPTY_S: Final = 0.5
_POLL_S: Final = 0.001

# Linux's number, which Python's socket module does not know.
_SO_ATTACH_FILTER: Final = 26

# Classic BPF over the TCP header: of the byte of flags, SYN and ACK; a SYN without an ACK is dropped (0 bytes of it are
# kept), everything else passes.
_DROP_OPENING: Final = ((0x30, 0, 0, 13), (0x54, 0, 0, 0x12), (0x15, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFF))


def install(drain_s: float, standby: int) -> None:
    """In the process of the supervisor, before it makes its arbiter; ``standby`` workers more than may answer."""

    class Arbiter(framework.Arbiter):
        def __init__(self, watchers: list[Any], *arguments: Any, **options: Any) -> None:
            scratch = Path(tempfile.mkdtemp(prefix="hexbite-"))
            # Workers count in files. The framework's folder for them is shared by all services of one BENTOML_HOME, and
            # each that starts empties it.
            (scratch / "metrics").mkdir()
            make_places(scratch / "places", sum(watcher.numprocesses for watcher in watchers))
            for watcher in watchers:
                watcher.env = dict(watcher.env or {}, PROMETHEUS_MULTIPROC_DIR=str(scratch / "metrics"))
                watcher.env[PLACES] = str(scratch / "places")
            super().__init__(watchers, *arguments, **options | {"check_delay": _LOOK_S})
            # Not with the arbiter's own clean-up: that runs before the workers have ended.
            atexit.register(shutil.rmtree, scratch, ignore_errors=True)

        def initialize(self) -> None:
            for bound in self.sockets.values():
                # A worker listens when it can answer. Until then who asks is refused, and may ask another replica.
                bound.listen = lambda _backlog: None
            super().initialize()
            signal.signal(signal.SIGCHLD, lambda *_: self.loop.add_callback_from_signal(self._look))
            self.loop.call_later(_STANDBY_AFTER_S, self._begin_to_stand_by)

        def _begin_to_stand_by(self) -> None:
            for watcher in self.watchers:
                if watcher.respawn:  # in a container it does not: there are other containers
                    watcher.numprocesses += standby
            self.loop.add_callback(self._look)

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
            _let_nobody_begin(listening)
            yield gen.sleep(_HANDSHAKE_S)
            waited_s = 0.0
            while select.select([listening], [], [], 0)[0] and waited_s < _EMPTY_S:
                yield gen.sleep(_POLL_S)
                waited_s += _POLL_S
            with suppress(OSError):  # nobody listens any more
                listening.shutdown(socket.SHUT_RDWR)

    framework.Arbiter = Arbiter  # type: ignore[misc]  # the point of it


def _let_nobody_begin(listening: socket.socket) -> None:
    """Drop the packets that open a connection, and no others: who is in the middle of it gets to a worker.

    There is no call for it. Without, a connection may arrive between the last look at the queue and the end of it.
    """
    if not sys.platform.startswith("linux"):
        return
    filters = b"".join(struct.pack("=HBBI", *instruction) for instruction in _DROP_OPENING)
    program = ctypes.create_string_buffer(filters, len(filters))
    # struct sock_fprog: how many, and where.
    attached = struct.pack("@HP", len(_DROP_OPENING), ctypes.addressof(program))
    with suppress(OSError):  # it is a unix socket, or the kernel is built without
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, attached)
