"""Which events come too late, or too early: their moments against a clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from bento.contract.events import Reason

# What is before that in UTC, no calendar of ours has.
_FIRST: Final = datetime.min.replace(tzinfo=UTC)


class Refusal(NamedTuple):
    """Why an event is not taken, for programs and in words."""

    reason: Reason
    message: str


class Bounds:
    """How long ago an event may have happened, and how far ahead a teller's clock may go, in seconds; None: no bound.

    Nothing from before ``kept_since`` is taken: what was kept of that time is gone. The store says so when it is told
    of such a time, and then it is known here.
    """

    def __init__(self, max_age_s: float | None, max_ahead_s: float) -> None:
        self._max_age_s, self._max_ahead_s = max_age_s, max_ahead_s
        self.kept_since = _FIRST

    def refusal(self, at: datetime, now: datetime) -> Refusal | None:
        """Why an event of a moment cannot be taken at another; None where it can."""
        age_s = (now - at) / timedelta(seconds=1)
        if age_s < -self._max_ahead_s:
            return Refusal("in_the_future", f"event_ts lies more than {self._max_ahead_s:,.15g} seconds ahead")
        if self._max_age_s is not None and age_s > self._max_age_s:
            return Refusal("too_late", f"event_ts lies more than {self._max_age_s:,.15g} seconds back")
        if at < self.kept_since:
            return Refusal("before_retention", f"events before {self.kept_since:%Y-%m-%dT%H:%M:%SZ} are not kept")
        return None
