"""Which lists are test lists: the latest; or, of a log without times, those that a hash draws."""

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
from data.log.reading.events import CHOSEN, Log

Keys = npt.NDArray[np.uint64]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

# The golden ratio's odd 64 bits: what is multiplied by it differs in its upper bits.
_SPREAD: Final = np.uint64(0x9E3779B97F4A7C15)


class Split(NamedTuple):
    """``at_us``: a list is a test list where its time is not before it, microseconds; None where no time is told.

    Then ``test`` is the share of the lists that a hash draws, of a list's key, which is the person and the list's id,
    else the person alone; of a choice that is a list of its own, the person and the restaurant. ``users`` ``(U,)`` and
    ``restaurants`` ``(R,)`` are hashes of ids and of the seed.
    """

    at_us: int | None
    test: float
    users: Keys
    restaurants: Keys

    def of_lists(
        self, user: npt.NDArray[np.int32], list_: npt.NDArray[np.int64], time: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.bool_]:
        """Whether each of N lists is a test list, by its person, its number (odd where no id named it) and its time."""
        if self.at_us is not None:
            return time >= self.at_us
        return self._draw(user, np.where(list_ & 1, 0, list_).astype(np.uint64))

    def of_visits(
        self, user: npt.NDArray[np.int32], restaurant: npt.NDArray[np.int32], time: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.bool_]:
        """The same of choices, each a list of its own."""
        if self.at_us is not None:
            return time >= self.at_us
        return self._draw(user, self.restaurants[restaurant])

    def before(self, choices: pl.DataFrame, each: Callable[[], Iterable[pl.DataFrame]], *, shows: bool) -> pl.DataFrame:
        """The choices that history knows: those of train lists. ``each`` gives all usable events, some at a time.

        A clock may put a choice before the list that it is made in: one of a test list is not known, whatever its
        time. Without times a choice that does not name its list is none of them, where others do: which it is in is not
        known yet.
        """
        if self.at_us is not None:
            found = choices.filter(pl.col("time") < self.at_us)
            if shows and "list" in found.columns:
                found = found.join(self._test_lists(found, each()), on=["user", "list"], how="anti")
        else:
            named = choices.drop_nulls("list") if "list" in choices.columns else choices
            user, restaurant, time = (named[name].to_numpy() for name in ("user", "restaurant", "time"))
            lists = named["list"].to_numpy() if "list" in named.columns else np.ones(len(named), dtype=np.int64)
            is_test = self.of_lists(user, lists, time) if shows else self.of_visits(user, restaurant, time)
            found = named.filter(pl.Series(~is_test))
        return found.sort("time", "user", "restaurant")

    def _test_lists(self, choices: pl.DataFrame, events: Iterable[pl.DataFrame]) -> pl.DataFrame:
        """Lists, ``user`` and ``list``, that choices name and whose first impression is not before the split."""
        named = choices.drop_nulls("list").select("user", "list").unique()
        # Of what was shown, as lists are made of: a choice tells no list's time.
        shown = [
            rows.filter(pl.col("says") != CHOSEN)
            .join(named, on=["user", "list"], how="semi")
            .group_by("user", "list")
            .agg(pl.col("time").min())
            for rows in events
        ]
        times = pl.concat(shown).group_by("user", "list").agg(pl.col("time").min())
        return times.filter(pl.col("time") >= self.at_us).drop("time")

    def _draw(self, user: npt.NDArray[np.int32], of: Keys) -> npt.NDArray[np.bool_]:
        mixed = self.users[user] ^ (of * _SPREAD)
        # Two rounds of a multiplication and a shift: every bit of the key moves the upper ones.
        for shift in (32, 29):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * _SPREAD
        share = (mixed ^ (mixed >> np.uint64(32))) / 2.0**64
        drawn: npt.NDArray[np.bool_] = share < self.test
        return drawn

    @property
    def at(self) -> datetime | None:
        """``at_us`` as a moment."""
        return None if self.at_us is None else _EPOCH + timedelta(microseconds=self.at_us)


def find_split(asked: Map, log: Log, users: Entities, restaurants: Entities) -> Split:
    """The split that the map asks for."""
    if asked.events.time is None:
        return Split(
            None, asked.split.test, _ids_to_keys(users.ids, asked.seed), _ids_to_keys(restaurants.ids, asked.seed)
        )
    at = asked.split.at_utc
    at_us = _latest_us(log.choices["time"], asked.split.test) if at is None else (at - _EPOCH) // timedelta.resolution
    return Split(at_us, asked.split.test, *(np.empty(0, dtype=np.uint64),) * 2)


def _latest_us(times: pl.Series, test: float) -> int:
    """The time of the first of the latest choices that are test choices: rows decide, not the calendar."""
    ordered = np.sort(times.to_numpy())
    return int(ordered[min(int((1 - test) * len(ordered)), len(ordered) - 1)])


def _ids_to_keys(ids: pl.Series, seed: int) -> Keys:
    return np.array([xxhash.xxh3_64_intdigest(f"{seed}\0{one}".encode()) for one in ids.to_list()], dtype=np.uint64)
