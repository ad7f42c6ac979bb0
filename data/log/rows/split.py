"""Which lists are test lists: the latest; which history is made of: the earliest; without times a hash draws both."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import xxhash

from data.log.map import Map
from data.log.reading.entities import Entities
from data.log.reading.events import Log
from data.log.reading.says import CHOSEN
from data.log.rules import Outcome, Outcomes

Keys = npt.NDArray[np.uint64]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

# The golden ratio's odd 64 bits: what is multiplied by it differs in its upper bits.
_SPREAD: Final = np.uint64(0x9E3779B97F4A7C15)


class Split(NamedTuple):
    """``at_us``: a list is a test list where its time is not before it, microseconds; None where no time is told.
    ``history_us``: before it a list is what history is made of; None where the map wants none, or no time is told.

    Without times ``test`` is the share of the lists that a hash draws, of a list's key, which is the person and the
    list's id, else the person alone; of a choice that is a list of its own, the person and the restaurant; ``history``
    the share of the others that history is made of. ``users`` ``(U,)`` and ``restaurants`` ``(R,)`` are hashes of ids
    and of the seed.
    """

    at_us: int | None
    history_us: int | None
    test: float
    history: float
    users: Keys
    restaurants: Keys

    def of_lists(
        self, user: npt.NDArray[np.int32], list_: npt.NDArray[np.int64], time: npt.NDArray[np.int64]
    ) -> Outcomes:
        """What each of N lists is for, by its person, its number (odd where no id named it) and its time.

        That is `Outcome.HISTORY`, `Outcome.TRAIN` or `Outcome.TEST`.
        """
        if self.at_us is not None:
            return self._by_time(time, self.at_us)
        return self._draw(user, np.where(list_ & 1, 0, list_).astype(np.uint64))

    def of_visits(
        self, user: npt.NDArray[np.int32], restaurant: npt.NDArray[np.int32], time: npt.NDArray[np.int64]
    ) -> Outcomes:
        """The same of choices, each a list of its own."""
        if self.at_us is not None:
            return self._by_time(time, self.at_us)
        return self._draw(user, self.restaurants[restaurant])

    def before(self, choices: pl.DataFrame, each: Callable[[], Iterable[pl.DataFrame]], *, shows: bool) -> pl.DataFrame:
        """The choices of lists that are no test lists; ``is_known`` says which history is made of.

        ``each`` gives all usable events, some at a time. A clock may put a choice before the list that it is made in:
        it is known no earlier than its list, whatever its time. Without times a choice that does not name its list is
        none of them, where others do: which it is in is not known yet.
        """
        if self.at_us is not None:
            found = choices
            if shows and "list" in found.columns:
                found = not_before_lists(found, each())
            parts = self._by_time(found["time"].to_numpy(), self.at_us)
        else:
            found = choices.drop_nulls("list") if "list" in choices.columns else choices
            user, restaurant, time = (found[name].to_numpy() for name in ("user", "restaurant", "time"))
            lists = found["list"].to_numpy() if "list" in found.columns else np.ones(len(found), dtype=np.int64)
            parts = self.of_lists(user, lists, time) if shows else self.of_visits(user, restaurant, time)
        found = found.with_columns(is_known=pl.Series(parts == Outcome.HISTORY))
        return found.filter(pl.Series(parts != Outcome.TEST)).sort("time", "user", "restaurant")

    def _by_time(self, time: npt.NDArray[np.int64], at_us: int) -> Outcomes:
        is_known = time < (at_us if self.history_us is None else self.history_us)
        parts = np.where(is_known & (self.history_us is not None), Outcome.HISTORY, Outcome.TRAIN)
        return np.where(time >= at_us, Outcome.TEST, parts).astype(np.uint8)

    def _draw(self, user: npt.NDArray[np.int32], of: Keys) -> Outcomes:
        mixed = self.users[user] ^ (of * _SPREAD)
        # Two rounds of a multiplication and a shift: every bit of the key moves the upper ones.
        for shift in (32, 29):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * _SPREAD
        share = (mixed ^ (mixed >> np.uint64(32))) / 2.0**64
        parts = np.where(share < self.test + (1 - self.test) * self.history, Outcome.HISTORY, Outcome.TRAIN)
        return np.where(share < self.test, Outcome.TEST, parts).astype(np.uint8)

    @property
    def at(self) -> datetime | None:
        """``at_us`` as a moment."""
        return None if self.at_us is None else _EPOCH + timedelta(microseconds=self.at_us)


def find_split(asked: Map, log: Log, users: Entities, restaurants: Entities) -> Split:
    """The split that the map asks for."""
    test, history = asked.split.test, asked.split.history if asked.history else 0.0
    if asked.events.time is None:
        keys = (_ids_to_keys(entities.ids, asked.seed) for entities in (users, restaurants))
        return Split(None, None, test, history, *keys)
    times = np.sort(log.choices["time"].to_numpy())
    at = asked.split.at_utc
    at_us = _at_share(times, 1 - test) if at is None else (at - _EPOCH) // timedelta.resolution
    before = times[times < at_us]
    history_us = _at_share(before, history) if asked.history and len(before) else None
    return Split(at_us, history_us, test, history, *(np.empty(0, dtype=np.uint64),) * 2)


def _at_share(times_us: npt.NDArray[np.int64], share: float) -> int:
    """The time before which a share of the choices lies, which are in order: rows decide, not the calendar."""
    return int(times_us[min(int(share * len(times_us)), len(times_us) - 1)])


def not_before_lists(rows: pl.DataFrame, events: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Rows, of ``user``, ``list`` and ``time``, none earlier than the first impression of the list that it names."""
    named = rows.drop_nulls("list").select("user", "list").unique()
    # Of what was shown, as lists are made of: a choice tells no list's time.
    shown = [
        one.filter(pl.col("says") != CHOSEN)
        .join(named, on=["user", "list"], how="semi")
        .group_by("user", "list")
        .agg(pl.col("time").min())
        for one in events
    ]
    times = pl.concat(shown).group_by("user", "list").agg(list_time=pl.col("time").min())
    timed = rows.join(times, on=["user", "list"], how="left")
    return timed.with_columns(time=pl.max_horizontal("time", "list_time")).drop("list_time")


def _ids_to_keys(ids: pl.Series, seed: int) -> Keys:
    return np.array([xxhash.xxh3_64_intdigest(f"{seed}\0{one}".encode()) for one in ids.to_list()], dtype=np.uint64)
