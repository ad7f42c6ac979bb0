"""What the framework's supervisor of workers lacks, in a subclass of its arbiter that takes its place.

It looks for dead workers every ten seconds, forgets a signal that meets such a look, listens before anybody can answer,
and goes on listening when nobody does any more.
"""

from __future__ import annotations

import asyncio
import math
import select
import signal
import socket
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bentoml.exceptions import BentoMLConfigException

from bento.process import private
from bento.process.run import Keeper

if TYPE_CHECKING:
    from circus.process import Process
    from circus.watcher import Watcher

# Between looks for dead workers where no signal told of one.
_LOOK_S: Final = 1.0

# A worker in place of a dead one that lives less than this died at once. Then the next is started after a pause, twice
# as long each time.
_AT_ONCE_S: Final = 30.0
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 30.0

# How long the queue of a listening socket is waited for to be empty.
_EMPTY_S: Final = 0.4
_POLL_S: Final = 0.001

# Between looks whether circus is still at another command.
_TURN_S: Final = 0.01


class Pause:
    """How long dead workers wait to be replaced: not at all, but for those that die at once again and again."""

    def __init__(self) -> None:
        self._replacements: set[int] = set()
        self._known: set[int] = set()
        self._pause_s = 0.0
        self._until = 0.0

    def holds(self, dead: Mapping[int, float]) -> bool:
        """Whether the dead wait: their process ids, and the time at which each was started."""
        news = dead.keys() - self._known
        self._known = set(dead)
        if news:
            youngest_s = min((time.time() - dead[pid] for pid in news & self._replacements), default=math.inf)
            if youngest_s >= _AT_ONCE_S:
                self._pause_s = self._until = 0.0
            elif time.monotonic() >= self._until:  # one pause for all that die in one
                self._pause_s = min(_LONGEST_PAUSE_S, max(_FIRST_PAUSE_S, 2 * self._pause_s))
                self._until = time.monotonic() + self._pause_s
        return time.monotonic() < self._until

    def replaced(self, dead: Iterable[int], by: Iterable[int]) -> None:
        """The dead are replaced."""
        self._replacements = (self._replacements - set(dead)) | set(by)


def install(drain_s: float, folder: Path) -> None:
    """In the process of the supervisor, before it makes its arbiter. Workers count in files in the run's ``folder``.

    Raises SettingsError where a private piece is not where it was.
    """
    private.require()
    from bentoml._internal.utils import circus as framework
    from circus.process import DEAD_OR_ZOMBIE, UNEXISTING

    class Arbiter(framework.Arbiter):
        def __init__(self, watchers: list[Watcher], *arguments: Any, **options: Any) -> None:
            for watcher in watchers:
                # The framework's folder is shared by all services of one BENTOML_HOME, and each that starts empties it.
                watcher.env = dict(watcher.env or {}, PROMETHEUS_MULTIPROC_DIR=str(folder))
            super().__init__(watchers, *arguments, **options | {"check_delay": _LOOK_S})
            if missing := set(private.ATTRIBUTES) - vars(self).keys():
                raise BentoMLConfigException(f"circus's arbiter has no {', '.join(sorted(missing))} any more")
            self._pause = Pause()
            self._keeper = Keeper(folder)

        def initialize(self) -> None:
            for bound in self.sockets.values():
                # A worker listens when it can answer. Until then who asks is refused, and may ask another replica.
                bound.listen = lambda _backlog: None
            super().initialize()
            signal.signal(signal.SIGCHLD, lambda *_: self.loop.add_callback_from_signal(self.manage_watchers))

        async def manage_watchers(self) -> None:
            while self._exclusive_running_command is not None and not self._stopping:  # noqa: ASYNC110 - as in stop
                await asyncio.sleep(_TURN_S)
            if self._stopping:
                return
            dead = {
                process.pid: process.started
                for process in self._processes()
                if process.status in (DEAD_OR_ZOMBIE, UNEXISTING)
            }
            with suppress(OSError):  # no room, cleaned just now, or somebody else's: at the next look
                self._keeper.keep([process.pid for process in self._processes()])
            if self._pause.holds(dead):
                return
            before = {process.pid for process in self._processes()}
            await super().manage_watchers()
            self._pause.replaced(dead, {process.pid for process in self._processes()} - before)

        def _processes(self) -> list[Process]:
            return [process for watcher in self.watchers for process in watcher.processes.values()]

        def stop(self) -> asyncio.Future[None]:  # type: ignore[override]  # as circus has it
            return asyncio.ensure_future(self._stop_in_turn())

        async def _stop_in_turn(self) -> None:
            while self._exclusive_running_command is not None and not self._stopping:  # noqa: ASYNC110 - circus tells nobody
                await asyncio.sleep(_TURN_S)
            if not self._stopping:
                await super().stop()  # type: ignore[misc]  # a future, as circus has it

        async def _stop_watchers(self, *arguments: Any, **options: Any) -> None:
            stopped = super()._stop_watchers(*arguments, **options)  # workers are told, and drain
            if self._stopping:
                await self._stop_listening(stopped)
            await stopped

        async def _stop_listening(self, stopped: asyncio.Future[None]) -> None:
            """After the drain, at a moment when nobody is waiting to be accepted; at once where no worker is left."""
            await asyncio.wait([stopped], timeout=drain_s)
            for listening in () if stopped.done() else self.sockets.values():
                # No room in the queue: who comes now tries again, and finds nobody; who is in it is let in.
                socket.socket.listen(listening, 0)
            patience = time.monotonic() + _EMPTY_S
            # The kernel tells nobody when a queue has become empty: it is asked.
            while not stopped.done() and time.monotonic() < patience and _is_somebody_waiting(self.sockets):  # noqa: ASYNC110
                await asyncio.sleep(_POLL_S)
            for listening in self.sockets.values():
                with suppress(OSError):  # nobody listens any more
                    listening.shutdown(socket.SHUT_RDWR)

    framework.Arbiter = Arbiter  # type: ignore[misc]  # the point of it


def _is_somebody_waiting(sockets: Mapping[str, socket.socket]) -> bool:
    return bool(select.select(list(sockets.values()), [], [], 0)[0])
