"""What people did, counted: for each row as of just before its own moment; and the events, to be told to the store."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from data.log.reading.counted import Told
from data.log.rows.split import not_before_lists
from data.log.rows.world import Numbers, Times, World
from data.output import write_table
from hexbite.counters.clocks import Slots, slots
from hexbite.counters.past import Past, PastEvents
from hexbite.folder import EVENTS
from hexbite.ids import texts_to_ids

Small = npt.NDArray[np.int8]

#: Events of a file, at the most.
EVENTS_PER_FILE: Final = 2_000_000

_US_PER_S: Final = 1_000_000
_KEY: Final = ("time", "user", "restaurant", "code")


def sort_events(told: Told, each: Callable[[], Iterable[pl.DataFrame]]) -> Told:
    """Events in the order of time, each once: what is alike in person, restaurant, kind and moment is one.

    ``each`` gives all usable events of the log, some at a time. What happened in a list did not happen before it was
    shown, whatever a clock says: else its rows would know their answer.
    """
    rows = told.events
    if "list" in rows.columns:
        rows = not_before_lists(rows, each()).drop("list")
    others = [name for name in rows.columns if name not in _KEY]
    rows = rows.sort(*_KEY, *others, nulls_last=True).unique(_KEY, keep="first", maintain_order=True)
    return told._replace(events=rows)


class Counts:
    """Tells rows the counters of the map; ``told`` as of `sort_events`."""

    def __init__(self, told: Told, world: World) -> None:
        self._counters = world.asked.counted
        user, restaurant, code, time = (told.events[name].to_numpy() for name in ("user", "restaurant", "code", "time"))
        # The store knows the clocks of restaurants that have a row.
        has_clock = np.zeros(len(told.restaurants), dtype=np.bool_)
        has_clock[: len(world.restaurant_has_row)] = world.restaurant_has_row
        zones = np.zeros(len(told.restaurants), dtype=np.int32)
        zones[: len(world.zones)] = world.zones
        hour, weekday = world.clock.read(zones[restaurant], time // _US_PER_S)
        known = has_clock[restaurant]
        of_clocks = {
            clock: np.where(known, values, -1).astype(np.int8) for clock, values in self._slots(hour, weekday).items()
        }
        ids = told.restaurants
        numbers = texts_to_ids(ids.to_list()) if ids.dtype == pl.String else ids.to_numpy()
        self._past = Past(self._counters, PastEvents(user, restaurant, code, time, of_clocks), numbers)

    def read(
        self, user: Numbers, restaurant: Numbers, time: Times, hour: Small, weekday: Small
    ) -> dict[str, pl.Series]:
        """Of each counter the column of N rows ``(N,)``, of who, where and when, and by the restaurant's clock."""
        found = self._past.rows(user, restaurant, time, self._slots(hour, weekday))
        return {name: pl.Series(found[:, place]) for place, name in enumerate(self._counters.names)}

    def _slots(self, hour: Small, weekday: Small) -> dict[str, Slots]:
        return {clock: slots(clock, hour, weekday) for clock in self._counters.clocks}


def write_events(told: Told, world: World, folder: Path) -> None:
    """Write ``events/``: what is counted, in the order of time, by the company's ids and kinds."""
    (folder / EVENTS).mkdir()
    kinds = pl.Series(world.asked.counted.kinds)
    for number, start in enumerate(range(0, len(told.events), EVENTS_PER_FILE)):
        rows = told.events[start : start + EVENTS_PER_FILE]
        columns = {
            "user_id": told.users.gather(rows["user"]),
            "restaurant_id": told.restaurants.gather(rows["restaurant"]),
            "event": kinds.gather(rows["code"]),
            "event_ts": rows["time"].cast(pl.Datetime("us", "UTC")),
        }
        columns |= {name: rows[name] for name in ("latitude", "longitude", "position") if name in rows.columns}
        write_table(pl.DataFrame(columns), folder / EVENTS / f"events_{number:04}.parquet")
