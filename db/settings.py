"""Which feature store the commands and the service use; the only reader of the environment in this package."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from db.embedded import EmbeddedServer, default_home
from hexbite.errors import StoreError

_SCHEMES: Final = ("postgresql://", "postgres://")


class StoreSettings(BaseSettings):
    """``database_url``: DATABASE_URL, the address of a Postgres server. ``home``: HEXBITE_HOME, where the embedded
    server keeps its data where there is no address. Empty counts as unset.
    """

    model_config = SettingsConfigDict(env_prefix="HEXBITE_", frozen=True, env_ignore_empty=True)

    database_url: SecretStr | None = Field(default=None, validation_alias="DATABASE_URL")
    home: Path | None = None


def home(settings: StoreSettings) -> Path:
    """The folder of the embedded server."""
    return default_home() if settings.home is None else settings.home.expanduser().absolute()


def store_dsn(settings: StoreSettings) -> str:
    """The store's address; starts the embedded server, and leaves it running, where none is set.

    Raises StoreError where the one that is set is no address of a Postgres server, and never repeats it: it may hold
    a password.
    """
    if settings.database_url is None:
        return EmbeddedServer(home(settings)).ensure_running()
    dsn = settings.database_url.get_secret_value().strip()
    if not dsn.startswith(_SCHEMES):
        raise StoreError("DATABASE_URL is not an address like postgresql://user@host:5432/database")
    try:
        parts = conninfo_to_dict(dsn)
    except (ProgrammingError, UnicodeDecodeError):
        # The driver's message repeats the address.
        raise StoreError(
            "DATABASE_URL cannot be read as postgresql://user@host:5432/database; "
            "write special characters of a password as %XX"
        ) from None
    if not all(port.isdecimal() for port in str(parts.get("port", "")).split(",") if port):
        raise StoreError("DATABASE_URL has a port that is no number; write special characters of a password as %XX")
    if "@" in str(parts.get("host", "")):
        raise StoreError("DATABASE_URL has a host with an @ in it; write special characters of a password as %XX")
    return dsn


def without_password(dsn: str) -> str:
    """An address that can be shown: as it was given, less its passwords."""
    parts = urlsplit(dsn)
    credentials, at, hosts = parts.netloc.rpartition("@")
    shown = parts._replace(netloc=credentials.partition(":")[0] + at + hosts)
    secret = {"password", "sslpassword"}
    options = parse_qsl(parts.query, keep_blank_values=True)
    if secret.intersection(name for name, _ in options):
        kept = [(name, value) for name, value in options if name not in secret]
        shown = shown._replace(query=urlencode(kept, safe="/"))
    # Put together by hand: urlunsplit drops the slashes of an address without a host.
    query = f"?{shown.query}" if shown.query else ""
    return f"{shown.scheme}://{shown.netloc}{shown.path}{query}"
