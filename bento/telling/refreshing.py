"""What is known of places, kept up to date by the service itself: aside, one refresh at a time."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from typing import Final

from bento.telemetry import metrics
from db.memory.refresh import Refreshed
from hexbite.errors import HexbiteError

# A child of the framework's logger: the same handlers, the same form.
_log = logging.getLogger("bentoml.hexbite")

# Between two looks at how often it is wanted, which deployments change.
_LOOK_S: Final = 1.0

# Where each answer of who tells is preceded by one: for what others told.
_LEAST_OFTEN_S: Final = 60.0


class Refreshing:
    """Calls ``refresh`` in a thread; what keeps it from that is logged when it changes, and counted each time.

    ``refresh`` takes whether to wait for one that goes on elsewhere, and gives None where it did not wait.
    """

    def __init__(self, refresh: Callable[[bool], Refreshed | None]) -> None:
        self._refresh = refresh
        self._now: asyncio.Future[None] | None = None
        self._next: asyncio.Future[None] | None = None
        self._fault = ""

    async def keep(self, interval_s: Callable[[], float | None]) -> None:
        """At each whole interval since 1970, at which all workers wake, one of them refreshes; None for never."""
        while True:
            wanted_s = interval_s()
            if wanted_s is None:
                await asyncio.sleep(_LOOK_S)
                continue
            every_s = wanted_s or _LEAST_OFTEN_S
            now = time.time()
            due = (math.floor(now / every_s) + 1) * every_s
            await asyncio.sleep(min(due - now, _LOOK_S))
            if time.time() >= due:
                await self._try(False)

    async def settle(self) -> None:
        """Return when a refresh that began after this call has ended; all who wait for one share it."""
        if self._next is None:
            self._next = asyncio.ensure_future(self._after(self._now))
        await asyncio.shield(self._next)

    async def _after(self, before: asyncio.Future[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        self._now, self._next = self._next, None
        await self._try(True)

    async def _try(self, waits: bool) -> None:
        try:
            done = await asyncio.to_thread(self._refresh, waits)
        except Exception as error:  # noqa: BLE001 - told; answers go on, by what was known before
            metrics.refresh_failures.inc()
            if str(error) != self._fault:
                self._fault = str(error)
                unexpected = None if isinstance(error, HexbiteError) else error
                _log.error("what is known of places is not refreshed: %s", error, exc_info=unexpected)
            return
        if self._fault:
            self._fault = ""
            _log.info("what is known of places is refreshed again")
        if done is not None:
            metrics.refresh_seconds.observe(done.seconds)
            metrics.refreshed_events.inc(done.events)
