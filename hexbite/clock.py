"""Hour and weekday by zones' clocks, for millions of moments at once; as `hexbite.zones.local_times` has them."""

from __future__ import annotations

from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from hexbite.zones import offset_s

_HOUR_S: Final = 3_600
_DAY_S: Final = 86_400

# Zone and moment in one sorted number: seconds of the calendar's 10,000 years, and a sign, fit below.
_STRIDE: Final = 1 << 40


class Clock:
    """The offsets of Z zones between two moments in seconds since 1970, UTC."""

    def __init__(self, zones: list[str], first_s: int, last_s: int) -> None:
        keys, offsets = [], []
        for number, name in enumerate(zones):
            for at_s, ahead_s in _changes(ZoneInfo(name), first_s, last_s):
                keys.append(number * _STRIDE + at_s)
                offsets.append(ahead_s)
        self._keys, self._offsets = np.array(keys, dtype=np.int64), np.array(offsets, dtype=np.int64)

    def read(
        self, zone: npt.NDArray[np.int32], at_s: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int8]]:
        """Hour ``(N,)`` 0..23 and weekday ``(N,)`` 0 (Monday) to 6, by zones' numbers ``(N,)`` at moments ``(N,)``."""
        rows = np.searchsorted(self._keys, zone.astype(np.int64) * _STRIDE + at_s, side="right") - 1
        local_s = at_s + self._offsets[rows]
        # The first day of the epoch was a Thursday.
        return (local_s % _DAY_S // _HOUR_S).astype(np.int8), ((local_s // _DAY_S + 3) % 7).astype(np.int8)


def _changes(zone: ZoneInfo, first_s: int, last_s: int) -> list[tuple[int, int]]:
    """The moments from which an offset is in force, the first of them ``first_s``."""
    found = [(first_s, offset_s(zone, first_s))]
    at_s = first_s
    while at_s < last_s:
        # No zone changes twice within a day.
        low, high = at_s, min(at_s + _DAY_S, last_s)
        before, after = found[-1][1], offset_s(zone, high)
        if before != after:
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if offset_s(zone, middle) == before else (low, middle)
            found.append((high, after))
        at_s = min(at_s + _DAY_S, last_s)
    return found
