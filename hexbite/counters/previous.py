"""The restaurant that a person came from: a rule that the order in which events are told does not touch (ADR 17)."""

from __future__ import annotations

from typing import Final

import numpy as np

from hexbite.counters.definitions import PREVIOUS_DAYS
from hexbite.counters.states import US_PER_DAY, Indices

#: The longest that somebody comes from somewhere, in microseconds.
PREVIOUS_US: Final = int(PREVIOUS_DAYS * US_PER_DAY)


def previous_events(user: Indices, restaurant_id: Indices, time_us: Indices) -> Indices:
    """For each of M visits ``(M,)`` the one that its user came from, by number; -1 where there is none.

    That is the user's latest strictly earlier one, of several at one moment the one at the restaurant with the greatest
    id; no more than `PREVIOUS_DAYS` earlier.
    """
    order = np.lexsort((restaurant_id, time_us, user))
    user, time_us = user[order], time_us[order]
    places = np.arange(len(order))
    # The first of those at the same moment: whatever stands before it is strictly earlier, or somebody else's.
    is_first = np.ones(len(order), dtype=np.bool_)
    is_first[1:] = (user[1:] != user[:-1]) | (time_us[1:] != time_us[:-1])
    before = np.maximum.accumulate(np.where(is_first, places, 0)) - 1
    is_one = before >= 0
    is_one &= (user[before] == user) & (time_us - time_us[before] <= PREVIOUS_US)
    found = np.empty(len(order), dtype=np.int64)
    found[order] = np.where(is_one, order[before], -1)
    return found
