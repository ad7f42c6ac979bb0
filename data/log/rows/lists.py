"""Lists out of events: what was shown together, what of it was chosen, and where the person was. docs/own-data.md."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from data.log.reading.says import CHOSEN
from data.log.rows.world import FROM_HOME, HOUR_US, Listed, Mask, Numbers, Times, World
from data.log.rules import Outcome, Outcomes, Tally
from hexbite.features import DISTANCE_M
from hexbite.geo import Degrees

# A restaurant's number, and whether it was chosen, in a sorted key.
_PAIR_BITS: Final = 32

# The golden ratio's odd 64 bits: spreads small numbers over all of them.
_SPREAD: Final = np.int64(0x9E3779B97F4A7C15 - (1 << 64))

# Who is shown only what is farther than this is a traveller or at a mistaken position: where they stand is not known.
_ABSURD_M: Final = 200_000
_FAR_LISTS: Final = "lists of a person more than 200 km from all that was shown"

_LATEST: Final = np.iinfo(np.int64).max


class _Groups(NamedTuple):
    """Runs of equal rows: the run of each row ``(N,)``, and where each begins ``(G,)``."""

    of: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]

    @classmethod
    def find(cls, is_start: Mask) -> _Groups:
        return cls(np.cumsum(is_start) - 1, np.flatnonzero(is_start))

    def tally(self, mask: Mask) -> npt.NDArray[np.int64]:
        """How many rows of each run are so, ``(G,)``."""
        return np.bincount(self.of[mask], minlength=len(self.starts))


def make_lists(events: pl.DataFrame, world: World, tally: Tally) -> Listed:
    """The lists of one bucket's events: every row is counted under what it ends as.

    Of a restaurant in a list the first impression is kept; a choice of it, any, makes it the clicked one. A list's time
    is that of its first impression.
    """
    opened = world.start(*(events[name].to_numpy() for name in ("user", "restaurant", "time")))
    tally.add(opened[opened != Outcome.OPEN])
    named = _name_lists(events.filter(pl.Series(opened == Outcome.OPEN)), world, tally)
    rows, in_list, in_pair, is_repeated = _sort(named)
    user, restaurant, is_choice, time = (rows[n].to_numpy() for n in ("user", "restaurant", "is_choice", "time"))
    live = ~is_repeated

    # Impressions come before choices: the first row of a pair is the impression that stays, where there is one.
    is_first = np.zeros(len(rows), dtype=np.bool_)
    is_first[in_pair.starts] = True
    is_first &= ~is_choice
    shown = is_first[in_pair.starts]
    is_hit = live & (is_choice | (rows["says"].to_numpy() >= CHOSEN)) & shown[in_pair.of]
    is_clicked = in_pair.tally(is_hit) > 0
    items = in_list.tally(is_first)
    has_click = in_list.tally(is_first & is_clicked[in_pair.of]) > 0
    keeps = (items > 1) & (has_click | (world.asked.lists.unchosen == "keep"))

    list_time = np.minimum.reduceat(np.where(is_choice, _LATEST, time), in_list.starts) if len(rows) else time
    part = world.split.of_lists(user[in_list.starts], rows["list"].to_numpy()[in_list.starts], list_time)
    outcomes = np.full(len(rows), Outcome.OPEN, dtype=np.uint8)
    _judge_choices(outcomes, is_choice & live, time, in_pair, shown)
    outcomes[(outcomes == Outcome.CHOICE) & (items[in_list.of] == 1)] = Outcome.CHOSEN_IN_SINGLE
    outcomes[~is_choice & ~is_first] = Outcome.SHOWN_TWICE
    of_first = part.copy()
    of_first[~keeps] = Outcome.UNCHOSEN
    of_first[items == 1] = Outcome.SINGLE
    outcomes[is_first] = of_first[in_list.of[is_first]]
    outcomes[is_repeated] = Outcome.REPEATED
    tally.add(outcomes)
    for name, number in (("train", Outcome.TRAIN), ("test", Outcome.TEST)):
        tally.note(f"{name} lists", int(np.count_nonzero(keeps & (part == number))))

    kept = np.flatnonzero(is_first & keeps[in_list.of])
    of = in_list.of[kept]
    lats, lngs, list_lats, list_lngs = _standing(rows, in_list, list_time, kept, world, tally)
    metres = world.distances_m(lats, lngs, restaurant[kept])
    is_absurd = np.full(len(in_list.starts), fill_value=False)
    is_absurd[of] = True
    is_absurd[of[~(metres > _ABSURD_M)]] = False
    metres[is_absurd[of]] = list_lats[is_absurd] = list_lngs[is_absurd] = np.nan
    tally.note(_FAR_LISTS, int(np.count_nonzero(is_absurd)))
    columns = {
        "user": user[kept],
        "restaurant": restaurant[kept],
        "click": is_clicked[in_pair.of[kept]].astype(np.int8),
        DISTANCE_M: metres.astype(np.float32),
        "list": np.cumsum(np.diff(of, prepend=-1) > 0) - 1,
        "time": list_time[of],
        "part": part[of],
    }
    frame = pl.DataFrame(columns).with_columns(pl.col(DISTANCE_M).fill_nan(None))
    if "position" in rows.columns:
        frame = frame.with_columns(rows["position"][kept])
    chosen_at = np.full(len(in_pair.starts), _LATEST)
    np.minimum.at(chosen_at, in_pair.of[is_hit], time[is_hit])
    places = {"latitude": list_lats[of], "longitude": list_lngs[of], "visited_at": chosen_at[in_pair.of[kept]]}
    clicked = frame.with_columns(**{name: pl.Series(values) for name, values in places.items()}).filter(
        pl.col("click") == 1
    )
    requests = clicked.filter((pl.col("part") == Outcome.TEST) & pl.col("latitude").is_not_nan())
    return Listed(
        frame.filter(pl.col("part") != Outcome.HISTORY),
        requests.select("user", "restaurant", "latitude", "longitude", "visited_at", at="time"),
        clicked.filter(pl.col("part") != Outcome.TEST).select("user", DISTANCE_M, "part"),
        rows["list"].to_numpy()[in_list.starts],
    )


def _judge_choices(outcomes: Outcomes, is_choice: Mask, time: Times, in_pair: _Groups, shown: Mask) -> None:
    choices = np.flatnonzero(is_choice)
    pairs = in_pair.of[choices]
    is_early = time[choices] < time[in_pair.starts[pairs]]
    outcomes[choices] = np.where(is_early, Outcome.CHOICE_BEFORE_SHOWN, Outcome.CHOICE)
    outcomes[choices[np.diff(pairs, prepend=-1) == 0]] = Outcome.CHOSEN_AGAIN
    outcomes[choices[~shown[pairs]]] = Outcome.NOT_SHOWN


def changes(column: npt.NDArray[np.generic]) -> Mask:
    """Where a sorted column ``(N,)`` is another than in the row before; so is the first row."""
    is_start = np.ones(len(column), dtype=np.bool_)
    np.not_equal(column[1:], column[:-1], out=is_start[1:])
    return is_start


def _name_lists(events: pl.DataFrame, world: World, tally: Tally) -> pl.DataFrame:
    """Give a list to events that tell none; choices of what nobody was shown lately are counted and left out.

    Impressions at one moment are a list, of an odd number where those of ids are even. A choice belongs to the person's
    latest impression of that restaurant.
    """
    events = events.with_columns(is_choice=pl.col("says") == CHOSEN)
    if "list" in events.columns and not events["list"].null_count():
        return events
    told = pl.col("list") if "list" in events.columns else pl.lit(None, pl.Int64)
    moment = pl.col("time").hash().reinterpret(signed=True) | 1
    events = events.with_columns(list=pl.when(pl.col("is_choice")).then(told).otherwise(pl.coalesce(told, moment)))
    every = events.filter(pl.col("list").is_null()).drop("list")
    lost = every.unique().sort("time")
    tally.add(np.full(len(every) - len(lost), Outcome.REPEATED, dtype=np.uint8))
    shown = events.filter(~pl.col("is_choice")).select("user", "restaurant", "time", "list").sort("time", "list")
    found = lost.join_asof(
        shown,
        on="time",
        by=["user", "restaurant"],
        strategy="backward",
        tolerance=int(world.asked.lists.join_h * HOUR_US),
        check_sortedness=False,
    )
    joined = found.filter(pl.col("list").is_not_null())
    tally.add(np.full(len(found) - len(joined), Outcome.NOT_SHOWN, dtype=np.uint8))
    return pl.concat([events.filter(pl.col("list").is_not_null()), joined.select(events.columns)])


class _Sorted(NamedTuple):
    """Events list by list, in these restaurant by restaurant, impressions of it before choices, each by time.

    ``is_repeated`` ``(N,)``: the same as the row before in all that is known.
    """

    rows: pl.DataFrame
    in_list: _Groups
    in_pair: _Groups
    is_repeated: Mask


def _sort(events: pl.DataFrame) -> _Sorted:
    user, list_id, restaurant, is_choice = (events[n].to_numpy() for n in ("user", "list", "restaurant", "is_choice"))
    # A list is one person's: an id that two share is two lists. Two sorts of one integer each are several times as fast
    # as one by four columns.
    order, lists = _number(list_id ^ (user.astype(np.int64) * _SPREAD))
    key = (lists << _PAIR_BITS) | (restaurant[order].astype(np.int64) << 1) | is_choice[order]
    by_key = np.argsort(key)
    order, key = order[by_key], key[by_key]
    order, is_repeated = _untie(events, order, key)
    return _Sorted(
        events[order], _Groups.find(changes(key >> _PAIR_BITS)), _Groups.find(changes(key >> 1)), is_repeated
    )


def _number(ids: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """An order that sorts some ids ``(N,)``, and a number from 0 for each in that order, the same for the same id."""
    order = np.argsort(ids)
    return order, np.cumsum(changes(ids[order])) - 1


def _untie(
    events: pl.DataFrame, order: npt.NDArray[np.int64], key: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], Mask]:
    """Put rows of one key by time, then by all else that is known; tell which are the same as the one before."""
    is_repeated = np.zeros(len(key), dtype=np.bool_)
    is_next = np.append(~changes(key), np.False_)
    tied = np.flatnonzero(is_next[:-1] | is_next[1:])
    if not len(tied):
        return order, is_repeated
    rows = events[order[tied]].with_columns(key=key[tied], at=order[tied])
    others = [name for name in events.columns if name != "time"]
    rows = rows.sort("key", "time", *others)
    order[tied] = rows["at"].to_numpy()
    same = rows.drop("at").select(pl.all_horizontal(pl.all().eq_missing(pl.all().shift(1)))).to_series()
    is_repeated[tied] = same.to_numpy()
    is_repeated[tied[0]] = False
    return order, is_repeated


def _standing(
    rows: pl.DataFrame,
    in_list: _Groups,
    list_time: Times,
    kept: npt.NDArray[np.int64],
    world: World,
    tally: Tally,
) -> tuple[Degrees, Degrees, Degrees, Degrees]:
    """Where the person was: of each kept row, and of each list; NaN where nothing is known.

    What the row says, else the earliest event of the list that says it, else the person's home, else the place of their
    previous choice.
    """
    of = in_list.of[kept]
    list_lats, list_lngs = np.full((2, len(in_list.starts)), np.nan)
    if "latitude" in rows.columns:
        lats, lngs = (rows[name].fill_null(np.nan).to_numpy() for name in ("latitude", "longitude"))
        time = rows["time"].to_numpy()
        told = np.flatnonzero(~np.isnan(lats))
        told = told[np.lexsort((time[told], in_list.of[told]))]
        first = told[np.diff(in_list.of[told], prepend=-1) > 0]
        list_lats[in_list.of[first]], list_lngs[in_list.of[first]] = lats[first], lngs[first]
    is_kept = np.zeros(len(in_list.starts), dtype=np.bool_)
    is_kept[of] = True
    person = rows["user"].to_numpy()[in_list.starts]
    is_home = np.isnan(list_lats) & ~np.isnan(world.home_lats[person])
    list_lats[is_home], list_lngs[is_home] = world.home_lats[person[is_home]], world.home_lngs[person[is_home]]
    tally.note(FROM_HOME, int(np.count_nonzero(is_home & is_kept)))
    unknown = np.flatnonzero(np.isnan(list_lats) & is_kept)
    if len(unknown):
        # A choice before its own list's first impression is that list's answer, and tells no place.
        own_time = list_time[in_list.of]
        is_past = (rows["says"].to_numpy() >= CHOSEN) & ((rows["time"].to_numpy() >= own_time) | (own_time == _LATEST))
        choices = rows.filter(pl.Series(is_past)).select("user", "time", "restaurant")
        places = _previous(choices, person[unknown], list_time[unknown], world)
        list_lats[unknown], list_lngs[unknown] = _places(world, places)
        tally.note("lists from an unknown place", int(np.count_nonzero(np.isnan(list_lats[unknown]))))
    if "latitude" not in rows.columns:
        return list_lats[of], list_lngs[of], list_lats, list_lngs
    own = ~np.isnan(lats[kept])
    return (
        np.where(own, lats[kept], list_lats[of]),
        np.where(own, lngs[kept], list_lngs[of]),
        list_lats,
        list_lngs,
    )


def _places(world: World, restaurant: npt.NDArray[np.int64]) -> tuple[Degrees, Degrees]:
    """Degrees of restaurants ``(N,)``, NaN where the number is -1."""
    known = restaurant >= 0
    return np.where(known, world.lats[restaurant], np.nan), np.where(known, world.lngs[restaurant], np.nan)


def _previous(choices: pl.DataFrame, user: Numbers, time: Times, world: World) -> npt.NDArray[np.int64]:
    """The restaurant that each of some users ``(N,)`` chose last before a time; -1 where none is young enough."""
    asked = pl.DataFrame({"user": user, "time": time, "row": np.arange(len(user))}).sort("time")
    found = asked.join_asof(
        choices.sort("time", "restaurant"),
        on="time",
        by="user",
        strategy="backward",
        tolerance=int(world.asked.standing.max_age_h * HOUR_US),
        allow_exact_matches=False,
        check_sortedness=False,
    )
    return found.sort("row")["restaurant"].fill_null(-1).cast(pl.Int64).to_numpy()
