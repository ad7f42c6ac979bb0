"""Ids as companies have them, text or integers, and the 64-bit integers that stand for them (ADR 13)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

import numpy as np
import xxhash

from hexbite.geo import Ids

IdKind = Literal["integer", "text"]

#: A text id is 1 to so many bytes of UTF-8.
MAX_TEXT_BYTES: Final = 128


class IdKinds(NamedTuple):
    """What the ids of a data folder are."""

    user: IdKind = "integer"
    restaurant: IdKind = "integer"


def text_fault(text: str) -> str:
    """Why a text can be no id; empty where it can."""
    if not text:
        return "is empty"
    if "\0" in text:
        return "holds a NUL character, which cannot be stored"
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return "is no Unicode text: it holds half a surrogate pair"
    return f"is longer than {MAX_TEXT_BYTES} bytes" if size > MAX_TEXT_BYTES else ""


def text_to_id(text: str) -> int:
    """The 64-bit integer that stands for a text id: XXH3 (64 bits, no seed) of its UTF-8 bytes, read as signed.

    The bytes as they are: no case, no spaces, no Unicode form is folded. Raises UnicodeEncodeError where `text_fault`
    says that it is no Unicode text.
    """
    return int(texts_to_ids([text])[0])


def texts_to_ids(texts: Iterable[str]) -> Ids:
    """`text_to_id` of N texts, ``(N,)`` int64."""
    return utf8_to_ids([text.encode() for text in texts])


def utf8_to_ids(texts: Iterable[bytes]) -> Ids:
    """The same of texts that are UTF-8 already."""
    # Digests as bytes, and joined: as Python's integers they take twice as long.
    return np.frombuffer(b"".join(map(xxhash.xxh3_64_digest, texts)), dtype=">i8").astype(np.int64)
