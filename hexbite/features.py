"""What a model is fed: three ordered groups of named features.

The same object travels from the data folder (``schema.json``) through the trainer and the published artifact to the
service, so that a row means the same wherever it is assembled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from hexbite.counters.definitions import Counters
from hexbite.errors import SchemaError
from hexbite.ids import IdKinds
from hexbite.zones import LocalTimes

Matrix = npt.NDArray[np.float32]

GROUPS: Final = ("user", "restaurant", "context")

#: What a request can tell of a restaurant, and so the names that a context feature may have: columns of the train rows,
#: computed at request time. Great-circle metres from the person to the restaurant, and log(100 + metres), which tells
#: 1 km from 2 as it tells 5 from 10; hour (0 to 23) and weekday (0, a Monday, to 6) by the restaurant's own clock.
DISTANCE_M: Final = "distance_m"
LOG_DISTANCE_M: Final = "log_distance_m"
HOUR: Final = "hour"
WEEKDAY: Final = "weekday"
CONTEXT: Final = (DISTANCE_M, LOG_DISTANCE_M, HOUR, WEEKDAY)

#: A column of the restaurant table: an IANA zone, such as Asia/Bangkok. Wanted where the context tells local time.
TIME_ZONE: Final = "time_zone"

#: Names that are columns of the files with a meaning of their own, and so cannot be features.
RESERVED: Final = frozenset(
    {"user_id", "restaurant_id", "click", "latitude", "longitude", "event_ts", "h3_cell", "schema_id", TIME_ZONE}
)


# Nearer than this many metres nobody cares.
_NEAR_M: Final = 100.0


def to_log_distance(distance_m: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """`LOG_DISTANCE_M` of N distances in metres ``(N,)``."""
    return np.log(_NEAR_M + distance_m.astype(np.float64))


@dataclass(frozen=True, slots=True)
class Feature:
    """One number of a row.

    ``fill`` stands in where the value is missing (null); None means that a missing value is an error.
    """

    name: str
    fill: float | None = None
    description: str = ""

    def __post_init__(self) -> None:
        if not self.name or not self.name.isidentifier():
            raise SchemaError(f"feature name {self.name!r} is not an identifier; use letters, digits and _")
        if self.name in RESERVED:
            raise SchemaError(f"feature name {self.name!r} is taken by a column with a meaning of its own")
        if self.fill is not None and not abs(self.fill) <= float(np.finfo(np.float32).max):
            raise SchemaError(f"feature {self.name}: its fill must be a finite float32, not {self.fill}")


@dataclass(frozen=True, slots=True)
class FeatureSchema:
    """Ordered features in the three groups; a row is ``[user | restaurant | context]``.

    ``ids`` says what the ids of the rows are. What is counted is context too: the context ends with a feature for each
    of the ``counters`` (`with_counters` makes it so). Raises SchemaError where a name repeats within a group, where the
    user or restaurant group is empty, or where context and counters disagree.
    """

    user: tuple[Feature, ...]
    restaurant: tuple[Feature, ...]
    context: tuple[Feature, ...] = ()
    ids: IdKinds = field(default_factory=IdKinds)
    counters: Counters = field(default_factory=Counters)

    def __post_init__(self) -> None:
        if self.counters and self.names("context")[-len(self.counters.names) :] != self.counters.names:
            raise SchemaError("the context group ends with the counters, in their order")
        # Names may repeat between the user's and the restaurant's table (f00 in both), not within one.
        for group in GROUPS:
            names = self.names(group)
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise SchemaError(f"the {group} group names {', '.join(twice)} more than once")
        for group in ("user", "restaurant"):
            if not self.group(group):
                raise SchemaError(f"the {group} group is empty; a schema needs at least one feature in it")

    def group(self, name: str) -> tuple[Feature, ...]:
        """The features of ``user``, ``restaurant`` or ``context``, in order."""
        if name not in GROUPS:
            raise SchemaError(f"no feature group {name!r}: there are {', '.join(GROUPS)}")
        features: tuple[Feature, ...] = getattr(self, name)
        return features

    def names(self, group: str) -> tuple[str, ...]:
        """The names of a group's features, in order."""
        return tuple(feature.name for feature in self.group(group))

    def fills(self, group: str) -> tuple[float | None, ...]:
        """The fill of each of a group's features, in order; None where missing is an error."""
        return tuple(feature.fill for feature in self.group(group))

    @property
    def width(self) -> int:
        """Length of an assembled row."""
        return len(self.user) + len(self.restaurant) + len(self.context)

    @property
    def fingerprint(self) -> str:
        """Sha-256 (64 hex digits) of groups, names, order and kinds of ids alone: fills and descriptions may change."""
        said: dict[str, Any] = {group: self.names(group) for group in GROUPS}
        if self.ids != IdKinds():  # schemas from before there were others keep theirs
            said["ids"] = self.ids._asdict()
        if self.counters:
            said["counters"] = self.counters.definitions()
        return hashlib.sha256(json.dumps(said, separators=(",", ":")).encode()).hexdigest()

    @property
    def tells_local_time(self) -> bool:
        """Whether a context feature is told by the restaurant's clock, so that its zone has to be known."""
        return not {HOUR, WEEKDAY}.isdisjoint(self.names("context")) or bool(self.counters.clocks)

    @property
    def requested(self) -> tuple[Feature, ...]:
        """The context features that are no counters: those of `CONTEXT`, which a request tells by itself."""
        return self.context[: len(self.context) - len(self.counters.names)]

    def with_counters(self, counters: Counters) -> Self:
        """The same schema with other counters, behind what a request tells by itself."""
        counted = tuple(Feature(name) for name in counters.names)
        return replace(self, context=(*self.requested, *counted), counters=counters)

    @property
    def stored_restaurant_names(self) -> tuple[str, ...]:
        """What the store holds of a restaurant, in order: its features and, where that is wanted, its zone's number."""
        return (*self.names("restaurant"), *((TIME_ZONE,) if self.tells_local_time else ()))

    def assemble(self, user: Matrix, restaurants: Matrix, context: Matrix) -> Matrix:
        """Rows for the ranker: ``(U,)`` or ``(N, U)``, ``(N, R)`` and ``(N, C)`` float32 to ``(N, U+R+C)`` float32.

        A single user's row is repeated for each restaurant. Raises SchemaError where a width is not the schema's.
        """
        for group, block in zip(GROUPS, (user, restaurants, context), strict=True):
            if block.shape[-1] != len(self.group(group)):
                raise SchemaError(
                    f"{group} rows hold {block.shape[-1]} features, the schema names {len(self.group(group))}"
                )
        rows = np.empty((len(restaurants), self.width), dtype=np.float32)
        users_end, restaurants_end = len(self.user), len(self.user) + len(self.restaurant)
        rows[:, :users_end] = user
        rows[:, users_end:restaurants_end] = restaurants
        rows[:, restaurants_end:] = context
        return rows

    def context_rows(
        self, distance_m: npt.NDArray[np.float64], local: LocalTimes | None = None, counted: Matrix | None = None
    ) -> Matrix:
        """The context block of N restaurants ``(N, C)`` float32, from what a request knows.

        ``local`` is wanted where the schema `tells_local_time`, ``counted`` ``(N, K)`` where it has counters. Raises
        SchemaError where the schema names a context feature that no request can tell.
        """
        known: dict[str, npt.NDArray[Any]] = {DISTANCE_M: distance_m}
        if LOG_DISTANCE_M in self.names("context"):
            known[LOG_DISTANCE_M] = to_log_distance(distance_m)
        if local is not None:
            known |= {HOUR: local.hour, WEEKDAY: local.weekday}
        rows = np.empty((len(distance_m), len(self.context)), dtype=np.float32)
        for column, feature in enumerate(self.requested):
            if feature.name not in known:
                raise SchemaError(f"context feature {feature.name!r} cannot be computed from a request")
            rows[:, column] = known[feature.name]
        if counted is not None:
            rows[:, len(self.requested) :] = counted
        return rows

    def to_json(self) -> dict[str, Any]:
        """What ``schema.json`` and the artifact hold."""
        ids = {} if self.ids == IdKinds() else {"ids": self.ids._asdict()}
        counters = {"counters": self.counters.to_json()} if self.counters else {}
        groups = {"user": self.user, "restaurant": self.restaurant, "context": self.requested}
        return (
            ids
            | {
                name: [
                    {"name": feature.name, "fill": feature.fill, "description": feature.description}
                    for feature in features
                ]
                for name, features in groups.items()
            }
            | counters
        )

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`. Raises SchemaError that names what is malformed."""
        if not isinstance(document, Mapping):
            raise SchemaError(f"a schema is an object with the groups {', '.join(GROUPS)}")
        unknown = sorted(set(document) - {*GROUPS, "ids", "counters"})
        if unknown:
            raise SchemaError(
                f"unknown feature groups {', '.join(unknown)}: there are {', '.join(GROUPS)}, ids and counters"
            )
        user, restaurant, context = (tuple(_features(group, document.get(group, ()))) for group in GROUPS)
        schema = cls(user, restaurant, context, _id_kinds(document.get("ids", {})))
        return schema.with_counters(Counters.from_json(document["counters"])) if "counters" in document else schema

    @classmethod
    def from_names(cls, user: Iterable[str], restaurant: Iterable[str], context: Iterable[str] = ()) -> Self:
        """A schema of bare names: no fills, so that every missing value is an error."""
        return cls(
            tuple(Feature(name) for name in user),
            tuple(Feature(name) for name in restaurant),
            tuple(Feature(name) for name in context),
        )


def _id_kinds(entry: Any) -> IdKinds:
    kinds = ("integer", "text")
    if (
        not isinstance(entry, Mapping)
        or not set(entry) <= set(IdKinds._fields)
        or any(kind not in kinds for kind in entry.values())
    ):
        raise SchemaError(f'"ids" says of user and restaurant whether they are "integer" or "text", not {entry!r}')
    return IdKinds(**entry)


def _features(group: str, entries: Any) -> Iterable[Feature]:
    if not isinstance(entries, list | tuple):
        raise SchemaError(f"group {group!r} must be a list of features")
    for entry in entries:
        if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
            raise SchemaError(f'group {group!r}: each feature is an object with a "name", not {entry!r}')
        unknown = sorted(set(entry) - {"name", "fill", "description"})
        if unknown:
            raise SchemaError(f"group {group!r}, feature {entry['name']}: unknown keys {', '.join(unknown)}")
        fill = entry.get("fill")
        if fill is not None and (isinstance(fill, bool) or not isinstance(fill, int | float)):
            raise SchemaError(f"group {group!r}, feature {entry['name']}: fill must be a number or null")
        yield Feature(entry["name"], _fill(entry["name"], fill), str(entry.get("description") or ""))


def _fill(name: str, fill: float | None) -> float | None:
    try:
        return None if fill is None else float(fill)
    except OverflowError as error:  # an integer of JSON has no bounds
        raise SchemaError(f"feature {name}: its fill is beyond float32") from error
