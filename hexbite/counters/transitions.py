"""Ways between two restaurants that more visits add, and those that they take back (ADR 17, point 3)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hexbite.counters.previous import previous_events
from hexbite.counters.states import Indices, Values
from hexbite.geo import Ids


class Transitions(NamedTuple):
    """T ways that end with a ``visit`` ``(T,)``, by number, and the id of the restaurant ``came_from`` ``(T,)``.

    ``weight`` ``(T,)`` is 1, or -1 of one that is taken back.
    """

    came_from: Ids
    visit: Indices
    weight: Values


def changed_transitions(user: Ids, restaurant: Ids, time_us: Indices, known: int) -> Transitions:
    """What changes when to the first ``known`` of M visits ``(M,)`` the others are added, in whatever order.

    The known ones of a user are all that lie within `PREVIOUS_DAYS` of any that is added.
    """
    after = previous_events(user, restaurant, time_us)
    before = previous_events(user[:known], restaurant[:known], time_us[:known])
    place_after = np.where(after < 0, 0, restaurant[after])
    place_before = np.where(before < 0, 0, restaurant[before]) if known else before
    # Of a visit that was known: where it came from another place, or from none.
    has_moved = ((after[:known] < 0) != (before < 0)) | (place_after[:known] != place_before)
    ends = np.flatnonzero(has_moved & (before >= 0))
    begins = np.flatnonzero(np.append(has_moved, np.ones(len(user) - known, dtype=np.bool_)) & (after >= 0))
    return Transitions(
        np.concatenate((place_before[ends], place_after[begins])),
        np.concatenate((ends, begins)),
        np.concatenate((np.full(len(ends), -1.0), np.ones(len(begins)))),
    )
