"""What becomes of a row: every row of a log or a table ends in exactly one count. docs/own-data.md says why."""

from __future__ import annotations

from collections import Counter
from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

#: An `Outcome` a row ``(N,)``.
Outcomes = npt.NDArray[np.uint8]


class Outcome(IntEnum):
    """What a row of the log ends as; `WORDS` says it, `DIRTY` are those that ``--strict`` stops at."""

    OPEN = 0  # nothing is decided yet: no row ends so
    NO_USER = 1
    NO_RESTAURANT = 2
    NO_TIME = 3
    UNKNOWN_KIND = 4
    IGNORED_KIND = 5
    COUNTED_KIND = 6
    NO_CHOSEN = 7
    FAR_TIME = 8
    USER_WITHOUT_ROW = 9
    RESTAURANT_WITHOUT_ROW = 10
    RESTAURANT_WITHOUT_PLACE = 11
    USER_WITHOUT_HISTORY = 12
    RESTAURANT_WITHOUT_HISTORY = 13
    REPEATED = 14
    SHOWN_TWICE = 15
    SINGLE = 16
    UNCHOSEN = 17
    NOT_SHOWN = 18
    CHOSEN_AGAIN = 19
    CHOSEN_IN_SINGLE = 20
    STANDING_UNKNOWN = 21
    STAYED = 22
    OUT_OF_REACH = 23
    CHOICE = 24
    CHOICE_BEFORE_SHOWN = 25
    HISTORY = 26
    TRAIN = 27
    TEST = 28


WORDS: Final = {
    Outcome.NO_USER: "null or faulty user ids",
    Outcome.NO_RESTAURANT: "null or faulty restaurant ids",
    Outcome.NO_TIME: "null or unparsable times",
    Outcome.UNKNOWN_KIND: "of a kind that the map does not name",
    Outcome.IGNORED_KIND: "of a kind that the map ignores",
    Outcome.COUNTED_KIND: "of a kind that is counted alone",
    Outcome.NO_CHOSEN: "that say neither chosen nor not",
    Outcome.FAR_TIME: "at a time far from all others",
    Outcome.USER_WITHOUT_ROW: "of a user without a row",
    Outcome.RESTAURANT_WITHOUT_ROW: "of a restaurant without a row",
    Outcome.RESTAURANT_WITHOUT_PLACE: "of a restaurant whose row has no usable position",
    Outcome.USER_WITHOUT_HISTORY: "of a user without a choice before the split",
    Outcome.RESTAURANT_WITHOUT_HISTORY: "of a restaurant without a choice before the split",
    Outcome.REPEATED: "the same as an earlier row",
    Outcome.SHOWN_TWICE: "shown again in the same list",
    Outcome.SINGLE: "shown in a list of one",
    Outcome.UNCHOSEN: "shown in a list without a choice",
    Outcome.NOT_SHOWN: "choices of what was not shown",
    Outcome.CHOSEN_AGAIN: "choices of what was chosen already",
    Outcome.CHOSEN_IN_SINGLE: "choices in a list of one",
    Outcome.STANDING_UNKNOWN: "choices from an unknown place",
    Outcome.STAYED: "choices of where the person stood",
    Outcome.OUT_OF_REACH: "choices farther than radius_m",
    Outcome.CHOICE: "choices of what was shown",
    Outcome.CHOICE_BEFORE_SHOWN: "choices earlier than what was shown",
    Outcome.HISTORY: "history",
    Outcome.TRAIN: "train",
    Outcome.TEST: "test",
}

#: What somebody may want to mend.
DIRTY: Final = frozenset(
    {
        Outcome.NO_USER,
        Outcome.NO_RESTAURANT,
        Outcome.NO_TIME,
        Outcome.UNKNOWN_KIND,
        Outcome.NO_CHOSEN,
        Outcome.FAR_TIME,
        Outcome.USER_WITHOUT_ROW,
        Outcome.RESTAURANT_WITHOUT_ROW,
        Outcome.RESTAURANT_WITHOUT_PLACE,
        Outcome.REPEATED,
        Outcome.SHOWN_TWICE,
        Outcome.NOT_SHOWN,
        Outcome.CHOSEN_AGAIN,
        Outcome.CHOICE_BEFORE_SHOWN,
    }
)


class Tally(NamedTuple):
    """Counts of a run: rows of the log by outcome, rows of each table by fault, and what is told beside them.

    ``notes`` count lists, people and the like, never rows, so that nothing is counted twice.
    """

    rows: Counter[Outcome]
    tables: dict[str, Counter[str]]
    notes: Counter[str]
    #: Those of ``notes`` that ``--strict`` stops at.
    dirty_notes: set[str]

    @classmethod
    def start(cls) -> Tally:
        """Nothing counted yet."""
        return cls(Counter(), {}, Counter(), set())

    def add(self, outcomes: Outcomes) -> None:
        """Count rows ``(N,)`` by what they ended as."""
        counts = np.bincount(outcomes, minlength=len(Outcome))
        assert not counts[Outcome.OPEN], "a row without an outcome"
        for outcome in Outcome:
            if counts[outcome]:
                self.rows[outcome] += int(counts[outcome])

    def note(self, what: str, count: int, *, dirty: bool = False) -> None:
        """Tell of something that is no row."""
        self.notes[what] += count
        if dirty and count:
            self.dirty_notes.add(what)

    def told(self) -> dict[str, int]:
        """Rows of the log by outcome, in words and in the order of `Outcome`."""
        return {WORDS[outcome]: self.rows[outcome] for outcome in Outcome if self.rows[outcome]}

    def dirt(self) -> dict[str, int]:
        """What ``--strict`` stops at."""
        rows = {
            f"events {WORDS[outcome]}": self.rows[outcome]
            for outcome in Outcome
            if outcome in DIRTY and self.rows[outcome]
        }
        tables = {
            f"{table}: {fault}": count for table, faults in self.tables.items() for fault, count in faults.items()
        }
        return rows | tables | {note: count for note, count in self.notes.items() if note in self.dirty_notes}
