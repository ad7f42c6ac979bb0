"""How many people there must be before a figure is told: it is meant for other people like these."""

from __future__ import annotations

from typing import Self

import numpy as np
import numpy.typing as npt

from hexbite.rankings import MIN_PEOPLE, people_told
from training.reading.clicks import Clicks


class People:
    """Which of so many users have a row with a click, and which have one without."""

    def __init__(self, users: int) -> None:
        self._clicked, self._left = (np.zeros(users, dtype=np.bool_) for _ in range(2))

    @classmethod
    def of(cls, clicks: Clicks) -> Self:
        """Those of some rows."""
        people = cls(int(clicks.user.max(initial=-1)) + 1)
        people.add(clicks)
        return people

    def add(self, clicks: Clicks) -> None:
        """Look at N more rows."""
        has_click = clicks.click > 0
        self._clicked[clicks.user[has_click]] = True
        self._left[clicks.user[~has_click]] = True

    def auc_fault(self) -> str:
        """Why the AUC of these rows is not told; empty where it is."""
        clicked, left = _count(self._clicked), _count(self._left)
        if min(clicked, left) >= MIN_PEOPLE:
            return ""
        return (
            f"{people_told(clicked)} with a click, {people_told(left)} with a row that was not clicked; "
            f"an AUC needs {MIN_PEOPLE} of each"
        )


def _count(flags: npt.NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(flags))
