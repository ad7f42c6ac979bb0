"""States as bytes, as the store keeps them: numbers of eight bytes, little-endian, end to end."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hexbite.counters.states import Values
from hexbite.geo import Ids


def states_to_bytes(states: Values) -> bytes:
    """States ``(N, C)`` end to end."""
    return states.astype("<f8").tobytes()


def bytes_to_states(packed: bytes, size: int, width: int) -> Values:
    """The inverse of `states_to_bytes`: ``(N, C)``, N of C numbers each."""
    return np.frombuffer(packed, dtype="<f8").reshape(size, width).astype(np.float64)


def place_dtype(width: int) -> np.dtype[np.void]:
    """What is known of one restaurant among many: its ``id`` int64 and its ``state`` ``(D,)`` float64."""
    return np.dtype([("id", "<i8"), ("state", "<f8", (width,))])


def places_to_records(ids: Ids, states: Values) -> npt.NDArray[np.void]:
    """Ids ``(P,)`` and states ``(P, D)`` as records ``(P,)`` of `place_dtype`; their bytes are what is stored."""
    records = np.empty(len(ids), dtype=place_dtype(states.shape[1]))
    records["id"], records["state"] = ids, states
    return records


def bytes_to_places(packed: bytes, width: int) -> tuple[Ids, Values]:
    """The ids ``(P,)`` and states ``(P, D)`` of places that are stored end to end."""
    records = np.frombuffer(packed, dtype=place_dtype(width))
    return records["id"].astype(np.int64), records["state"].astype(np.float64)
