"""Places that a person could have gone to from where they stood: drawn near, and by popularity."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hexbite.geo import EARTH_RADIUS_M, Degrees, Metres, distances_m

Indices = npt.NDArray[np.int64]

#: The share drawn by popularity, the rest being uniform. Small, because a model ranks every place in reach: what is
#: drawn by popularity teaches it that popular places are left alone.
POPULAR_SHARE: Final = 0.1

# About half of a round's draws land in the circle; after so many, a place with one neighbour has found it.
_ROUNDS: Final = 12

# Wider than any span of longitudes, so that rows of the grid never overlap in one sorted key.
_ROW_STRIDE_DEG: Final = 1_000.0


class Draw(NamedTuple):
    """M negatives: the visit each belongs to, the place, and the metres from where the person stood; each ``(M,)``."""

    visit: Indices
    place: Indices
    distance_m: Metres


class Neighbourhood:
    """P places ``(P,)`` in bands of latitude, one radius high, sorted by longitude within a band.

    A circle then touches three runs of consecutive places, which a draw picks from without listing them: by number, or
    by a running sum of weights. Places beyond the antimeridian are not drawn.
    """

    def __init__(self, lats_deg: Degrees, lngs_deg: Degrees, popularity: npt.NDArray[np.float64], radius_m: float):
        self._radius_m = radius_m
        self._band_deg = float(np.degrees(radius_m / EARTH_RADIUS_M))
        keys = self._bands(lats_deg) * _ROW_STRIDE_DEG + lngs_deg
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]
        self._lats, self._lngs = lats_deg[self._order], lngs_deg[self._order]
        self._uniform = np.arange(len(keys) + 1, dtype=np.float64)
        self._popular = np.concatenate(([0.0], np.cumsum(popularity[self._order])))

    def draw(
        self,
        lats_deg: Degrees,
        lngs_deg: Degrees,
        visited: Indices,
        count: int,
        draws: np.random.Generator,
    ) -> Draw:
        """Up to ``count`` distinct places within the radius of each of N points ``(N,)``, never the ``visited`` one.

        Fewer where there are few to draw from. Sorted by visit.
        """
        by_popularity = max(round(count * POPULAR_SHARE), 1) if count > 1 else 0
        parts = [
            self._draw(lats_deg, lngs_deg, visited, many, running, draws)
            for many, running in ((count - by_popularity, self._uniform), (by_popularity, self._popular))
        ]
        visit, place, distance_m = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        _, first = np.unique(visit * len(self._keys) + place, return_index=True)
        return Draw(visit[first], place[first], distance_m[first])

    def _bands(self, lats_deg: Degrees) -> Degrees:
        bands: Degrees = np.floor(lats_deg / self._band_deg)
        return bands

    def _draw(
        self,
        lats_deg: Degrees,
        lngs_deg: Degrees,
        visited: Indices,
        count: int,
        running: npt.NDArray[np.float64],
        draws: np.random.Generator,
    ) -> Draw:
        first, last = self._runs(lats_deg, lngs_deg)
        # Where each run starts and ends on the running sum, and how much of it lies in the runs before: (N, 3).
        starts = running[first]
        ends = np.cumsum(running[last] - starts, axis=1)
        open_visits = np.repeat(np.arange(len(lats_deg)), count)
        found: list[Draw] = []
        for _ in range(_ROUNDS):
            open_visits = open_visits[ends[open_visits, -1] > 0]
            if not len(open_visits):
                break
            at = draws.random(len(open_visits)) * ends[open_visits, -1]
            run = (at[:, None] >= ends[open_visits, :-1]).sum(axis=1)
            before = np.where(run > 0, ends[open_visits, run - 1], 0.0)
            picked = np.searchsorted(running, starts[open_visits, run] + at - before, side="right") - 1
            picked = np.clip(picked, first[open_visits, run], last[open_visits, run] - 1)
            metres = distances_m(lats_deg[open_visits], lngs_deg[open_visits], self._lats[picked], self._lngs[picked])
            place = self._order[picked]
            good = (metres <= self._radius_m) & (place != visited[open_visits])
            found.append(Draw(open_visits[good], place[good], metres[good]))
            open_visits = open_visits[~good]
        if not found:
            return Draw(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
        return Draw(*(np.concatenate(columns) for columns in zip(*found, strict=True)))

    def _runs(self, lats_deg: Degrees, lngs_deg: Degrees) -> tuple[Indices, Indices]:
        bands = self._bands(lats_deg)[:, None] + np.array([-1.0, 0.0, 1.0])
        # The widest that a circle gets in longitude (spherical law of sines); all of them where it holds a pole.
        narrowing = np.sin(np.radians(self._band_deg)) / np.maximum(np.cos(np.radians(lats_deg)), 1e-12)
        reach_deg = np.where(narrowing < 1.0, np.degrees(np.arcsin(np.minimum(narrowing, 1.0))), 360.0)
        wests = np.maximum(lngs_deg - reach_deg, -181.0)[:, None]
        easts = np.minimum(lngs_deg + reach_deg, 181.0)[:, None]
        first = np.searchsorted(self._keys, bands * _ROW_STRIDE_DEG + wests, side="left")
        last = np.searchsorted(self._keys, bands * _ROW_STRIDE_DEG + easts, side="right")
        return first, np.maximum(first, last)
