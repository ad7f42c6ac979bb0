"""Slots of a restaurant's clock: events are counted by the part of the day, or of the week, that they happened in."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Slots = npt.NDArray[np.int64]
Integers = npt.NDArray[np.integer[Any]]

# Parts of the day: the first hour of each; together they are the day.
_PARTS: Final = (0, 5, 11, 15, 19)  # night, morning, midday, afternoon, evening
_HOURS: Final = 24
_SATURDAY: Final = 5

PART_OF_DAY: Final = "part of day"
WEEKEND: Final = "weekend"

#: Each clock, and how much of the time each of its slots takes up; the shares add up to 1.
CLOCKS: Final = MappingProxyType(
    {
        PART_OF_DAY: tuple((end - first) / _HOURS for first, end in zip(_PARTS, (*_PARTS[1:], _HOURS), strict=True)),
        WEEKEND: (5 / 7, 2 / 7),
    }
)


def slots(clock: str, hour: npt.NDArray[np.number], weekday: npt.NDArray[np.number]) -> Slots:
    """The slot of each of N local hours ``(N,)`` 0..23 and weekdays ``(N,)`` 0 (Monday) to 6: ``(N,)``, from 0."""
    if clock == PART_OF_DAY:
        return np.searchsorted(_PARTS, hour, side="right").astype(np.int64) - 1
    return (np.asarray(weekday) >= _SATURDAY).astype(np.int64)
