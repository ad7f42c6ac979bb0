"""What can be set for a run of the service, read from the environment once."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Environment variables with the prefix ``HEXBITE_``; the store's address is `db.settings.StoreSettings`.

    ``model``: tag in the BentoML model store; None is the one that a bento was built with, else ``hexbite:latest``.
    ``max_candidates``: restaurants that a request without candidates may score. ``unknown_fields``: refuse a
    body with a field that the contract does not know, or warn in a header.
    ``request_timeout_s``: the time a request may take in all. ``connections``: to Postgres, for each worker.
    """

    model_config = SettingsConfigDict(env_prefix="HEXBITE_", frozen=True, env_ignore_empty=True)

    model: str | None = None
    max_candidates: int = Field(default=10_000, ge=1, le=1_000_000)
    unknown_fields: Literal["refuse", "warn"] = "refuse"
    request_timeout_s: float = Field(default=5.0, gt=0, le=60)
    connections: int = Field(default=8, ge=1, le=100)
    max_body_bytes: int = Field(default=1 << 20, ge=1_000)
