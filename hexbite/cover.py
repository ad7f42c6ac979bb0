"""Which cells cover a circle. Too much is allowed, too little is not: a missing cell is a restaurant that disappears.

The cells kept are those whose centre lies within the radius plus the farthest that a stored point can lie from the
centre of its cell. To ask h3 for hundreds of centres takes longer than to read them from the store, so most circles
are covered in one matrix product: a disk of cells is a lattice, a quadratic through ten centres tells where the
others are, and how far it strays from the ten tells whether it may be trusted. Where it strays (near the twelve
pentagons, over an edge of the icosahedron), and where a disk is more than a small part of the Earth, every centre is
asked for.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from functools import cache
from typing import Final, NamedTuple

import h3.api.basic_int as h3
import h3.api.numpy_int as h3_numpy
import numpy as np
import numpy.typing as npt

from hexbite.geo import EARTH_RADIUS_M, STORED_RESOLUTION, Ids, distances_m

_Matrix = npt.NDArray[np.float64]

# A stored point lies within 1.20 average edges of its ancestor's centre, at every resolution and place. A cell's own
# circumradius reaches 1.101 edges; the rest is that ancestry is logical, and a child may stick out of its parent.
# Sampled, not proven: tests/unit/test_cover.py tries to break it.
_REACH_IN_EDGES: Final = 1.20

# How far the quadratic may stray from any of its ten centres before it is not trusted, and what is added to the
# reach because it strays from the others too.
_STRAY_IN_EDGES: Final = 0.02
_STRAY_ALLOWANCE_IN_EDGES: Final = 0.06

# The finest resolution at which the radius is no more than so many edges: at the least a thirteenth divided by the
# square root of seven, 5 edges, where a cover is 1.6 times the circle.
_RADIUS_IN_EDGES: Final = 13.2

_EDGE_M: Final = tuple(h3.average_hexagon_edge_length(resolution, "m") for resolution in range(16))
_FINEST_FIRST: Final = tuple(_RADIUS_IN_EDGES * edge_m for edge_m in reversed(_EDGE_M))

_AREA_M2: Final = tuple(h3.average_hexagon_area(resolution, "m^2") for resolution in range(16))
_FINEST_FIRST_M2: Final = tuple(reversed(_AREA_M2))

# To begin an interval costs a descent of the index, as much as so many rows read on; and however few are expected, no
# gap of more cells than this is read over, for expectations may be out of date.
_ROWS_PER_INTERVAL: Final = 30.0
_WIDEST_GAP: Final = 64.0

# Below it, edges are longer than 10 km, and a disk is too large a part of the sphere for a quadratic.
_COARSEST_LATTICE: Final = 5

_DIGIT_BITS: Final = 3
_RESOLUTION_SHIFT: Final = 52


class Intervals(NamedTuple):
    """Closed, disjoint, ascending intervals of stored cells: ``lows[i] <= cell <= highs[i]``, each ``(K,) int64``."""

    lows: Ids
    highs: Ids


def circle_to_intervals(lat_deg: float, lng_deg: float, radius_m: float, rows_expected: float = math.inf) -> Intervals:
    """`circle_to_cells` as intervals of stored cells, ready for an index on them.

    ``rows_expected`` in the circle: where they are few, to read over a gap is cheaper than to begin another interval.
    """
    resolution = _radius_to_resolution(radius_m)
    cells = circle_to_cells(lat_deg, lng_deg, radius_m)
    shift = _DIGIT_BITS * (STORED_RESOLUTION - resolution)
    cells.sort()
    digits = cells >> shift
    cells_in_circle = math.pi * radius_m**2 / _AREA_M2[resolution]
    gap = min(_WIDEST_GAP, _ROWS_PER_INTERVAL * cells_in_circle / max(rows_expected, 1.0))
    parted = np.ones(len(digits) + 1, dtype=np.bool_)
    next_at_most = np.maximum(_TO_NEXT.take(digits[:-1] & 0o777), int(gap) + 1)
    np.greater(digits[1:] - digits[:-1], next_at_most, out=parted[1:-1])
    first, last = digits[parted[:-1]], digits[parted[1:]]
    finest = (STORED_RESOLUTION - resolution) << _RESOLUTION_SHIFT
    return Intervals((first << shift) + finest, (last << shift) + (finest | _sixes(resolution)))


def circle_to_cells(lat_deg: float, lng_deg: float, radius_m: float) -> Ids:
    """Cells ``(N,)`` of one resolution, below which lies every stored cell of a point within ``radius_m`` metres.

    In no order. ``radius_m`` is 0 or more.
    """
    resolution = _radius_to_resolution(radius_m)
    origin = h3.latlng_to_cell(lat_deg, lng_deg, resolution)
    found = None
    if resolution >= _COARSEST_LATTICE:
        found = _by_lattice(origin, lat_deg, lng_deg, radius_m, _EDGE_M[resolution])
    return _by_search(origin, lat_deg, lng_deg, radius_m, _EDGE_M[resolution]) if found is None else found


def circle_to_interval(lat_deg: float, lng_deg: float, radius_m: float) -> tuple[int, int, float]:
    """The stored cells below one cell around a point, low and high, and the circle's area as a share of that cell's.

    Of the cell that is nearest in area to the circle. To tell how dense a place is, not to cover it: the share is that
    of an average cell.
    """
    area_m2 = math.pi * radius_m**2
    resolution = max(0, STORED_RESOLUTION - bisect_left(_FINEST_FIRST_M2, area_m2 / math.sqrt(7.0)))
    low, high = cell_to_interval(h3.latlng_to_cell(lat_deg, lng_deg, resolution))
    return low, high, area_m2 / _AREA_M2[resolution]


def cell_to_interval(cell: int) -> tuple[int, int]:
    """The lowest and highest stored cell below a cell of any resolution.

    Sets the resolution bits to 15 and the digits below the cell's own to 0 and to 6. Around a pentagon the interval
    also spans bit patterns that are no cell, which does no harm.
    """
    resolution = h3.get_resolution(cell)
    shift = _DIGIT_BITS * (STORED_RESOLUTION - resolution)
    low = (cell >> shift << shift) + ((STORED_RESOLUTION - resolution) << _RESOLUTION_SHIFT)
    return low, low | _sixes(resolution)


def _radius_to_resolution(radius_m: float) -> int:
    return max(0, STORED_RESOLUTION - bisect_left(_FINEST_FIRST, radius_m))


def _sixes(resolution: int) -> int:
    """The digits below a resolution, each a 6."""
    return int("0" + "6" * (STORED_RESOLUTION - resolution), 8)


def _steps_to_next() -> Ids:
    """By the last three digits of a cell, how much is added to its digits to come to the next cell.

    A digit never is 7, so that 6 is followed by 0 and a carry. Where all three are 6 the carry goes further than this
    table: the next cell may then be missed, and its interval not joined, which costs one range scan.
    """
    steps = np.ones(512, dtype=np.int64)
    steps[6::8] += 1
    steps[0o66::64] += 8
    return steps


_TO_NEXT: Final = _steps_to_next()


class _Lattice(NamedTuple):
    """A disk of cells around one, in the order of h3: ``sample`` are ten of them: centre, corners, every other side.

    ``predict`` ``(10, N)`` turns what is known of the ten into what follows for all N.
    """

    sample: Ids
    predict: _Matrix


@cache
def _lattice(rings: int) -> _Lattice:
    """The disk of so many rings.

    h3 lists a disk as a spiral: ring n starts one step after its corner on axis I, and goes round by n steps along each
    of J, JK, K, IK, I and IJ. (That this order is nowhere promised is one more reason to check the ten.)
    """
    turns = np.exp(1j * np.pi / 3 * np.arange(6))  # I, IJ, J, JK, K, IK
    spiral = [0j]
    for ring in range(1, rings + 1):
        at = ring * turns[0]
        for side in (2, 3, 4, 5, 0, 1):
            for _ in range(ring):
                at += turns[side]
                spiral.append(at)
    x, y = np.real(spiral), np.imag(spiral)
    last = len(spiral) - 6 * rings
    sides = last + rings * np.arange(6)
    sample = np.concatenate(([0], sides + rings - 1, sides[::2] + rings // 2 - 1 + (rings == 1)))
    terms = np.stack((np.ones_like(x), x, y, x * x, x * y, y * y), axis=1)
    return _Lattice(sample, np.ascontiguousarray((terms @ np.linalg.pinv(terms[sample])).T))


def _by_lattice(origin: int, lat_deg: float, lng_deg: float, radius_m: float, edge_m: float) -> Ids | None:
    """Cells by where the quadratic has their centres; None where it cannot be trusted."""
    here = _to_unit_vector((lat_deg, lng_deg))
    reach_m = radius_m + (_REACH_IN_EDGES + _STRAY_ALLOWANCE_IN_EDGES) * edge_m
    reach = 2 * math.sin(reach_m / (2 * EARTH_RADIUS_M))  # as a chord of the unit sphere
    stray = _STRAY_IN_EDGES * edge_m / EARTH_RADIUS_M
    # A ring is 1.5 edges wide, less where cells are small; the point lies up to an edge off the centre of the origin.
    rings = math.ceil((reach_m / edge_m + 1.0) / 1.35)
    while True:
        disk = h3_numpy.grid_disk(origin, rings)
        lattice = _lattice(rings)
        if len(disk) != lattice.predict.shape[1]:
            return None
        known = np.array([_to_unit_vector(h3.cell_to_latlng(cell)) for cell in disk.take(lattice.sample).tolist()])
        known -= here
        centres = np.dot(known.T, lattice.predict)
        if np.abs(centres.take(lattice.sample, axis=1) - known.T).max() > stray:
            return None
        near = np.einsum("ji,ji->i", centres, centres) <= reach * reach
        # The kept cells hang together: where the last ring holds none of them, none lies beyond it.
        if not near[-6 * rings :].any():
            kept: Ids = disk[near].view(np.int64)
            return kept
        rings += 2


def _to_unit_vector(latlng_deg: tuple[float, float]) -> tuple[float, float, float]:
    lat, lng = math.radians(latlng_deg[0]), math.radians(latlng_deg[1])
    cos_lat = math.cos(lat)
    return cos_lat * math.cos(lng), cos_lat * math.sin(lng), math.sin(lat)


def _by_search(origin: int, lat_deg: float, lng_deg: float, radius_m: float, edge_m: float) -> Ids:
    """Cells by their own centres, found ring by ring from the origin outwards; right everywhere."""
    reach_m = radius_m + _REACH_IN_EDGES * edge_m
    kept = [origin]
    frontier = set(h3.grid_disk(origin, 1)) - {origin}
    seen = frontier | {origin}
    while frontier:
        ring = list(frontier)
        centres = np.array([h3.cell_to_latlng(cell) for cell in ring])
        near = distances_m(lat_deg, lng_deg, centres[:, 0], centres[:, 1]) <= reach_m
        inside = [cell for cell, is_near in zip(ring, near.tolist(), strict=True) if is_near]
        kept += inside
        frontier = {neighbour for cell in inside for neighbour in h3.grid_disk(cell, 1)} - seen
        seen |= frontier
    return np.array(kept, dtype=np.int64)
