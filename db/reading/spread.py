"""How many restaurants lie where, about: what a read will cost, before it is made.

The planner's own histogram of cells, as the last ANALYZE left it. Nothing that is answered depends on it: only in
which of several exact ways the store is read.
"""

from __future__ import annotations

from bisect import bisect_left

from hexbite.cover import circle_to_interval


class Spread:
    """``rows`` restaurants, equally many between any two neighbours of the ascending cells ``bounds``.

    Without bounds every estimate is 0.
    """

    def __init__(self, rows: float, bounds: list[int] | None) -> None:
        self._bounds = bounds or []
        self._bucket_rows = rows / max(1, len(self._bounds) - 1)

    def rows_near(self, lat_deg: float, lng_deg: float, radius_m: float) -> float:
        """About how many restaurants lie in a circle: as dense as the cell of about its area that the point lies in."""
        low, high, share = circle_to_interval(lat_deg, lng_deg, radius_m)
        return (self._buckets_below(high) - self._buckets_below(low)) * self._bucket_rows * share

    def _buckets_below(self, cell: int) -> float:
        at = bisect_left(self._bounds, cell)
        if at == 0:
            return 0.0
        if at == len(self._bounds):
            return at - 1.0
        before, after = self._bounds[at - 1], self._bounds[at]
        return at - 1 + (cell - before) / (after - before)
