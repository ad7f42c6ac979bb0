"""API keys: who may ask. Only digests are configured, so that no setting, image or log holds a key."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final

_SCHEME: Final = b"bearer "


class ApiKeys:
    """The SHA-256 digests (hex) of the keys that open the service; without any it is open.

    A plain digest is enough for keys of 256 random bits: there is nothing to guess that a slow hash would protect.
    """

    def __init__(self, digests: tuple[str, ...]) -> None:
        self._digests = digests

    def __bool__(self) -> bool:
        return bool(self._digests)

    def admit(self, authorization: bytes) -> bool:
        """Whether the value of an ``Authorization`` header carries one of the keys: ``Bearer KEY``."""
        if authorization[: len(_SCHEME)].lower() != _SCHEME:
            return False
        digest = hashlib.sha256(authorization[len(_SCHEME) :].strip()).hexdigest()
        # Each is compared, in a time that does not depend on where they differ.
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        return any(matches)


def new_key() -> tuple[str, str]:
    """A key to hand out, and its digest to configure."""
    key = f"hexbite_{secrets.token_urlsafe(32)}"
    return key, hashlib.sha256(key.encode()).hexdigest()
