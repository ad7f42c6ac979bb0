"""Addresses of a store as libpq reads them, and what of them the service's driver can keep to.

The commands speak through libpq. The service's driver reads addresses by itself, and in another way: it stops at a
``#`` in a password, asks the server for what it does not know, and drops some demands for security without a word. So
libpq reads, and the driver gets its findings; what it cannot do is refused by name.
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlencode

from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from hexbite.errors import StoreMisconfigured

# What the service does as libpq would: by the driver's arguments, its reading of TLS parameters, or our own hand.
HONOURED: Final = frozenset(
    {
        *("host", "hostaddr", "port", "dbname", "user", "password", "passfile", "service"),
        *("target_session_attrs", "load_balance_hosts", "connect_timeout"),
        *("options", "application_name", "fallback_application_name", "client_encoding"),
        *("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"),
        *("sslmode", "sslnegotiation", "sslcert", "sslkey", "sslpassword", "sslrootcert", "sslcrl"),
        *("ssl_min_protocol_version", "ssl_max_protocol_version", "krbsrvname", "gsslib"),
    }
)

# What the driver knows nothing of, and the values that ask for no more than it does anyway.
HARMLESS: Final = {
    "channel_binding": {"prefer", "disable"},
    "gssencmode": {"prefer", "disable"},
    "gssdelegation": {"0"},
    "max_protocol_version": {"3.0", "3.2", "latest"},
    "min_protocol_version": {"3.0"},
    "replication": {"0", "off", "no", "false"},
    "sslcertmode": {"allow"},
    "sslcompression": {"0", "1"},  # no longer of any effect in libpq either
    "sslsni": {"1"},
}


# Numbers, with commas between those of several hosts, and what the kernel takes of them.
_WHOLE: Final = {
    "port": range(1, 65_536),
    "connect_timeout": range(-(2**31), 2**31),
    "keepalives": range(2**31),
    "keepalives_idle": range(-(2**31), 32_768),
    "keepalives_interval": range(-(2**31), 32_768),
    "keepalives_count": range(-(2**31), 128),
    "tcp_user_timeout": range(-(2**31), 2**31),
}


def resolved(dsn: str) -> dict[str, str]:
    """Every parameter that counts for an address: its own, its service's, the environment's, libpq's defaults.

    Raises StoreMisconfigured where the address names a service that no file defines.
    """
    explicit = {name: str(value) for name, value in conninfo_to_dict(dsn).items()}
    defaults: dict[str, str] = {}
    libpqs: dict[str, str] = defaultdict(str)
    for option in Conninfo.get_defaults():
        name = option.keyword.decode()
        libpqs[name] = (option.compiled or b"").decode()
        # Not the value that libpq found: it has read the environment's service, and an address may name another.
        value = os.environ.get(option.envvar.decode()) if option.envvar else None
        if name == "user" and option.val:
            libpqs[name] = option.val.decode()
        if value or libpqs[name]:
            defaults[name] = value or libpqs[name]
    service = explicit.get("service") or os.environ.get("PGSERVICE")
    said = (_of_service(service) if service else {}) | explicit
    parameters = defaults | said
    # Empty is as if it were not said, but hides what the environment says.
    parameters = {name: value or libpqs[name] for name, value in parameters.items() if value or libpqs[name]}
    if parameters.get("sslrootcert") == "system" and "sslmode" not in said and not os.environ.get("PGSSLMODE"):
        parameters["sslmode"] = "verify-full"
    return parameters


def for_service(dsn: str) -> dict[str, str]:
    """As `resolved`, less what changes nothing. Raises StoreMisconfigured for what the service's driver cannot do."""
    parameters = resolved(dsn)
    for name, value in parameters.items():
        if name in HONOURED or value in HARMLESS.get(name, ()):
            continue
        raise StoreMisconfigured(
            f"the store's address asks for {name}, which the service's driver cannot do: take it out of "
            f"DATABASE_URL, of its file of services or of the environment, PG{name.replace('_', '').upper()}"
        )
    for name in _WHOLE.keys() & parameters.keys():
        for number in filter(None, parameters[name].split(",")):
            try:
                is_meant = int(number) in _WHOLE[name]
            except ValueError:
                is_meant = False
            if not is_meant:
                raise StoreMisconfigured(f"the store's address has a {name} that is no whole number within its range")
    if "user" not in parameters:
        raise StoreMisconfigured(
            "the store's address names no user, and the system has no name for the one that this runs as"
        )
    if "hostaddr" in parameters and "host" in parameters:
        raise StoreMisconfigured("the store's address has host and hostaddr, and the service takes one of them")
    if parameters.get("sslrootcert") == "system" and parameters["sslmode"] != "verify-full":
        raise StoreMisconfigured("sslrootcert=system wants sslmode=verify-full, and the store's address has another")
    if parameters.get("client_encoding"):  # ours are UTF-8
        del parameters["client_encoding"]
    return {name: value for name, value in parameters.items() if name in HONOURED and name != "service"}


def shown(dsn: str) -> str:
    """An address that can be shown: put together anew from what libpq reads in it, without what libpq calls secret."""
    secret = {option.keyword.decode() for option in Conninfo.get_defaults() if option.dispchar}
    parts = {name: str(value) for name, value in conninfo_to_dict(dsn).items() if name not in secret}
    credentials = f"{quote(parts.pop('user'), safe='')}@" if "user" in parts else ""
    hosts = parts.get("host", "").split(",")
    ports = parts.get("port", "").split(",")
    where = ""
    if all(host and not host.startswith("/") for host in hosts) and len(ports) in (1, len(hosts)):
        del parts["host"]
        parts.pop("port", None)
        pairs = zip(hosts, ports * len(hosts) if len(ports) == 1 else ports, strict=True)
        where = ",".join((f"[{host}]" if ":" in host else host) + (f":{port}" if port else "") for host, port in pairs)
    database = f"/{quote(parts.pop('dbname'), safe='')}" if "dbname" in parts else "/" if where or credentials else ""
    return f"postgresql://{credentials}{where}{database}" + (f"?{urlencode(parts, quote_via=quote)}" if parts else "")


def _of_service(service: str) -> dict[str, str]:
    """What libpq's files say of a service, see "The Connection Service File" in Postgres's manual.

    Of a section, or of a name in it, that comes twice, the first counts.
    """
    for file in _service_files():
        try:
            lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise StoreMisconfigured(f"{file}, which the store's address needs, cannot be read: {error}") from None
        if f"[{service}]" not in lines:
            continue
        found: dict[str, str] = {}
        for line in lines[lines.index(f"[{service}]") + 1 :]:
            if line.startswith("["):
                break
            if not line or line.startswith("#"):
                continue
            name, equals, value = line.partition("=")
            if not equals:
                raise StoreMisconfigured(
                    f"{file}, which the store's address needs, has a line without a = in [{service}]"
                )
            found.setdefault(name, value)
        return found
    raise StoreMisconfigured(
        f"the store's address names the service {service!r}, and no file of services that the service can find "
        "(PGSERVICEFILE, ~/.pg_service.conf, PGSYSCONFDIR/pg_service.conf) defines it"
    )


def _service_files() -> list[Path]:
    own, shared = os.environ.get("PGSERVICEFILE"), os.environ.get("PGSYSCONFDIR")
    files = [Path(own) if own else Path("~/.pg_service.conf").expanduser()]
    return [*files, Path(shared) / "pg_service.conf"] if shared else files
