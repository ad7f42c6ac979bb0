"""What the rows of a log are made with: where restaurants are, by which clock, and of whom something is known."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from data.log.map import Map
from data.log.rows.split import Split
from data.log.rules import Outcome, Outcomes
from hexbite.clock import Clock
from hexbite.geo import Degrees, Metres, distances_m

Times = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int32]

HOUR_US: Final = 3_600_000_000

#: What is noted of lists whose person's place is their home.
FROM_HOME: Final = "lists from the person's home"


class World(NamedTuple):
    """``lats``, ``lngs`` ``(R,)`` degrees and ``zones`` ``(R,)``, numbers in ``clock``, of the restaurants.

    ``home_lats``, ``home_lngs`` ``(U,)`` degrees of the users, NaN where they are not known.
    ``user_has_row`` ``(U,)``, ``restaurant_has_row`` ``(R,)``: whether history knows them, where nothing else does.
    """

    asked: Map
    split: Split
    first_us: int
    last_us: int
    lats: Degrees
    lngs: Degrees
    zones: Numbers
    home_lats: Degrees
    home_lngs: Degrees
    clock: Clock
    user_has_row: Mask
    restaurant_has_row: Mask

    def start(self, user: Numbers, restaurant: Numbers, time: Times) -> Outcomes:
        """What is decided of events ``(N,)`` by who, where and when alone."""
        outcomes = np.full(len(user), Outcome.OPEN, dtype=np.uint8)
        outcomes[~self.restaurant_has_row[restaurant]] = Outcome.RESTAURANT_WITHOUT_HISTORY
        outcomes[~self.user_has_row[user]] = Outcome.USER_WITHOUT_HISTORY
        outcomes[(time < self.first_us) | (time > self.last_us)] = Outcome.FAR_TIME
        return outcomes

    def distances_m(self, lats: Degrees, lngs: Degrees, restaurant: Numbers) -> Metres:
        """Metres from points ``(N,)`` to restaurants ``(N,)``; NaN from nowhere."""
        return distances_m(lats, lngs, self.lats[restaurant], self.lngs[restaurant])


class Listed(NamedTuple):
    """Rows of lists, each list's together, and the requests of those that are test lists.

    ``rows`` have ``user``, ``restaurant``, ``click``, ``distance_m``, ``list`` (from 0, ascending), ``time`` (the
    list's, microseconds), ``part`` (`Outcome.TRAIN` or `Outcome.TEST`), maybe ``position``. ``requests``, a row a
    choice of a test list whose person's place is known, have ``user``, ``restaurant``, ``latitude``, ``longitude``,
    ``at``, ``visited_at``; ``clicks`` are ``user``, ``distance_m`` and ``part`` of the choices that are no test
    choices. ``ids`` are hashes of lists' ids, even numbers; others have none.
    """

    rows: pl.DataFrame
    requests: pl.DataFrame
    clicks: pl.DataFrame
    ids: npt.NDArray[np.int64]
