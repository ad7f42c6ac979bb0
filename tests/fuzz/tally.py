"""What was asked, counted."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Tally:
    """Cases by the status of their answer, and the longest that one took."""

    statuses: Counter[int] = field(default_factory=Counter)
    slowest_s: float = 0.0

    @property
    def cases(self) -> int:
        return self.statuses.total()

    def count(self, status: int, seconds: float) -> None:
        self.statuses[status] += 1
        self.slowest_s = max(self.slowest_s, seconds)

    def __str__(self) -> str:
        statuses, slowest_ms = dict(sorted(self.statuses.items())), round(self.slowest_s * 1_000)
        return f"fuzz cases {self.cases} statuses {statuses} slowest_ms {slowest_ms}"


TALLY = Tally()
