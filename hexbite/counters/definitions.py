"""What is counted: of which events, by what, as which figure (ADR 17)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from itertools import chain
from typing import Any, Final, Self, TypeVar

from hexbite.counters.clocks import CLOCKS
from hexbite.errors import SchemaError


class By(StrEnum):
    """What events are counted together."""

    USER = "user"
    RESTAURANT = "restaurant"
    PAIR = "user+restaurant"
    PREVIOUS = "previous restaurant+restaurant"


class Figure(StrEnum):
    """What is told of the events that are counted together."""

    COUNT = "count"
    DECAYED = "decayed"
    DISTINCT = "distinct"
    SHARE = "share"
    SINCE_LAST = "days since last"
    SINCE_FIRST = "days since first"


#: The longest time that a person is said to come from a previous restaurant, in days.
PREVIOUS_DAYS: Final = 30.0

#: Days since what never happened, or happened longer ago.
FARTHEST_DAYS: Final = 1_000.0

# Half-lives below an hour say no more than the last time.
_HALF_LIVES: Final = (1 / 24, 10_000.0)

# Which coarser counts a share can be of.
_COARSER: Final = {
    By.USER: (By.USER,),
    By.RESTAURANT: (By.RESTAURANT,),
    By.PAIR: (By.USER, By.RESTAURANT, By.PAIR),
    By.PREVIOUS: (By.RESTAURANT, By.PREVIOUS),
}

# An event told late takes back a transition between the two around it: a count can be taken back, a time cannot.
_OF_PREVIOUS: Final = (Figure.COUNT, Figure.DECAYED, Figure.SHARE)

_MOST: Final = 128

_Kind = TypeVar("_Kind", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Counter:
    """One feature that is counted.

    ``events`` are the kinds of events that count; ``by`` is what they are counted by, and with a ``clock`` (of
    `CLOCKS`) only those of the same slot of the restaurant's clock as the moment that is asked about.
    ``half_life_days`` belongs to the decayed count; ``of`` is what a share is a share of, counted at any hour. With
    ``log`` the value is log(1 + count), or log(1 + hours) of a time.
    Raises SchemaError that names the counter where these do not go together.
    """

    name: str
    events: tuple[str, ...]
    by: By
    figure: Figure
    clock: str | None = None
    half_life_days: float | None = None
    of: By | None = None
    log: bool = False

    def __post_init__(self) -> None:
        if not self.events or any(not kind or not isinstance(kind, str) for kind in self.events):
            self._refuse('"events" names the kinds of events that count, one at the least')
        if len(set(self.events)) < len(self.events):
            self._refuse("an event is named twice")
        if self.clock is not None and self.clock not in CLOCKS:
            self._refuse(f"clock {self.clock!r}: there are {', '.join(CLOCKS)}")
        if (self.half_life_days is not None) != (self.figure is Figure.DECAYED):
            self._refuse(f'"half_life_days" belongs to the figure "{Figure.DECAYED}", and that needs it')
        low, high = _HALF_LIVES
        if self.half_life_days is not None and not low <= self.half_life_days <= high:
            self._refuse(f"half_life_days is between 1/24 and {high:,.0f}, not {self.half_life_days:g}")
        if (self.of is not None) != (self.figure is Figure.SHARE):
            self._refuse(f'"of" belongs to the figure "{Figure.SHARE}", and that needs it')
        if self.of is not None and self.of not in _COARSER[self.by]:
            self._refuse(f'a share by {self.by} is "of" {" or ".join(_COARSER[self.by])}, not {self.of}')
        if self.of is self.by and self.clock is None:
            self._refuse("a share of the same needs a clock: it is the share of one slot")
        if self.figure is Figure.SHARE and self.log:
            self._refuse("a share has no log")
        if self.figure is Figure.DISTINCT and (self.by not in (By.USER, By.RESTAURANT) or self.clock is not None):
            self._refuse("distinct are the restaurants of a user, or the users of a restaurant, at any hour")
        if self.by is By.PREVIOUS and self.figure not in _OF_PREVIOUS:
            self._refuse(
                f"by {self.by} there are {', '.join(_OF_PREVIOUS)}: an event told late takes a transition back"
            )

    def _refuse(self, why: str) -> None:
        raise SchemaError(f"counter {self.name}: {why}")


@dataclass(frozen=True, slots=True)
class Counters:
    """The counters of a schema, in order, and how far what belongs to places alone may lag.

    Places are known as of the last whole ``lag_s`` seconds since 1970; 0 where nothing lags. Raises SchemaError where a
    name repeats, or where counters by the previous restaurant are of different events.
    """

    counters: tuple[Counter, ...] = ()
    lag_s: float = 0.0

    def __post_init__(self) -> None:
        names = [counter.name for counter in self.counters]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise SchemaError(f"counters: {', '.join(twice)} is there more than once")
        if len(names) > _MOST:
            raise SchemaError(f"counters: {len(names)} are too many; {_MOST} at the most")
        visits = {frozenset(counter.events) for counter in self.counters if counter.by is By.PREVIOUS}
        if len(visits) > 1:
            raise SchemaError(f"counters by {By.PREVIOUS} are all of the same events: there is one previous restaurant")
        if not 0 <= self.lag_s <= 86_400 * 7:
            raise SchemaError(f"counters: lag_s is between 0 and a week, not {self.lag_s:g}")

    def __bool__(self) -> bool:
        return bool(self.counters)

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, in order."""
        return tuple(counter.name for counter in self.counters)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of events that any of them counts, in order of name; an event's code is its place here."""
        return tuple(sorted(set(chain.from_iterable(counter.events for counter in self.counters))))

    @property
    def visits(self) -> tuple[str, ...]:
        """The kinds of events that make a restaurant the previous one; empty where nothing is counted by it."""
        found = (counter.events for counter in self.counters if counter.by is By.PREVIOUS)
        return tuple(sorted(next(found, ())))

    @property
    def clocks(self) -> tuple[str, ...]:
        """The clocks that any of them is told by, in order of name."""
        return tuple(sorted({counter.clock for counter in self.counters if counter.clock is not None}))

    def definitions(self) -> list[dict[str, Any]]:
        """What the schema's fingerprint covers: every counter, without what is not set."""
        return [
            {key: _plain(value) for key, value in asdict(counter).items() if value is not None and value is not False}
            for counter in self.counters
        ]

    def to_json(self) -> dict[str, Any]:
        """What ``schema.json`` and the artifact hold."""
        return {"lag_s": self.lag_s, "features": self.definitions()}

    @classmethod
    def from_json(cls, document: Any) -> Self:
        """The inverse of `to_json`. Raises SchemaError that names what is malformed."""
        if not isinstance(document, Mapping) or not set(document) <= {"lag_s", "features"}:
            raise SchemaError('"counters" is an object with "features", a list, and "lag_s"')
        features, lag_s = document.get("features", ()), document.get("lag_s", 0.0)
        if not isinstance(features, list | tuple):
            raise SchemaError('"counters": "features" is a list')
        if isinstance(lag_s, bool) or not isinstance(lag_s, int | float):
            raise SchemaError('"counters": "lag_s" is a number of seconds')
        return cls(tuple(map(counter_from_json, features)), float(lag_s))


def _plain(value: Any) -> Any:
    """As JSON and YAML have it."""
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, StrEnum) else value


def counter_from_json(entry: Any) -> Counter:
    """A counter as `Counters.definitions` has it. Raises SchemaError that names it and what is malformed."""
    if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
        raise SchemaError(f'"counters": each is an object with a "name", not {entry!r}')
    name, known = entry["name"], {field.name for field in fields(Counter)}
    unknown = sorted(set(entry) - known)
    if unknown:
        raise SchemaError(f"counter {name}: unknown keys {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    events, half_life_days, log = entry.get("events"), entry.get("half_life_days"), entry.get("log", False)
    if not isinstance(events, list | tuple):
        raise SchemaError(f'counter {name}: "events" is a list of kinds of events')
    if half_life_days is not None and (isinstance(half_life_days, bool) or not isinstance(half_life_days, int | float)):
        raise SchemaError(f'counter {name}: "half_life_days" is a number')
    if not isinstance(log, bool):
        raise SchemaError(f'counter {name}: "log" is true or false')
    return Counter(
        name=name,
        events=tuple(events),
        by=_member(By, name, "by", entry.get("by")),
        figure=_member(Figure, name, "figure", entry.get("figure")),
        clock=entry.get("clock"),
        half_life_days=None if half_life_days is None else float(half_life_days),
        of=None if entry.get("of") is None else _member(By, name, "of", entry["of"]),
        log=log,
    )


def _member(kind: type[_Kind], name: str, key: str, value: Any) -> _Kind:
    try:
        return kind(value)
    except ValueError as error:
        raise SchemaError(f'counter {name}: "{key}" is one of {", ".join(kind)}, not {value!r}') from error


def default_counters(events: Iterable[str]) -> tuple[Counter, ...]:
    """What decides on real visits: what is known of the place, the person, both, and the way between two places."""
    kinds = tuple(events)
    return tuple(
        Counter(name, kinds, by, figure, **more)
        for name, by, figure, more in (
            ("place_visits", By.RESTAURANT, Figure.COUNT, {"log": True}),
            ("place_visitors", By.RESTAURANT, Figure.DISTINCT, {"log": True}),
            ("place_visits_30d", By.RESTAURANT, Figure.DECAYED, {"half_life_days": 30.0, "log": True}),
            ("place_visits_7d", By.RESTAURANT, Figure.DECAYED, {"half_life_days": 7.0, "log": True}),
            ("place_since", By.RESTAURANT, Figure.SINCE_LAST, {"log": True}),
            ("place_hour_share", By.RESTAURANT, Figure.SHARE, {"clock": "part of day", "of": By.RESTAURANT}),
            ("place_day_share", By.RESTAURANT, Figure.SHARE, {"clock": "weekend", "of": By.RESTAURANT}),
            ("own_visits", By.PAIR, Figure.COUNT, {"log": True}),
            ("own_since", By.PAIR, Figure.SINCE_LAST, {"log": True}),
            ("own_share", By.PAIR, Figure.SHARE, {"of": By.USER}),
            ("own_hour_share", By.PAIR, Figure.SHARE, {"clock": "part of day", "of": By.PAIR}),
            ("next_visits", By.PREVIOUS, Figure.COUNT, {"log": True}),
            ("person_visits", By.USER, Figure.COUNT, {"log": True}),
            ("person_places", By.USER, Figure.DISTINCT, {"log": True}),
            ("person_since", By.USER, Figure.SINCE_LAST, {"log": True}),
        )
    )
