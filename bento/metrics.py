"""What the service counts, on the framework's `/metrics`. No label takes a value from a client."""

from __future__ import annotations

from functools import cache
from typing import Final

from prometheus_client import Histogram

_RECOMMEND_S: Final = Histogram(
    "hexbite_recommend_seconds",
    "Time from the head of a request for /recommend to the last byte of its answer, by status.",
    labelnames=["status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
)


def recommended(status: int, seconds: float) -> None:
    """Count one answer of `/recommend`."""
    _of_status(status).observe(seconds)


@cache
def _of_status(status: int) -> Histogram:
    # The library looks a label up under a lock at every call.
    return _RECOMMEND_S.labels(status)
