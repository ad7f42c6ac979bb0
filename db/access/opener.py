"""One connection of the service: how it is opened, and what its driver raises as our own errors."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import ssl
from typing import Any, Final
from urllib.parse import quote, urlencode

import asyncpg

from db.access.address import for_service
from db.access.session import FILTER, NETWORK, READS, SINCE, Role, hidden, may_not_connect, quoted, service_settings
from hexbite.errors import StoreError, StoreMisconfigured, StoreTimeout, StoreUnavailable

# The server ends a statement before the client stops waiting for it: a connection that is heard from stays sound.
_STATEMENT_SHARE: Final = 0.9

_APPLICATION: Final = "hexbite"

# Of an address, what the driver takes as arguments of the same name, and what it takes from nowhere but an address.
_ARGUMENTS: Final = ("user", "password", "passfile", "krbsrvname", "gsslib")
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
_TLS_FILES: Final = frozenset({"sslcert", "sslkey", "sslrootcert", "sslcrl"})
_TLS_VERSIONS: Final = {"TLSv1": "TLSv1", "TLSv1.1": "TLSv1_1", "TLSv1.2": "TLSv1_2", "TLSv1.3": "TLSv1_3"}

# libpq's parameters of the network, by the names of the kernel's own.
_SOCKET_OPTIONS: Final = {
    "keepalives_idle": "TCP_KEEPIDLE",
    "keepalives_interval": "TCP_KEEPINTVL",
    "keepalives_count": "TCP_KEEPCNT",
    "tcp_user_timeout": "TCP_USER_TIMEOUT",
}

# The server's function that checks settings at the start of a session: what is refused there is ``role``.
_STEP_DOWN: Final = "call_string_check_hook"

# That which lets users into a database.
_LET_IN: Final = "CheckMyDatabase"

# Classes of errors that end a session, or keep one from beginning, and pass by themselves.
_PASSING: Final = ("08", "25", "40", "53", "57")

# The server is not the one, or not the kind of one, that was asked for: there may be another.
_ANOTHER_HOST: Final = (OSError, asyncpg.CannotConnectNowError, asyncpg.TargetServerAttributeNotMatched)


class _Connection(asyncpg.Connection):  # type: ignore[misc]  # the library has no types here
    """One that knows its socket."""

    __slots__ = ("socket",)

    def __init__(self, protocol: Any, transport: asyncio.BaseTransport, *rest: Any) -> None:
        super().__init__(protocol, transport, *rest)
        self.socket = transport.get_extra_info("socket")


class Opener:
    """Opens connections to ``dsn`` on the tables in ``schema`` as a role; a statement may take nine tenths of
    ``timeout_s``. Who writes is led to a server that can be written to, whatever the address asks for.

    Raises StoreMisconfigured where the address asks for what the driver cannot do.
    """

    def __init__(self, dsn: str, schema: str, timeout_s: float, role: Role = READS) -> None:
        parameters = for_service(dsn)
        self.schema = schema
        self.role = role
        self._user = parameters["user"]
        self._database = parameters.get("dbname") or self._user
        most_s = float(parameters.get("connect_timeout") or 0)
        self._most_s = most_s if most_s > 0 else timeout_s
        self._hosts = _hosts(parameters)
        self._shuffles = parameters.get("load_balance_hosts") == "random"
        self._wanted = parameters.get("target_session_attrs", "any") if role is READS else "read-write"
        self._network = NETWORK | {name: parameters[name] for name in NETWORK if name in parameters}
        application = parameters.get("application_name") or parameters.get("fallback_application_name") or _APPLICATION
        settings = service_settings(schema, max(1, round(timeout_s * _STATEMENT_SHARE * 1_000)), role)
        del settings["client_encoding"]  # the driver's own
        if options := parameters.get("options"):
            settings["options"] = options
        self._arguments: dict[str, Any] = {
            **{name: parameters[name] for name in _ARGUMENTS if name in parameters},
            "database": self._database,
            "server_settings": settings | {"application_name": application},
            # Statements stay prepared for as long as the connection lives.
            "max_cached_statement_lifetime": 0,
            "connection_class": _Connection,
        }

    async def open(self, until: float) -> Any:
        """A connection to the first host that will do; each of them has its share of the time, which ends at ``until``
        of the loop's clock. Raises what the driver raises, see `translated`.
        """
        clock = asyncio.get_running_loop().time
        wanted = ("standby", "any") if self._wanted == "prefer-standby" else (self._wanted,)
        hosts = random.sample(self._hosts, len(self._hosts)) if self._shuffles else self._hosts
        attempts = [(host, attributes) for attributes in wanted for host in hosts]
        for left, (host, attributes) in zip(range(len(attempts), 0, -1), attempts, strict=True):
            share_s = max(0.0, min((until - clock()) / left, self._most_s))
            try:
                connection = await asyncpg.connect(
                    **self._arguments, **host, target_session_attrs=attributes, timeout=share_s
                )
            except _ANOTHER_HOST:
                if left == 1:
                    raise
                continue
            try:
                _keep_alive(connection.socket, self._network)
                for version, statement in SINCE.items():
                    if connection.get_server_version().major * 10_000 >= version:
                        await connection.execute(statement)
            except BaseException:  # a cancelled wait too would leave a session that nobody has
                connection.terminate()
                raise
            return connection
        raise AssertionError("an address has a host")

    def translated(self, error: BaseException) -> StoreError | None:
        """What the driver raised as one of our own errors, in this one place; None for what is not the driver's."""
        match error:
            case StoreError():
                return error
            case TimeoutError() | asyncpg.QueryCanceledError():
                return StoreTimeout("the feature store did not answer in time")
            case asyncpg.InvalidParameterValueError() if self.role.name in str(error):
                return StoreMisconfigured(f"the feature store has no role {self.role.name}; run: python -m db upgrade")
            case asyncpg.InsufficientPrivilegeError() if error.server_source_function == FILTER:
                return StoreMisconfigured(hidden(self.role.name))
            case asyncpg.InsufficientPrivilegeError() if error.server_source_function == _STEP_DOWN:
                return StoreMisconfigured(
                    f"{self.role.refused}: {error}; run, as the store's owner: "
                    f"GRANT {self.role.name} TO {quoted(self._user)}"
                )
            case asyncpg.InsufficientPrivilegeError() if error.server_source_function == _LET_IN:
                return StoreMisconfigured(may_not_connect(self._database, self._user))
            case asyncpg.PostgresError() if error.severity_en == "FATAL" and (error.sqlstate or "")[:2] not in _PASSING:
                # At the start of a session: a setting of the address, a password, a database that is not there.
                return StoreMisconfigured(f"the feature store lets nobody in: {error}")
            case asyncpg.InsufficientPrivilegeError():
                wanted = self.role.wanted.format(quoted(self.schema))
                return StoreMisconfigured(
                    f"{self.role.closed}: {error}; run, as its owner: GRANT {wanted} TO {self.role.name}"
                )
            case (
                asyncpg.UndefinedTableError()
                | asyncpg.UndefinedColumnError()
                | asyncpg.UndefinedFunctionError()
                | asyncpg.InvalidSchemaNameError()
            ):
                return StoreMisconfigured(
                    f"the feature store has no tables in schema {quoted(self.schema)}, or old ones; "
                    "run: python -m db upgrade"
                )
            case (
                asyncpg.ProtocolViolationError()  # of a pooler, say, which does not know a setting
                | asyncpg.ClientConfigurationError()
                | ssl.SSLCertVerificationError()
                | UnicodeError()  # a host that no name can be
            ):
                return StoreMisconfigured(f"the feature store cannot be used: {error}")
            case socket.gaierror() if error.errno == socket.EAI_NONAME:
                return StoreMisconfigured(
                    f"the feature store's address names a host that is not known: {error.strerror}"
                )
            case ConnectionError() if "rejected SSL upgrade" in str(error):
                return StoreMisconfigured(f"the feature store's address asks for TLS: {error}")
            case (
                OSError()
                | asyncpg.PostgresConnectionError()
                | asyncpg.OperatorInterventionError()
                | asyncpg.InsufficientResourcesError()
                | asyncpg.TransactionRollbackError()  # on a standby, whose primary took away what was being read
                | asyncpg.InterfaceError()
                # A connection that the server has just closed, before the driver has noticed.
                | asyncpg.InternalClientError()
            ):
                return StoreUnavailable(f"the feature store cannot be reached: {error}")
            case asyncpg.PostgresError():
                return StoreError(f"the feature store refused: {error}")
            case _:
                return None


def _hosts(parameters: dict[str, str]) -> list[dict[str, Any]]:
    hosts = parameters.get("host", parameters.get("hostaddr", "")).split(",")
    ports = parameters["port"].split(",")
    if len(ports) not in (1, len(hosts)):
        raise StoreMisconfigured(f"the store's address has {len(hosts)} hosts and {len(ports)} ports")
    pairs = zip(hosts, ports * len(hosts) if len(ports) == 1 else ports, strict=True)
    tls = _tls(parameters)
    return [
        # Without a host the driver looks for a socket where libpq's own would be. TLS is not spoken through one.
        {"port": int(port or 5432)} | ({"host": host} if host else {}) | ({"ssl": False} if _is_socket(host) else tls)
        for host, port in pairs
    ]


def _is_socket(host: str) -> bool:
    return host.startswith("/")


def _tls(parameters: dict[str, str]) -> dict[str, Any]:
    tls: dict[str, str] = {name: parameters[name] for name in _TLS if name in parameters}
    for name in _TLS_FILES & tls.keys():
        if tls[name] != "system" and not os.access(tls[name], os.R_OK):
            # The driver's own error names no file, as that of a socket that is not there.
            raise StoreMisconfigured(f"the store's address names a file by {name} that cannot be read: {tls[name]}")
    if tls.get("sslrootcert") != "system":
        return {"dsn": f"postgresql://?{urlencode(tls, quote_via=quote)}"}
    # The driver takes the word for a file.
    context = ssl.create_default_context()
    context.set_alpn_protocols(["postgresql"])
    try:
        if "sslcrl" in tls:
            context.load_verify_locations(tls["sslcrl"])
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
        if "sslcert" in tls:
            context.load_cert_chain(tls["sslcert"], tls.get("sslkey"), lambda: tls.get("sslpassword", ""))
        context.minimum_version = ssl.TLSVersion[_TLS_VERSIONS[tls["ssl_min_protocol_version"]]]
        if "ssl_max_protocol_version" in tls:
            context.maximum_version = ssl.TLSVersion[_TLS_VERSIONS[tls["ssl_max_protocol_version"]]]
    except (OSError, KeyError) as error:
        raise StoreMisconfigured(f"the store's address asks for TLS that cannot be had: {error}") from error
    return {"ssl": context, "direct_tls": tls.get("sslnegotiation") == "direct"}


def _keep_alive(sock: Any, network: dict[str, str]) -> None:
    if sock is None or sock.family == socket.AF_UNIX or network["keepalives"] == "0":
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, option in _SOCKET_OPTIONS.items():
        # Not every system has all of them; 0 is the system's own.
        if hasattr(socket, option) and int(network[name]) > 0:
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), int(network[name]))
