"""How long each stage of an answer takes."""

from __future__ import annotations

import time
from typing import Final, NamedTuple

_MS: Final = 1_000.0


class Lap(NamedTuple):
    """A stage of an answer, from when to when on the clock of `time.perf_counter`; a stage may be passed twice."""

    stage: str
    begun: float
    ended: float


class Clock:
    """When each stage ended, which is when the next began."""

    def __init__(self) -> None:
        self.laps: list[Lap] = []
        self._lapped = time.perf_counter()

    def lap(self, stage: str) -> None:
        """A stage has ended."""
        now = time.perf_counter()
        self.laps.append(Lap(stage, self._lapped, now))
        self._lapped = now


def stages_ms(laps: list[Lap]) -> dict[str, float]:
    """Milliseconds a stage; a stage that was passed twice adds up."""
    seconds: dict[str, float] = {}
    for stage, begun, ended in laps:
        seconds[stage] = seconds.get(stage, 0.0) + ended - begun
    return {stage: round(spent * _MS, 3) for stage, spent in seconds.items()}
