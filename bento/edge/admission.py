"""How many requests are worked on at once, and which are turned away at the door."""

from __future__ import annotations

import time
from typing import Final, Protocol

_FEWER: Final = 0.8


class Door(Protocol):
    """Who lets requests in, or turns them away."""

    def is_full(self) -> bool:
        """Whether `enter` would refuse."""

    def enter(self) -> bool:
        """Whether one more may be worked on; it must then `leave`."""

    def leave(self, took_s: float) -> None:
        """One is done, after so many seconds."""


class Admission:
    """A limit of requests at work that finds itself: additive increase, multiplicative decrease, as TCP's window.

    While answers take longer than ``crowded_s``, too many wait for each other, or for a store that stands still, and
    fewer are let in; while they are fast and the limit is needed, more. What is not let in is refused at once: it would
    only make everybody late. Never fewer than ``least`` (a store that is back is noticed by somebody) or more than
    ``most``.
    """

    def __init__(self, *, least: int, most: int, crowded_s: float) -> None:
        self._least = min(least, most)
        self._most = most
        self._crowded_s = crowded_s
        self._lowered = 0.0
        self.limit = float(most)
        self.in_flight = 0

    def is_full(self) -> bool:
        """Whether `enter` would refuse."""
        return self.in_flight >= self.limit

    def enter(self) -> bool:
        """Whether one more may be worked on; it must then `leave`."""
        if self.is_full():
            return False
        self.in_flight += 1
        return True

    def leave(self, took_s: float) -> None:
        """One is done, after so many seconds."""
        was_full = self.in_flight >= self.limit - 1
        self.in_flight -= 1
        if took_s > self._crowded_s:
            now = time.monotonic()
            # Once for all who were in the same crowd.
            if now - self._lowered >= self._crowded_s:
                self._lowered = now
                self.limit = max(self._least, self.limit * _FEWER)
        elif was_full:
            self.limit = min(self._most, self.limit + 1 / self.limit)


class SideDoor:
    """For what is turned away before anything else: at most a ``share`` 0..1 of an admission's limit, one at the least.

    It is shut while the admission is full, whose limit follows its own requests alone: these take no place of theirs,
    and how long they take says nothing of those.
    """

    def __init__(self, main: Admission, share: float) -> None:
        self._main = main
        self._share = share
        self.in_flight = 0

    @property
    def limit(self) -> int:
        """How many may be at work."""
        return max(1, int(self._main.limit * self._share))

    def is_full(self) -> bool:
        """Whether `enter` would refuse."""
        return self._main.is_full() or self.in_flight >= self.limit

    def enter(self) -> bool:
        """Whether one more may be worked on; it must then `leave`."""
        if self.is_full():
            return False
        self.in_flight += 1
        return True

    def leave(self, _took_s: float) -> None:
        """One is done."""
        self.in_flight -= 1
