"""Which feature store the commands and the service use; the only reader of the environment in this package."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Self

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from db.access.opener import Opener
from db.access.session import SCHEMA
from db.embedded import EmbeddedServer, default_home
from hexbite.errors import SettingsError, StoreMisconfigured

# Of a name in Postgres.
_MOST_CHARACTERS: Final = 63

# A path replaces the first by the user's name, even in quotes.
_NOT_OURS: Final = ("$user", "information_schema")


class StoreSettings(BaseSettings):
    """``database_url``: DATABASE_URL, the address of a Postgres server. ``database_password_file``:
    DATABASE_PASSWORD_FILE, a file with the password that the address lacks, as orchestrators hand secrets over.
    ``home``: HEXBITE_HOME, where the embedded server keeps its data where there is no address. ``store_schema``:
    HEXBITE_STORE_SCHEMA, the schema of the database that everything of ours lives in. ``max_event_age_s``:
    HEXBITE_MAX_EVENT_AGE_S, how late the service lets events be told; None, which is written ``none``, for no bound.
    Empty counts as unset.
    """

    model_config = SettingsConfigDict(env_prefix="HEXBITE_", frozen=True, env_ignore_empty=True)

    database_url: SecretStr | None = Field(default=None, validation_alias="DATABASE_URL")
    database_password_file: Path | None = Field(default=None, validation_alias="DATABASE_PASSWORD_FILE")
    home: Path | None = None
    store_schema: str = SCHEMA
    max_event_age_s: float | None = 7 * 86_400.0

    @field_validator("store_schema")
    @classmethod
    def _require_a_name(cls, name: str) -> str:
        # ASCII: settings of a session's start are not converted to a database's encoding, and statements are.
        is_name = len(name) <= _MOST_CHARACTERS and name.isascii() and name.isprintable()
        if not is_name or name.startswith("pg_") or name in _NOT_OURS:
            raise ValueError(f"must be a schema's name: ASCII, at most {_MOST_CHARACTERS} characters, no system schema")
        return name

    @field_validator("max_event_age_s", mode="before")
    @classmethod
    def _require_seconds(cls, value: object) -> float | None:
        if value is None or value == "none":
            return None
        try:
            seconds = float(str(value))
        except ValueError:
            seconds = 0.0
        if not 0 < seconds < float("inf"):
            raise ValueError('must be a number of seconds above 0, or "none"')
        return seconds

    @classmethod
    def from_environment(cls) -> Self:
        """The settings of this process. Raises SettingsError that names a variable that cannot be used."""
        try:
            return cls()
        except ValidationError as error:
            detail = error.errors(include_input=False, include_url=False, include_context=False)[0]
            raise SettingsError(f"HEXBITE_{str(detail['loc'][0]).upper()} {detail['msg'].partition(', ')[2]}") from None


def require_address(settings: StoreSettings) -> None:
    """Raises StoreMisconfigured where the service's driver cannot do what DATABASE_URL asks for."""
    if settings.database_url is not None:
        Opener(store_address(settings), settings.store_schema, timeout_s=1.0)


def home(settings: StoreSettings) -> Path:
    """The folder of the embedded server. Raises StoreError or ServerError where a user has no home to put it in."""
    if settings.home is None:
        return default_home()
    try:
        return settings.home.expanduser().absolute()
    except RuntimeError as error:
        raise StoreMisconfigured(
            "HEXBITE_HOME begins with the home of a user whom the system does not know: set it to a whole path, "
            "or DATABASE_URL to a server"
        ) from error


def store_dsn(settings: StoreSettings) -> str:
    """The store's address with its password; starts the embedded server, and leaves it running, where none is set.

    Raises StoreMisconfigured where the one that is set is no address of a Postgres server, or the file of its password
    cannot be used, and never repeats either: they may hold a password.
    """
    dsn = store_address(settings)
    if settings.database_password_file is None:
        return dsn
    if "password" in conninfo_to_dict(dsn):
        raise StoreMisconfigured(
            "DATABASE_URL has a password, and DATABASE_PASSWORD_FILE names another: set one of them"
        )
    return make_conninfo(dsn, password=_password(settings.database_password_file))


def _password(file: Path) -> str:
    try:
        password = file.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        # Not which: whoever took the variable for the password itself would read it in the log.
        raise StoreMisconfigured(
            f"DATABASE_PASSWORD_FILE does not name a file that can be read: {error.strerror}"
        ) from None
    except UnicodeDecodeError:
        raise StoreMisconfigured("DATABASE_PASSWORD_FILE names a file that is no text") from None
    if not password:
        raise StoreMisconfigured("DATABASE_PASSWORD_FILE names an empty file")
    if not password.isprintable():
        raise StoreMisconfigured("DATABASE_PASSWORD_FILE names a file that is not one line of text")
    return password


def store_address(settings: StoreSettings) -> str:
    """The store's address as DATABASE_URL gives it, else as `store_dsn`: a password of a file of its own stays there.

    Raises StoreMisconfigured as `store_dsn` does.
    """
    if settings.database_url is None:
        if settings.database_password_file is not None:
            raise StoreMisconfigured(
                "DATABASE_PASSWORD_FILE is set, and DATABASE_URL, the address that it is for, is not"
            )
        return EmbeddedServer(home(settings)).ensure_running()
    dsn = settings.database_url.get_secret_value().strip()
    try:
        parts = conninfo_to_dict(dsn)
    except (ProgrammingError, UnicodeDecodeError):
        # The driver's message repeats the address.
        raise StoreMisconfigured(
            "DATABASE_URL is not an address like postgresql://user@host:5432/database; "
            "write special characters of a password as %XX"
        ) from None
    if not all(port.isdecimal() for port in str(parts.get("port", "")).split(",") if port):
        raise StoreMisconfigured(
            "DATABASE_URL has a port that is no number; write special characters of a password as %XX"
        )
    if "@" in str(parts.get("host", "")):
        raise StoreMisconfigured(
            "DATABASE_URL has a host with an @ in it; write special characters of a password as %XX"
        )
    return dsn
