"""Which feature store the commands and the service use; the only reader of the environment in this package."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from db.embedded import EmbeddedServer, default_home
from hexbite.errors import StoreError

_SCHEMES: Final = ("postgresql://", "postgres://")


class StoreSettings(BaseSettings):
    """``database_url``: DATABASE_URL, the address of a Postgres server. ``database_password_file``:
    DATABASE_PASSWORD_FILE, a file with the password that the address lacks, as orchestrators hand secrets over.
    ``home``: HEXBITE_HOME, where the embedded server keeps its data where there is no address. Empty counts as unset.
    """

    model_config = SettingsConfigDict(env_prefix="HEXBITE_", frozen=True, env_ignore_empty=True)

    database_url: SecretStr | None = Field(default=None, validation_alias="DATABASE_URL")
    database_password_file: Path | None = Field(default=None, validation_alias="DATABASE_PASSWORD_FILE")
    home: Path | None = None


def home(settings: StoreSettings) -> Path:
    """The folder of the embedded server. Raises StoreError or ServerError where a user has no home to put it in."""
    if settings.home is None:
        return default_home()
    try:
        return settings.home.expanduser().absolute()
    except RuntimeError as error:
        raise StoreError(
            "HEXBITE_HOME begins with the home of a user whom the system does not know: set it to a whole path, "
            "or DATABASE_URL to a server"
        ) from error


def store_dsn(settings: StoreSettings) -> str:
    """The store's address with its password; starts the embedded server, and leaves it running, where none is set.

    Raises StoreError where the one that is set is no address of a Postgres server, or the file of its password cannot
    be used, and never repeats either: they may hold a password.
    """
    dsn = store_address(settings)
    if settings.database_password_file is None:
        return dsn
    if "password" in conninfo_to_dict(dsn):
        raise StoreError("DATABASE_URL has a password, and DATABASE_PASSWORD_FILE names another: set one of them")
    separator = "" if dsn.endswith(("?", "&")) else "&" if "?" in dsn else "?"
    return f"{dsn}{separator}password={quote(_password(settings.database_password_file), safe='')}"


def _password(file: Path) -> str:
    try:
        password = file.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        # Not which: whoever took the variable for the password itself would read it in the log.
        raise StoreError(f"DATABASE_PASSWORD_FILE does not name a file that can be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise StoreError("DATABASE_PASSWORD_FILE names a file that is no text") from None
    if not password:
        raise StoreError("DATABASE_PASSWORD_FILE names an empty file")
    if not password.isprintable():
        raise StoreError("DATABASE_PASSWORD_FILE names a file that is not one line of text")
    return password


def store_address(settings: StoreSettings) -> str:
    """The store's address as DATABASE_URL gives it, else as `store_dsn`: a password of a file of its own stays there.

    Raises StoreError as `store_dsn` does.
    """
    if settings.database_url is None:
        if settings.database_password_file is not None:
            raise StoreError("DATABASE_PASSWORD_FILE is set, and DATABASE_URL, the address that it is for, is not")
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
