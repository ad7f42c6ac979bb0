"""The map of a company's files: which column means what, as frozen models."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, Field, model_validator

from data.log.counted import Counted
from data.log.values import STRICT, Kinds, Text
from data.sources import Source
from hexbite.counters.definitions import Counters
from hexbite.folder import VISIT
from hexbite.ids import IdKind

#: The farthest that a request may ask for, metres, as in the service.
MAX_RADIUS_M: Final = 50_000

#: Texts that mean that there is no value, unless a table says otherwise.
NULLS: Final = ("", "NULL", "null", "\\N", "None", "NaN", "nan", "N/A")

Unit = Literal["s", "ms", "us", "ns"]


class Clock(BaseModel):
    """How the times of a column are written.

    ``unit`` of numbers since 1970; ``format`` of texts that are not ISO 8601, as strftime has it; ``zone`` of times
    that tell no offset (UTC where it is absent).
    """

    model_config = STRICT
    unit: Unit | None = None
    format: str | None = None
    zone: str | None = None

    @model_validator(mode="after")
    def _has_one_clock(self) -> Self:
        if self.unit is not None and (self.format is not None or self.zone is not None):
            raise ValueError("unit is for numbers since 1970 in UTC: give no format and no zone beside it")
        return self


class Column(Source):
    """A column of the entities' own table; with ``path`` or ``query``, of a side table whose ``id`` names the entity.

    ``nulls`` are the side table's texts that stand for no value.
    """

    column: str | None = None
    id: str | None = None
    nulls: tuple[str, ...] = NULLS

    def check_source(self) -> None:
        """Raise ValueError where the keys do not say one side table, or say something of none."""
        if self.is_aside:
            super().check_source()
            if self.id is None:
                raise ValueError("id is wanted beside path or query: the column that names the entity")
            return
        said = sorted(self.model_fields_set & {*Source.model_fields, "id", "nulls"})
        if said:
            raise ValueError(f"{', '.join(said)} is said of a side table: give its path, or query")

    @property
    def is_aside(self) -> bool:
        """Whether the column is one of a side table."""
        return self.path is not None or self.query is not None


class Number(Column):
    """A number as it is."""

    kind: Literal["number"]
    fill: Literal["mean", "missing"] | float | None = None


class Boolean(Column):
    """1 for true, yes, t, y, 1; 0 for false, no, f, n, 0."""

    kind: Literal["boolean"]
    fill: Literal["mean", "missing"] | bool | float | None = None


class Category(Column):
    """An indicator a value; of more than 64 values the 63 most frequent, and ``other``."""

    kind: Literal["category"]
    fill: Text | None = None


class Categories(Column):
    """As `Category`, of a list in one text, of a real list, or of many rows of a side table."""

    kind: Literal["categories"]
    separator: str | None = Field(default=None, min_length=1)
    fill: Text | None = None


class Time(Column, Clock):
    """Its age in days at the split, negative after it; of a log without times, at the latest time of the column."""

    kind: Literal["time"]
    fill: Literal["mean", "missing"] | float | None = None


Feature = Annotated[Number | Boolean | Category | Categories | Time, Field(discriminator="kind")]


class Table(Source):
    """What users and restaurants have in common.

    ``ids`` are told by the column where the map does not say; ``nulls`` are texts that stand for no value.
    """

    id: str
    ids: IdKind | None = None
    nulls: tuple[str, ...] = NULLS
    features: dict[str, Feature] = Field(default_factory=dict)


class Placed(Table):
    """A table whose rows may say where they are."""

    latitude: str | None = None
    longitude: str | None = None

    @model_validator(mode="after")
    def _has_both(self) -> Self:
        _need_both(self, "latitude", "longitude")
        return self


class Users(Placed):
    """A row a person, and their home: where they were if no event says it."""


class Restaurants(Placed):
    """A row a restaurant; where it is may be told by the events instead."""

    time_zone: str | None = None


class Events(Source, Clock):
    """The log: a row an event.

    ``chosen`` is a column that says of each row, all of them shown, whether it was chosen: where it holds one of
    ``chosen_is``, by default a yes. Else ``kind`` is the column that says what happened, ``label`` the kinds that are a
    choice, ``shown`` those that something was shown by, and ``ignored`` those that are of no interest. Without any of
    them every row is a choice. A log may tell no ``time``.
    """

    user: str
    restaurant: str
    time: str | None = None
    chosen: str | None = None
    chosen_is: Kinds = ()
    kind: str | None = None
    label: Kinds = ()
    shown: Kinds = ()
    ignored: Kinds = ()
    list: str | None = None
    position: str | None = None
    latitude: str | None = None
    longitude: str | None = None
    restaurant_latitude: str | None = None
    restaurant_longitude: str | None = None
    nulls: tuple[str, ...] = NULLS

    @model_validator(mode="after")
    def _says_what_was_chosen(self) -> Self:
        _need_both(self, "latitude", "longitude")
        _need_both(self, "restaurant_latitude", "restaurant_longitude")
        if self.time is None and (self.unit, self.format, self.zone) != (None, None, None):
            raise ValueError("unit, format and zone say how times are written: name their column, as time")
        if self.chosen is not None and (self.kind is not None or self.label or self.shown or self.ignored):
            raise ValueError("chosen says it of each row: give no kind, label, shown or ignored beside it")
        if self.chosen is None and self.chosen_is:
            raise ValueError("chosen_is are values of a column: name it, as chosen")
        if self.chosen is not None and "chosen_is" in self.model_fields_set and not self.chosen_is:
            raise ValueError("chosen_is is empty: name the values that count as chosen, or leave it out for yes and no")
        if self.kind is None and (self.label or self.shown or self.ignored):
            raise ValueError("label, shown and ignored are values of a column: name it, as kind")
        if self.kind is not None and not self.label:
            raise ValueError("label is wanted beside kind: the values that count as chosen")
        named = [*self.label, *self.shown, *self.ignored]
        twice = sorted({value for value in named if named.count(value) > 1})
        if twice:
            raise ValueError(
                f"{', '.join(twice)} is named twice in label, shown and ignored; where all rows were shown, and some "
                "chosen, give chosen and chosen_is in place of kind"
            )
        return self

    @property
    def shows(self) -> bool:
        """Whether the log knows what something was chosen from."""
        return self.chosen is not None or bool(self.shown)


class Split(BaseModel):
    """``test``: the share of the choices that come last; or ``at``, the time from which on lists are test lists.

    ``history`` is the share of the other choices, the earliest, that tables of history are made of: train lists come
    after them. Of a log without times both are shares of the lists, drawn by a hash of each list's key and the seed.
    """

    model_config = STRICT
    test: float = Field(default=0.2, gt=0, lt=1)
    at: datetime | None = None
    history: float = Field(default=0.1, gt=0, lt=1)

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if self.at is not None and "test" in self.model_fields_set:
            raise ValueError("give test or at, not both")
        return self

    @property
    def at_utc(self) -> datetime | None:
        """``at`` in UTC, which it is in where it tells no offset."""
        if self.at is None:
            return None
        return self.at.replace(tzinfo=UTC) if self.at.tzinfo is None else self.at.astimezone(UTC)


class Lists(BaseModel):
    """How a log that knows what was shown becomes lists.

    ``join_h``: a choice without a list's id belongs to the person's latest impression of that restaurant, at most so
    many hours before. ``unchosen``: whether lists that nothing was chosen from are kept.
    """

    model_config = STRICT
    join_h: float = Field(default=24.0, gt=0, le=8_760)
    unchosen: Literal["keep", "leave out"] = "leave out"


class Standing(BaseModel):
    """For ``max_age_h`` hours a choice tells where the person stands."""

    model_config = STRICT
    max_age_h: float = Field(default=24.0, gt=0, le=8_760)


class Negatives(BaseModel):
    """Of a log that knows only what was chosen: up to ``count`` others within ``radius_m`` are drawn for each."""

    model_config = STRICT
    count: int = Field(default=20, ge=1, le=1_000)
    radius_m: int = Field(default=2_000, ge=1, le=MAX_RADIUS_M)


class Map(BaseModel):
    """All of it. ``history`` adds what is known from the earliest choices (docs/features.md)."""

    model_config = STRICT
    users: Users | None = None
    restaurants: Restaurants | None = None
    events: Events
    split: Split = Split()
    lists: Lists = Lists()
    standing: Standing = Standing()
    negatives: Negatives = Negatives()
    history: bool = False
    counters: Counted | None = None
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _knows_everything(self) -> Self:
        placed = self.restaurants is not None and self.restaurants.latitude is not None
        if not placed and self.events.restaurant_latitude is None:
            raise ValueError(
                "where restaurants are is wanted: latitude and longitude in [restaurants], or restaurant_latitude and "
                "restaurant_longitude in [events]"
            )
        for table, features in (("users", self.users), ("restaurants", self.restaurants)):
            if not self.history and not (features is not None and features.features):
                raise ValueError(
                    f"nothing is known of {table}: give [{table}.features], or history = true, which makes features of "
                    "the choices before the split"
                )
        if self.events.time is None:
            self._needs_no_time()
        others = sorted(set(self.counted.kinds) - {VISIT})
        if others and self.events.kind is None:
            raise ValueError(
                f"[counters] counts {', '.join(others)}, and [events] names no kind: each choice of such a log is a "
                f"{VISIT}"
            )
        return self

    @property
    def counted(self) -> Counters:
        """What is counted; nothing without a table of counters."""
        return Counters() if self.counters is None else self.counters.counters

    def _needs_no_time(self) -> None:
        """Raise ValueError where the map wants what only times can tell."""
        wanted = {
            "[split] at": self.split.at is not None,
            "[lists] join_h": "join_h" in self.lists.model_fields_set,
            "[standing] max_age_h": "max_age_h" in self.standing.model_fields_set,
            "[counters]": self.counters is not None,
        }
        for key, is_said in wanted.items():
            if is_said:
                raise ValueError(f"{key} is about times, and [events] names no time: name one, or leave {key} out")
        is_known = self.users is not None and bool(self.users.features)
        if self.events.shows and self.events.list is None and not is_known:
            raise ValueError(
                "without time and list all that a person was shown is one list, in one split, and history knows "
                "nothing of test people: give [users.features], or list or time in [events]"
            )
        is_placed = self.events.latitude is not None or (self.users is not None and self.users.latitude is not None)
        if not self.events.shows and not is_placed:
            raise ValueError(
                "without shown, chosen and time nothing tells where the person stood, and so what else was in reach: "
                "give latitude and longitude in [events] or [users], or what was shown"
            )


def _need_both(model: BaseModel, first: str, second: str) -> None:
    if (getattr(model, first) is None) != (getattr(model, second) is None):
        raise ValueError(f"{first} and {second} go together: give both or none")
