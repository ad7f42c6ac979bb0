"""Local time where a restaurant is: zones as numbers that stand beside its features (ADR 15)."""

from __future__ import annotations

import zlib
from datetime import UTC, datetime
from functools import cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
import numpy.typing as npt

_HOUR_S: Final = 3_600
_DAY_S: Final = 86_400

# A day within the moments that Python's calendar has.
_FIRST_S: Final = datetime.min.replace(tzinfo=UTC).timestamp() + _DAY_S
_LAST_S: Final = datetime.max.replace(tzinfo=UTC).timestamp() - _DAY_S


class LocalTimes(NamedTuple):
    """Of N places at one moment: ``hour`` ``(N,)`` 0..23 and ``weekday`` ``(N,)`` 0 (Monday) to 6, float32."""

    hour: npt.NDArray[np.float32]
    weekday: npt.NDArray[np.float32]


def zone_to_number(name: str) -> int:
    """A number for an IANA zone such as ``Asia/Bangkok``: 24 bits of its CRC-32, which a float32 holds exactly.

    Raises ValueError where the zone is not among the system's.
    """
    if name not in available_names():
        raise ValueError(f"{name!r} is no time zone; zones are named as in the IANA database, such as Asia/Bangkok")
    return _number(name)


def are_zones(numbers: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Which of N numbers ``(N,)`` stand for a zone that is known here."""
    found, places = np.unique(numbers, return_inverse=True)
    known = _names_by_number()
    return np.array([number in known for number in found.tolist()], dtype=np.bool_)[places]


def local_times(numbers: npt.NDArray[np.float32], at_s: float) -> LocalTimes:
    """Hour and weekday by the clocks of N places' zones ``(N,)`` at a moment in seconds since 1970, UTC.

    Raises ValueError where a number stands for no zone that is known here.
    """
    found, places = np.unique(numbers, return_inverse=True)
    offsets = np.array([offset_s(number_to_zone(int(number)), at_s) for number in found.tolist()], dtype=np.int64)
    return _told(np.int64(np.floor(at_s)) + offsets[places])


def local_times_of_moments(numbers: npt.NDArray[np.float32], at_s: npt.NDArray[np.float64]) -> LocalTimes:
    """As `local_times`, of N places each at a moment of its own ``(N,)``; meant for few."""
    pairs = zip(numbers.tolist(), at_s.tolist(), strict=True)
    offsets = np.array([offset_s(number_to_zone(int(number)), one) for number, one in pairs], dtype=np.int64)
    return _told(np.floor(at_s).astype(np.int64) + offsets)


def _told(local_s: npt.NDArray[np.int64]) -> LocalTimes:
    # The first day of the epoch was a Thursday.
    return LocalTimes(
        (local_s % _DAY_S // _HOUR_S).astype(np.float32), ((local_s // _DAY_S + 3) % 7).astype(np.float32)
    )


@cache
def number_to_zone(number: int) -> ZoneInfo:
    """The zone that a number stands for. Raises ValueError where it is none."""
    name = _names_by_number().get(number)
    if name is None:
        raise ValueError(f"{number} stands for no time zone that is known here")
    return ZoneInfo(name)


@cache
def available_names() -> frozenset[str]:
    """The names of all zones."""
    return frozenset(available_timezones())


@cache
def _names_by_number() -> dict[float, str]:
    return {_number(name): name for name in available_names()}


def _number(name: str) -> int:
    return zlib.crc32(name.encode()) & 0xFFFFFF


def offset_s(zone: ZoneInfo, at_s: float) -> int:
    """Seconds that a zone is ahead of UTC at a moment in seconds since 1970."""
    # A calendar's last day in one zone is past its end in another: there, the offset of a day before is taken.
    within_s = min(max(at_s, _FIRST_S), _LAST_S)
    offset = datetime.fromtimestamp(within_s, UTC).astimezone(zone).utcoffset()
    assert offset is not None
    return round(offset.total_seconds())
