"""Connections of the service: how many there are, who has which, and which are not trusted any more.

The driver's own pool takes longer to hand out a connection and take it back (proxies, a reset of the session) than
its connection takes for a short statement. Its statements leave nothing behind that would have to be reset.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Any, Final

import asyncpg

from db.access.opener import Opener
from db.access.session import READS, SCHEMA, Role
from hexbite.errors import StoreTimeout, StoreUnavailable

_CLOSE_S: Final = 5.0

# A connection that was idle for so long is asked before it is lent: a network may have forgotten it. The answer has so
# much of the time of a loan to come.
_DOUBTFUL_S: Final = 10.0
_DOUBT_SHARE: Final = 0.2


class Connections:
    """At most ``most`` connections to ``dsn``, opened when they are needed, as a role; the last given back is the next
    lent.

    ``timeout_s`` is the time that a loan may take in all, the wait for a free connection included; a statement may take
    nine tenths of it. Raises StoreMisconfigured where the address asks for what the driver cannot do.
    """

    def __init__(self, dsn: str, *, most: int, timeout_s: float, schema: str = SCHEMA, role: Role = READS) -> None:
        self.opener = Opener(dsn, schema, timeout_s, role)
        self._timeout_s = timeout_s
        self._free = asyncio.Semaphore(most)
        self.most = most
        #: With the time of the loop since which each is idle.
        self._idle: list[tuple[Any, float]] = []
        self._lent: set[Any] = set()

    @property
    def lent(self) -> int:
        """How many are in use."""
        return len(self._lent)

    @property
    def opened(self) -> int:
        """How many there are, in use or idle."""
        return len(self._lent) + len(self._idle)

    def lend(self) -> _Loan:
        """For ``async with``: one connection. What the driver raises inside comes out as our own errors."""
        return _Loan(self, self._timeout_s)

    async def close(self) -> None:
        """Close all, by force those that do not come back in five seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                for _ in range(self.most):
                    await self._free.acquire()
                for _ in range(self.most):
                    self._free.release()
                # One that the server has ended meanwhile cannot be told goodbye.
                await asyncio.gather(*(connection.close() for connection, _ in self._idle), return_exceptions=True)
        for connection in self._lent:
            connection.terminate()
        self.drop_idle()

    async def take(self, until: float) -> Any:
        """A connection, new where none is idle, by a time of the loop's clock; it must come back by `give_back`."""
        await self._free.acquire()
        try:
            connection = await self._idle_one()
            if connection is None:
                connection = await self.opener.open(until)
        except BaseException:  # a cancelled wait too must give its place back
            self._free.release()
            raise
        self._lent.add(connection)
        return connection

    async def _idle_one(self) -> Any | None:
        """The connection that was used last, asked first where that is long ago: one silence is enough for all."""
        while self._idle:
            connection, since = self._idle.pop()
            if connection.is_closed():
                continue
            if asyncio.get_running_loop().time() - since < _DOUBTFUL_S:
                return connection
            try:
                async with asyncio.timeout(self._timeout_s * _DOUBT_SHARE):
                    await connection.execute("SELECT")
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
                connection.terminate()
                self.drop_idle()
                return None
            except BaseException:  # a wait that was given up
                connection.terminate()
                raise
            return connection
        return None

    def give_back(self, connection: Any, *, sound: bool) -> None:
        """Take a connection back; one that is not sound, in the middle of something, is dropped."""
        self._lent.discard(connection)
        if sound:
            self._idle.append((connection, asyncio.get_running_loop().time()))
        else:
            connection.terminate()
        self._free.release()

    def drop_idle(self) -> None:
        """Close what nobody uses: where one connection was cut off, the others are not worth a request each."""
        while self._idle:
            self._idle.pop()[0].terminate()


class _Loan:
    """One connection for some statements, within a time."""

    __slots__ = ("_connection", "_connections", "_timeout")

    def __init__(self, connections: Connections, timeout_s: float) -> None:
        self._connections = connections
        self._connection: Any = None
        self._timeout = asyncio.timeout(timeout_s)

    async def __aenter__(self) -> Any:
        await self._timeout.__aenter__()
        try:
            until = self._timeout.when()
            assert until is not None
            self._connection = await self._connections.take(until)
        except BaseException as error:  # nobody else leaves what was not entered: the timeout, and our own errors
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return self._connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._connection is not None:
            # What the server itself refused or ended is over; anything else leaves its answer on the wire.
            is_over = error is None or (isinstance(error, asyncpg.PostgresError) and not self._connection.is_closed())
            self._connections.give_back(self._connection, sound=is_over)
        try:
            await self._timeout.__aexit__(kind, error, traceback)
        except TimeoutError as late:
            if self._connection is not None:
                # The server would have said that the statement took too long: nothing was heard at all.
                self._connections.drop_idle()
            raise StoreTimeout("the feature store did not answer in time") from late
        if error is not None and (ours := self._connections.opener.translated(error)) is not None:
            if isinstance(ours, StoreUnavailable):
                self._connections.drop_idle()
            raise ours from error
