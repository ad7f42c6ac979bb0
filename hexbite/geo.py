"""Cells and metres. With `hexbite.cover` the only import of h3.

A restaurant is stored under its cell at resolution 15. All descendants of a coarser cell form one interval of such
cells, so one btree index serves every radius: a circle becomes a few intervals, read as ranges.
"""

from __future__ import annotations

from typing import Final

import h3.api.basic_int as h3
import numpy as np
import numpy.typing as npt

Degrees = npt.NDArray[np.float64]
Metres = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]

#: The one radius that every distance here is measured with (IUGG mean radius R1).
EARTH_RADIUS_M: Final = 6_371_008.8

_HALF_RADIAN: Final = float(np.pi / 360)

#: Resolution of a stored cell. H3's finest: half a metre across, so any radius can be covered from it.
STORED_RESOLUTION: Final = 15


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
    # In place where it can be: thousands of restaurants pass here for one request.
    half_chord: Metres = np.sin((lats_deg - lat_deg) * _HALF_RADIAN)
    half_chord *= half_chord
    east = np.sin((lngs_deg - lng_deg) * _HALF_RADIAN)
    east *= east
    east *= np.cos(lats_deg * (2 * _HALF_RADIAN))
    east *= np.cos(np.radians(lat_deg))
    half_chord += east
    # Rounding may push an antipode past 1, where arcsin is undefined.
    np.minimum(half_chord, 1.0, out=half_chord)
    np.arcsin(np.sqrt(half_chord, out=half_chord), out=half_chord)
    half_chord *= 2 * EARTH_RADIUS_M
    return half_chord
