"""Connections for the service's reads, and what goes wrong with them; the only import of asyncpg.

The driver's own pool takes longer to hand out a connection and take it back (proxies, a reset of the session) than
its connection takes for a short statement. Reads leave nothing behind that would have to be reset.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Any, Final
from urllib.parse import quote, urlencode

import asyncpg
from psycopg.conninfo import conninfo_to_dict

from hexbite.errors import StoreError, StoreTimeout, StoreUnavailable

# Each statement has one good plan, whatever its parameters are: planned once, and by indexes whatever the statistics
# say. Compiling a 1 ms query costs more than it gives.
SESSION: Final = {
    "application_name": "hexbite",
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_memoize": "off",
    "jit": "off",
    # Whoever connects, what is done here is done as who may only read.
    "role": "hexbite_reader",
}

# The server ends a statement before the client stops waiting for it: a connection that is heard from stays sound.
_STATEMENT_SHARE: Final = 0.9

_CLOSE_S: Final = 5.0

# Of an address, what the driver takes as arguments of the same name, and what it takes from nowhere but an address.
_ARGUMENTS: Final = ("user", "password", "passfile", "service", "target_session_attrs", "krbsrvname", "gsslib")
_TLS: Final = (
    "sslmode",
    "sslnegotiation",
    "sslcert",
    "sslkey",
    "sslpassword",
    "sslrootcert",
    "sslcrl",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
)


class Connections:
    """At most ``most`` connections to ``dsn``, opened when they are needed; the last given back is the next lent.

    ``timeout_s`` is the time that a loan may take in all, the wait for a free connection included; a statement may take
    nine tenths of it.
    """

    def __init__(self, dsn: str, *, most: int, timeout_s: float) -> None:
        self._where, options = _dsn_to_arguments(dsn), conninfo_to_dict(dsn).get("options")
        self._session = SESSION | ({} if options is None else {"options": str(options)})
        self._timeout_s = timeout_s
        self._statement_timeout_ms = max(1, round(timeout_s * _STATEMENT_SHARE * 1_000))
        self._free = asyncio.Semaphore(most)
        self.most = most
        self._idle: list[Any] = []
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
                await asyncio.gather(*(connection.close() for connection in self._idle), return_exceptions=True)
        for connection in (*self._lent, *self._idle):
            connection.terminate()
        self._idle.clear()

    async def take(self) -> Any:
        """A connection, new where none is idle; it must come back by `give_back`."""
        await self._free.acquire()
        try:
            while self._idle:
                connection = self._idle.pop()
                if not connection.is_closed():
                    break
            else:
                connection = await asyncpg.connect(
                    **self._where,
                    timeout=self._timeout_s,
                    # Statements stay prepared for as long as the connection lives.
                    max_cached_statement_lifetime=0,
                    server_settings=self._session | {"statement_timeout": str(self._statement_timeout_ms)},
                )
        except BaseException:  # a cancelled wait too must give its place back
            self._free.release()
            raise
        self._lent.add(connection)
        return connection

    def give_back(self, connection: Any, *, sound: bool) -> None:
        """Take a connection back; one that is not sound, in the middle of something, is dropped."""
        self._lent.discard(connection)
        if sound:
            self._idle.append(connection)
        else:
            connection.terminate()
        self._free.release()

    def drop_idle(self) -> None:
        """Close what nobody uses: where one connection was cut off, the others are not worth a request each."""
        while self._idle:
            self._idle.pop().terminate()


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
            self._connection = await self._connections.take()
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
            raise StoreTimeout("the feature store did not answer in time") from late
        if error is not None and (ours := _translated(error)) is not None:
            if isinstance(ours, StoreUnavailable):
                self._connections.drop_idle()
            raise ours from error


def _dsn_to_arguments(dsn: str) -> dict[str, Any]:
    """An address as the driver's arguments, read by libpq as everywhere else.

    The driver's own reading stops at a ``#`` in a password and shows what it found there; and what it does not know of
    libpq's options (``connect_timeout``, ``channel_binding``) it would ask the server for as settings.
    """
    parts = {name: str(value) for name, value in conninfo_to_dict(dsn).items() if value != ""}
    arguments: dict[str, Any] = {name: parts[name] for name in _ARGUMENTS if name in parts}
    if "dbname" in parts:
        arguments["database"] = parts["dbname"]
    if "host" in parts:
        arguments["host"] = parts["host"].split(",")
    if "port" in parts:
        ports = [int(port or 5432) for port in parts["port"].split(",")]
        arguments["port"] = ports if len(ports) > 1 else ports[0]
    tls: dict[str, str] = {name: parts[name] for name in _TLS if name in parts}
    return arguments | ({"dsn": f"postgresql://?{urlencode(tls, quote_via=quote)}"} if tls else {})


def _translated(error: BaseException) -> StoreError | None:
    """What the driver raised as one of our own errors, in this one place; None for what is not the driver's."""
    match error:
        case TimeoutError() | asyncpg.QueryCanceledError():
            return StoreTimeout("the feature store did not answer in time")
        case (
            OSError()
            | asyncpg.PostgresConnectionError()
            | asyncpg.OperatorInterventionError()
            | asyncpg.InsufficientResourcesError()
            | asyncpg.InvalidAuthorizationSpecificationError()  # a wrong password among them
            | asyncpg.InvalidCatalogNameError()
            | asyncpg.InterfaceError()
            # A connection that the server has just closed, before the driver has noticed.
            | asyncpg.InternalClientError()
        ):
            return StoreUnavailable(f"the feature store cannot be reached: {error}")
        case KeyError() if "getpwuid" in str(error):
            return StoreUnavailable(
                "the address names no user, and the system has no name for the one that this runs as"
            )
        case asyncpg.InvalidParameterValueError() if "hexbite_reader" in str(error):
            return StoreUnavailable("the feature store has no role hexbite_reader; run: python -m db upgrade")
        case asyncpg.InsufficientPrivilegeError():
            return StoreError(f"the store's user may not read it: {error}; run: GRANT hexbite_reader TO that user")
        case asyncpg.UndefinedTableError() | asyncpg.UndefinedColumnError():
            return StoreUnavailable("the feature store has no tables, or old ones; run: python -m db upgrade")
        case asyncpg.PostgresError():
            return StoreError(f"the feature store refused: {error}")
        case _:
            return None
