"""Which zone's clock a restaurant goes by, where it does not say."""

from __future__ import annotations

from timezonefinder import TimezoneFinder

from hexbite.geo import Degrees


def positions_to_zones(lats: Degrees, lngs: Degrees) -> list[str]:
    """The zone of each of N positions ``(N,)``; at sea that of the nautical calendar."""
    finder = TimezoneFinder(in_memory=True)
    return [
        finder.timezone_at(lat=lat, lng=lng) or "Etc/UTC" for lat, lng in zip(lats.tolist(), lngs.tolist(), strict=True)
    ]
