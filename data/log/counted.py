"""The counters of a map: what is counted of a log's events, for each row as of its own moment (ADR 17)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, BeforeValidator, Field, InstanceOf, field_validator, model_validator

from data.log.values import STRICT, Kinds, to_kinds
from hexbite.counters.definitions import Counter, Counters, counter_from_json, default_counters
from hexbite.errors import SchemaError
from hexbite.features import CONTEXT, Feature

# Columns of the rows that counters are columns of, beside those that no feature can be called as.
_TAKEN: Final = frozenset({*CONTEXT, "list", "position", "time"})


def _to_counter(entry: Any) -> Counter:
    name = entry["name"]
    try:
        Feature(name)
        if name in _TAKEN:
            raise SchemaError("is the name of another column of the rows")
        events = entry.get("events")
        return counter_from_json(entry if events is None else entry | {"events": to_kinds(events)})
    except SchemaError as error:
        raise ValueError(str(error).removeprefix(f"counter {name}: ")) from error


class Counted(BaseModel):
    """``default`` are the kinds of events whose default set of counters is wanted, ``features`` more of them by name.

    Places are known as of the last whole ``lag_s`` seconds.
    """

    model_config = STRICT
    lag_s: float = Field(default=60.0, ge=0, le=604_800)
    default: Kinds = ()
    features: dict[str, Annotated[InstanceOf[Counter], BeforeValidator(_to_counter)]] = Field(default_factory=dict)

    @field_validator("features", mode="before")
    @classmethod
    def _gives_names(cls, features: Any) -> Any:
        if not isinstance(features, Mapping):
            return features
        for name, entry in features.items():
            if not isinstance(entry, Mapping) or "name" in entry:
                raise ValueError(f"{name} is a table without a name of its own, such as {{ events = […], by = … }}")
        return {name: {"name": name, **entry} for name, entry in features.items()}

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if not self.default and not self.features:
            raise ValueError("counts nothing: give default, the kinds of events that count, or [counters.features]")
        try:
            _ = self.counters
        except SchemaError as error:
            raise ValueError(str(error).removeprefix("counters: ")) from error
        return self

    @cached_property
    def counters(self) -> Counters:
        """All of them, the default set first."""
        default = default_counters(self.default) if self.default else ()
        return Counters((*default, *self.features.values()), self.lag_s)
