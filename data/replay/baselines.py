"""Rankings without a model, that know what had happened at the moment of each visit."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from data.replay.journal import Asks, Happened, Places
from hexbite.geo import EARTH_RADIUS_M, Ids, Metres, distances_m

#: The rank of a place that is out of reach: past every other.
OUT_OF_REACH: Final = 1 << 40

#: Each of them by name; the last is put together by hand: log popularity, less the distance in units, and own visits.
BASELINES: Final = ("nearest", "most visited", "own history", "sum by hand")
_METRES_PER_UNIT: Final = 500.0
_OWN_WEIGHT: Final = 3.0


class Found(NamedTuple):
    """The visited place's rank by each of `BASELINES` ``(B,)``, how many are in reach, and whether it was new."""

    ranks: npt.NDArray[np.int64]
    in_reach: int
    is_new: bool


class Baselines:
    """Visits counted as they become known."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._by_lat = np.argsort(places.lats_deg, kind="stable")
        self._lats = places.lats_deg[self._by_lat]
        self._visits = np.zeros(len(places.ids))
        self._own: defaultdict[int, Counter[int]] = defaultdict(Counter)
        self._seen: set[tuple[int, int]] = set()

    def learn(self, happened: Happened, first: int, last: int, *, is_told: bool) -> None:
        """Events from one to before another have happened; rankings know them where they are ``is_told``."""
        rows = first + np.flatnonzero(happened.is_visit[first:last] & (happened.places[first:last] >= 0))
        pairs = list(zip(happened.user_ids[rows].tolist(), happened.places[rows].tolist(), strict=True))
        self._seen.update(pairs)
        if is_told:
            np.add.at(self._visits, happened.places[rows], 1)
            for user, place in pairs:
                self._own[user][place] += 1

    def rank(self, asks: Asks, number: int) -> Found:
        """Where the place of one visit stands among all in reach; ties go to the nearer, then to the lower id."""
        lat, lng, reach_m = asks.lats_deg[number], asks.lngs_deg[number], asks.max_dist_m[number]
        user, visited = int(asks.user_ids[number]), int(asks.visited[number])
        is_new = (user, visited) not in self._seen
        near, metres = self._in_reach(lat, lng, reach_m)
        found = np.flatnonzero(near == visited)
        if not len(found):
            return Found(np.full(len(BASELINES), OUT_OF_REACH), len(near), is_new)
        own = np.zeros(len(self._places.ids))
        known = self._own.get(user)
        if known:
            own[list(known)] = list(known.values())
        own, visits = own[near], self._visits[near]
        by_hand = np.log1p(visits) - metres / _METRES_PER_UNIT + _OWN_WEIGHT * np.log1p(own)
        ids, place = self._places.ids[near], int(found[0])
        ranks = [_rank(scores, metres, ids, place) for scores in (np.zeros(len(near)), visits, own, by_hand)]
        return Found(np.array(ranks), len(near), is_new)

    def _in_reach(self, lat: float, lng: float, reach_m: float) -> tuple[npt.NDArray[np.int64], Metres]:
        # A degree of latitude is as long everywhere; what lies in the band is then measured exactly.
        band_deg = np.degrees(reach_m / EARTH_RADIUS_M) * (1 + 1e-9)
        first, last = np.searchsorted(self._lats, (lat - band_deg, lat + band_deg))
        band = self._by_lat[first : last + 1]
        metres = distances_m(lat, lng, self._places.lats_deg[band], self._places.lngs_deg[band])
        return band[metres <= reach_m], metres[metres <= reach_m]


def _rank(scores: npt.NDArray[np.float64], metres: Metres, ids: Ids, place: int) -> int:
    is_tied = scores == scores[place]
    is_tied &= (metres < metres[place]) | ((metres == metres[place]) & (ids < ids[place]))
    return 1 + int(np.count_nonzero((scores > scores[place]) | is_tied))
