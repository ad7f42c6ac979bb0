"""How the times of a column are written."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

import polars as pl

from data.draft.survey import Column
from data.draft.words import TIME, name_to_words

_ISO: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}([.,]\d+)?)?\s*(?P<offset>Z|z|UTC|GMT|[+-]\d{2}(:?\d{2})?)?)?"
)

# strftime's forms of what is no ISO 8601. Of those that differ in what comes first, day or month, the values decide.
_FORMATS: Final = (
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y",
    "%d/%m/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M",
    "%d/%m/%Y",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M",
    "%m/%d/%Y",
    "%d-%m-%Y %H:%M:%S",
    "%d-%m-%Y %H:%M",
    "%d-%m-%Y",
    "%m-%d-%Y %H:%M:%S",
    "%m-%d-%Y %H:%M",
    "%m-%d-%Y",
    "%d/%m/%Y %I:%M:%S %p",
    "%d/%m/%Y %I:%M %p",
    "%m/%d/%Y %I:%M:%S %p",
    "%m/%d/%Y %I:%M %p",
    "%d %b %Y %H:%M:%S",
    "%d %b %Y %H:%M",
    "%d %b %Y",
    "%b %d, %Y %H:%M:%S",
    "%b %d, %Y",
    "%a %b %d %H:%M:%S %z %Y",
    "%a, %d %b %Y %H:%M:%S %z",
    "%d/%b/%Y:%H:%M:%S %z",
)
_UNITS: Final = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}

# The years 2000 to 2040, in seconds since 1970.
_FIRST_S: Final = 946_684_800.0
_LAST_S: Final = 2_208_988_800.0

_MOST: Final = 0.99


class Written(NamedTuple):
    """The keys of a map that tell how times are written, what to say of them, and whether that is sure."""

    keys: dict[str, Any]
    why: str
    is_sure: bool = True


def tell_times(column: Column) -> Written | None:
    """How a column writes times, None where it holds none."""
    if column.dtype == pl.Date:
        return Written({}, "dates")
    if isinstance(column.dtype, pl.Datetime):
        if column.dtype.time_zone:
            return Written({}, "timestamps with a zone")
        return Written({"zone": "UTC"}, "timestamps without a zone: which one?", is_sure=False)
    if column.is_number:
        return _tell_numbers(column)
    if column.dtype != pl.String or not column.values:
        return None
    matches = [_ISO.fullmatch(value) for value in column.values]
    found = [match for match in matches if match]
    if len(found) >= _MOST * len(matches):
        if all(match["offset"] for match in found):
            return Written({}, f"ISO 8601 with an offset, such as {column.values[0]}")
        return Written(
            {"zone": "UTC"}, f"ISO 8601 without an offset, such as {column.values[0]}: which zone?", is_sure=False
        )
    return _tell_format(column)


def _tell_numbers(column: Column) -> Written | None:
    if column.least is None or column.greatest is None:
        return None
    numbers = pl.Series(column.values).cast(pl.Float64, strict=False)
    for unit, per_s in _UNITS.items():
        # A few may be none: a clock that stood at 1970.
        # By polars' types the mean of booleans may also be a time.
        if float(numbers.is_between(_FIRST_S * per_s, _LAST_S * per_s).mean() or 0.0) >= _MOST:  # type: ignore[arg-type]
            # Integers of ten digits may be anything: a name has to say that they are times.
            if unit == "s" and not name_to_words(column.name) & TIME:
                return None
            return Written({"unit": unit}, f"numbers such as {column.values[0]}: since 1970, by their size in {unit}")
    return None


def _tell_format(column: Column) -> Written | None:
    texts = pl.Series(column.values)
    fits = [form for form in _FORMATS if _share(texts, form) >= _MOST]
    if not fits:
        return None
    keys: dict[str, Any] = {"format": fits[0]}
    if "%z" not in fits[0]:
        keys["zone"] = "UTC"
    example = f"such as {column.values[0]}"
    if len(fits) > 1:
        return Written(keys, f"{example}: day or month first? {' or '.join(fits)}", is_sure=False)
    if "zone" in keys:
        return Written(keys, f"{example}, without an offset: which zone?", is_sure=False)
    return Written(keys, example)


def _share(texts: pl.Series, form: str) -> float:
    parse = texts.str.to_datetime if "%H" in form or "%I" in form else texts.str.to_date
    return 1 - parse(form, strict=False).null_count() / len(texts)
