"""What can be set for a run of the service, read from the environment once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from hexbite.errors import SettingsError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_SHA256: Final = re.compile(r"[0-9a-f]{64}")

# Of the time that a request may take, what its read may take, and after how much the answer is given up: what is left
# is for scoring, and for the refusal to arrive within the budget.
_STORE_SHARE: Final = 0.75
_ANSWER_SHARE: Final = 0.9

# An answer that takes longer says that too many are at work at once.
_CROWDED_SHARE: Final = 0.25


def _sha256(digest: str) -> str:
    if not _SHA256.fullmatch(digest):
        raise ValueError("holds something that is no SHA-256; make keys with: python -m bento key")
    return digest


def _split(value: object) -> object:
    if not isinstance(value, str):
        return value
    digests = tuple(part.strip() for part in value.split(",") if part.strip())
    if not digests:  # who set it did not mean an open service
        raise ValueError("is set and holds no digest; make keys with: python -m bento key")
    return digests


_Digests = Annotated[tuple[Annotated[str, AfterValidator(_sha256)], ...], NoDecode, BeforeValidator(_split)]


def _said(detail: ErrorDetails) -> str:
    message = detail["msg"].removeprefix("Value error, ")
    if not detail["loc"] or message.startswith("HEXBITE_"):
        return message
    return f"HEXBITE_{str(detail['loc'][0]).upper()}: {message[:1].lower()}{message[1:]}"


class Settings(BaseSettings):
    """Environment variables with the prefix ``HEXBITE_``; the store's address is `db.settings.StoreSettings`.

    ``model``: tag in the BentoML model store; None is the one that a bento was built with, at the root the one that
    was deployed, else ``hexbite:latest``. ``split_model`` answers a ``split_share`` 0..1 of the users in its place;
    ``shadow_model`` scores what was answered once more, for the metrics alone.
    ``max_candidates``: restaurants that a request without candidates may score. ``unknown_fields``: refuse a body with
    a field that the contract does not know, or warn in a header. ``max_feature_age_s``: a row whose event is older
    counts as missing. ``ids``: integers in answers as they are stored, or as text for clients whose numbers end at
    2^53. ``request_timeout_s``: the time a request may take in all. ``connections``: to Postgres, for each worker.
    ``max_in_flight``: requests that a worker may have at work; how many it does, it finds out
    (`bento.edge.admission`).
    ``max_event_age_s``: an event that happened longer ago is refused; ``none`` for no bound. ``max_event_ahead_s``: so
    far the clock of who tells an event may go ahead. ``refresh_s``: how often what is known of places is brought up to
    date; None is every ``lag_s`` of the models served, 0 before each answer of ``/events``, ``off`` never by the
    service. ``event_connections``: to Postgres, for each worker, to tell events over.
    ``drain_s``: how long a worker that is asked to end still answers. ``api_keys``: SHA-256 digests of the keys that
    open everything but the health checks and ``/events``, with commas between them; ``event_keys`` those that open
    ``/events``, and nothing else: it is closed where there are only ``api_keys``. ``metrics`` and ``docs`` can be
    closed.
    """

    # A setting that is refused must not be repeated in the log: it may hold a secret in the wrong place.
    model_config = SettingsConfigDict(
        env_prefix="HEXBITE_", frozen=True, env_ignore_empty=True, hide_input_in_errors=True
    )

    model: str | None = None
    split_model: str | None = None
    split_share: float = Field(default=0.0, ge=0, le=1)
    shadow_model: str | None = None
    max_candidates: int = Field(default=10_000, ge=1, le=1_000_000)
    unknown_fields: Literal["refuse", "warn"] = "refuse"
    ids: Literal["as_stored", "text"] = "as_stored"
    max_feature_age_s: float | None = Field(default=None, gt=0)
    request_timeout_s: float = Field(default=1.0, gt=0, le=60)
    connections: int = Field(default=8, ge=1, le=100)
    max_in_flight: int = Field(default=32, ge=1, le=10_000)
    max_body_bytes: int = Field(default=1 << 20, ge=1_000)
    drain_s: float = Field(default=1.0, ge=0, le=300)
    max_event_age_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | Literal["none"] = 7 * 86_400.0
    max_event_ahead_s: float = Field(default=60.0, ge=0, le=86_400, allow_inf_nan=False)
    refresh_s: Annotated[float, Field(ge=0, le=7 * 86_400, allow_inf_nan=False)] | Literal["off"] | None = None
    event_connections: int = Field(default=2, ge=1, le=100)
    api_keys: _Digests = ()
    event_keys: _Digests = ()
    metrics: bool = True
    docs: bool = True
    log_format: Literal["text", "json"] = "text"
    access_log: bool = False

    @model_validator(mode="after")
    def _require_a_split_model_for_its_share(self) -> Settings:
        if (self.split_model is None) != (self.split_share == 0):
            raise ValueError("HEXBITE_SPLIT_MODEL and HEXBITE_SPLIT_SHARE are set together or not at all")
        return self

    @classmethod
    def from_environment(cls) -> Self:
        """The settings of this process. Raises SettingsError that names each variable that cannot be used."""
        try:
            return cls()
        except ValidationError as error:
            said = (
                _said(detail) for detail in error.errors(include_input=False, include_url=False, include_context=False)
            )
            raise SettingsError("; ".join(said)) from None

    @property
    def store_timeout_s(self) -> float:
        """The time that one read may take, the wait for a connection included."""
        return _STORE_SHARE * self.request_timeout_s

    @property
    def answer_timeout_s(self) -> float:
        """The time after which an answer is given up."""
        return _ANSWER_SHARE * self.request_timeout_s

    @property
    def crowded_s(self) -> float:
        """The time of an answer from which on fewer are let in at once."""
        return _CROWDED_SHARE * self.request_timeout_s
