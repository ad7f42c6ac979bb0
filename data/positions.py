"""Drawn positions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hexbite.geo import EARTH_RADIUS_M


def around(draws: np.random.Generator, points: npt.NDArray[np.float64], spread_m: float) -> npt.NDArray[np.float64]:
    """Points ``(N, 2)`` in degrees, each moved by a normal draw of so many metres north and east."""
    moved_deg = np.degrees(draws.normal(0, spread_m, points.shape) / EARTH_RADIUS_M)
    moved_deg[:, 1] /= np.cos(np.radians(points[:, 0]))
    return np.asarray(points + moved_deg)
