"""Cells, the cover of a circle, and metres; the only import of h3.

A restaurant is stored under its cell at resolution 15. All descendants of a coarser cell form one interval of such
cells, so one btree index serves every radius: a circle becomes a few intervals, read as ranges.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import h3.api.basic_int as h3
import numpy as np
import numpy.typing as npt

Degrees = npt.NDArray[np.float64]
Metres = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]

#: The one radius that every distance here is measured with (IUGG mean radius R1).
EARTH_RADIUS_M: Final = 6_371_008.8

#: Resolution of a stored cell. H3's finest: half a metre across, so any radius can be covered from it.
STORED_RESOLUTION: Final = 15

# A stored point lies within 1.20 average edges of its ancestor's centre, at every resolution and place. A cell's own
# circumradius reaches 1.101 edges; the rest is that ancestry is logical, and a child may stick out of its parent.
# Sampled, not proven: tests/unit/test_geo.py tries to break it.
_REACH_IN_EDGES: Final = 1.20

# The finest resolution at which the radius is no more than so many edges: 60..140 cells before compaction, and at
# most 1.7 times the circle's own area.
_RADIUS_IN_EDGES: Final = 10.0

_EDGE_M: Final = tuple(h3.average_hexagon_edge_length(resolution, "m") for resolution in range(16))

_DIGIT_BITS: Final = 3
_RESOLUTION_SHIFT: Final = 52


class Intervals(NamedTuple):
    """Closed, disjoint, ascending intervals of stored cells: ``lows[i] <= cell <= highs[i]``, each ``(K,) int64``."""

    lows: Ids
    highs: Ids


def degrees_to_cell(lat_deg: float, lng_deg: float) -> int:
    """The stored cell of a point: a positive 63-bit integer with the bits of h3-pg's ``h3index``.

    Raises ValueError outside -90..90 and -180..180, which h3 itself lets through.
    """
    if not (-90.0 <= lat_deg <= 90.0 and -180.0 <= lng_deg <= 180.0):
        raise ValueError(f"latitude {lat_deg} or longitude {lng_deg} is out of range")
    cell: int = h3.latlng_to_cell(lat_deg, lng_deg, STORED_RESOLUTION)
    return cell


def degrees_to_cells(lats_deg: Degrees, lngs_deg: Degrees) -> Ids:
    """The stored cells of N points: two ``(N,)`` float64 arrays to ``(N,)`` int64. Raises as `degrees_to_cell`."""
    if not np.all((np.abs(lats_deg) <= 90.0) & (np.abs(lngs_deg) <= 180.0)):
        raise ValueError("a latitude or longitude is out of range")
    cells = map(h3.latlng_to_cell, lats_deg.tolist(), lngs_deg.tolist(), [STORED_RESOLUTION] * len(lats_deg))
    return np.fromiter(cells, dtype=np.int64, count=len(lats_deg))


def distances_m(lat_deg: float | Degrees, lng_deg: float | Degrees, lats_deg: Degrees, lngs_deg: Degrees) -> Metres:
    """Great-circle metres from one point, or one for each, to N: haversine on a sphere of `EARTH_RADIUS_M`."""
    lat, lng = np.radians(lat_deg), np.radians(lng_deg)
    lats, lngs = np.radians(lats_deg), np.radians(lngs_deg)
    half_chord = np.sin((lats - lat) / 2) ** 2 + np.cos(lat) * np.cos(lats) * np.sin((lngs - lng) / 2) ** 2
    # Rounding may push an antipode past 1, where arcsin is undefined.
    metres: Metres = 2 * EARTH_RADIUS_M * np.arcsin(np.sqrt(np.minimum(half_chord, 1.0)))
    return metres


def cell_to_interval(cell: int) -> tuple[int, int]:
    """The lowest and highest stored cell below a cell of any resolution.

    Sets the resolution bits to 15 and the digits below the cell's own to 0 and to 6. Around a pentagon the interval
    also spans bit patterns that are no cell, which does no harm.
    """
    missing = STORED_RESOLUTION - h3.get_resolution(cell)
    zeros = (1 << (_DIGIT_BITS * missing)) - 1
    sixes = int("110" * missing, 2) if missing else 0
    low = (cell & ~zeros) & ~(0xF << _RESOLUTION_SHIFT) | (STORED_RESOLUTION << _RESOLUTION_SHIFT)
    return low, low | sixes


def circle_to_cells(lat_deg: float, lng_deg: float, radius_m: float) -> list[int]:
    """Compacted cells whose descendants include every stored cell of a point within ``radius_m`` (0 and up, metres).

    Too much is allowed, too little is not: the cells kept are those whose centre lies within the radius plus the
    farthest that a cell's points can be from its centre.
    """
    resolution = max(r for r, edge_m in enumerate(_EDGE_M) if r == 0 or radius_m <= _RADIUS_IN_EDGES * edge_m)
    reach_m = radius_m + _REACH_IN_EDGES * _EDGE_M[resolution]
    start = h3.latlng_to_cell(lat_deg, lng_deg, resolution)
    kept = [start]
    frontier = set(h3.grid_disk(start, 1)) - {start}
    seen = frontier | {start}
    while frontier:
        ring = list(frontier)
        centres = np.array([h3.cell_to_latlng(cell) for cell in ring])
        near = distances_m(lat_deg, lng_deg, centres[:, 0], centres[:, 1]) <= reach_m
        inside = [cell for cell, is_near in zip(ring, near.tolist(), strict=True) if is_near]
        kept += inside
        frontier = {neighbour for cell in inside for neighbour in h3.grid_disk(cell, 1)} - seen
        seen |= frontier
    compacted: list[int] = h3.compact_cells(kept)
    return compacted


def circle_to_intervals(lat_deg: float, lng_deg: float, radius_m: float) -> Intervals:
    """`circle_to_cells` as intervals of stored cells, ready for an index on them."""
    bounds = sorted(cell_to_interval(cell) for cell in circle_to_cells(lat_deg, lng_deg, radius_m))
    lows, highs = np.array(bounds, dtype=np.int64).T
    return Intervals(np.ascontiguousarray(lows), np.ascontiguousarray(highs))
