"""People some at a time: as many as memory is to hold with what they did and what is remembered of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hexbite.geo import Ids

# Of an event while it is counted, and of all that one slice holds.
_EVENT_BYTES: Final = 500
_SLICE_BYTES: Final = 256_000_000


class Slice(NamedTuple):
    """People with ids from ``low`` to ``high``."""

    low: int
    high: int


def people_to_slices(ids: Ids, events: npt.NDArray[np.int64], held_bytes: npt.NDArray[np.int64]) -> Iterator[Slice]:
    """All of U users, whose ``ids`` ``(U,)`` ascend, by their numbers of events and what is remembered of each."""
    number = np.cumsum(events * _EVENT_BYTES + 2 * held_bytes) // _SLICE_BYTES
    for first in np.unique(number, return_index=True)[1].tolist():
        end = int(np.searchsorted(number, number[first], side="right"))
        yield Slice(int(ids[first]), int(ids[end - 1]))
