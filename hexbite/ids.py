"""Ids as companies have them, text or integers, and the 64-bit integers that stand for them (ADR 13)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Final, Literal, NamedTuple
from uuid import UUID

import numpy as np
import numpy.typing as npt
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


def event_id_to_uuid(text: str) -> UUID:
    """What stands for the id that a client gives an event: XXH3 (128 bits, no seed) of its UTF-8 bytes."""
    return UUID(bytes=xxhash.xxh3_128_digest(text.encode()))


def texts_to_uuids(texts: Iterable[str]) -> npt.NDArray[np.void]:
    """`event_id_to_uuid` of N texts: ``(N,)`` records of 16 bytes."""
    return _uuids(text.encode() for text in texts)


def events_to_uuids(
    user: Ids, restaurant: Ids, time_us: npt.NDArray[np.int64], kind: npt.NDArray[np.integer], kinds: Sequence[str]
) -> npt.NDArray[np.void]:
    """Ids ``(N,)`` of events that have none of their own: of what happened, so that the same is the same once more.

    Users and restaurants by their 64-bit ids ``(N,)``, microseconds since 1970 ``(N,)``, and the number of each event's
    kind ``(N,)`` among ``kinds``.
    """
    found = np.empty(len(user), dtype="V16")
    for number, name in enumerate(kinds):
        rows = np.flatnonzero(kind == number)
        told = np.empty(len(rows), dtype=[("user", "<i8"), ("restaurant", "<i8"), ("time", "<i8")])
        told["user"], told["restaurant"], told["time"] = user[rows], restaurant[rows], time_us[rows]
        whole = map(bytes.__add__, told.view("V24").tolist(), repeat(name.encode()))
        found[rows] = _uuids(whole)
    return found


def _uuids(parts: Iterable[bytes]) -> npt.NDArray[np.void]:
    return np.frombuffer(b"".join(map(xxhash.xxh3_128_digest, parts)), dtype="V16")
