"""Which feature a column makes, or why it makes none."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple
from zoneinfo import available_timezones

import polars as pl

from data.draft.survey import Column
from data.draft.times import tell_times
from data.draft.words import is_hours, name_to_words

# Up to so many values have an indicator each.
_INDICATORS: Final = 64

# A category with more values than these says little: most of them are rare.
_MANY: Final = 1_000

# Years up to this are what forms write where nobody said when they were born.
_FIRST_BIRTH: Final = 1_910

_TRUTHS: Final = frozenset(["true", "false", "yes", "no", "t", "f", "y", "n", "1", "0", "1.0", "0.0"])

# More of a column missing than this is worth an indicator.
_OFTEN: Final = 0.05

_MOST: Final = 0.9

_SEPARATORS: Final = (";", "|", ",", "/")

_DEGREES: Final = r"-?\d{1,3}\.\d+"

# Texts that make no feature, and why; of personal data no example is shown.
_POSITION: Final = "a whole position in one text"
_PERSONAL: Final = "personal data"
_UNFIT: Final = {
    r"https?://.*|www\..*": "web addresses",
    r"[^@\s]+@[^@\s]+\.\w+": f"mail addresses, {_PERSONAL}",
    r"\+?\d[\d\s()/-]{8,}": f"telephone numbers or the like, {_PERSONAL}",
    rf"\(?{_DEGREES}\s*[,;| ]\s*{_DEGREES}\)?": _POSITION,
    r"(SRID=\d+;)?\s*(POINT|POLYGON|MULTI\w+|LINESTRING).*": _POSITION,
    r"0[01]010000[02]0[0-9A-F]{20,}": _POSITION,
    r"[\[{].*[\]}]": "JSON, or a list, in one text",
    r"-?\d+,\d+": "numbers with a decimal comma: write them with a point",
    r".*\d{1,2}([:.h]\d{2})?\s*(am|pm|uhr)?\s*(-|\u2013|to|bis)\s*\d{1,2}([:.h]\d{2})?.*": "opening hours",
}


class Guess(NamedTuple):
    """The ``keys`` of a feature, None where a column makes none; and ``why``."""

    keys: dict[str, Any] | None
    why: str
    is_sure: bool = True


def guess_feature(column: Column) -> Guess:
    """What a column of a table of users or restaurants is good for."""
    if column.filled == 0:
        return Guess(None, "no value in any row")
    if is_hours(column.name):
        return Guess(None, "opening hours, by its name")
    if isinstance(column.dtype, pl.List | pl.Array):
        return _guess_lists(column)
    if not column.values:
        return Guess(None, f"{column.dtype}, which is no feature")
    if column.distinct == 1 and not column.nulls:
        return Guess(None, f"the same in every row: {column.values[0]}")
    if isinstance(column.dtype, pl.Duration | pl.Time):
        return Guess(None, f"{column.dtype}, which is no feature")
    if column.dtype == pl.Boolean or _are_truths(column):
        return _with_fill(column, {"kind": "boolean"}, _counted(column))
    written = tell_times(column)
    if written is not None:
        return _with_fill(column, {"kind": "time"} | written.keys, written.why, is_sure=written.is_sure)
    return _guess_number(column) if column.is_number else _guess_text(column)


def is_zone(column: Column) -> bool:
    """Whether a column names time zones, such as Europe/Berlin."""
    return bool(column.values) and set(column.values) <= available_timezones() and any("/" in v for v in column.values)


def holds_both_coordinates(column: Column) -> bool:
    """Whether a column's text is a whole position, which a map cannot use."""
    return _unfit(column) == _POSITION


def _are_truths(column: Column) -> bool:
    values = {value.lower() for value in column.counts}
    return 0 < len(values) <= 4 and values <= _TRUTHS and column.distinct > 1


def _guess_number(column: Column) -> Guess:
    words = name_to_words(column.name)
    span = f"{_short(column.least)} to {_short(column.greatest)}"
    if column.dtype == pl.String and any(re.fullmatch(r"-?0\d+", value) for value in column.values):
        example = next(value for value in column.values if re.fullmatch(r"-?0\d+", value))
        return _guess_category(column, f"{column.distinct:,} codes such as {example}")
    is_whole = column.wholes == column.numbers
    if is_whole and words & {"id", "ids", "uuid", "key", "code", "zip", "plz", "postcode", "postal"}:
        if column.distinct <= _INDICATORS:
            return _guess_category(column, f"{column.distinct} numbers that look like names", is_sure=False)
        return Guess(None, f"looks like the id of something else, {column.distinct:,} of them")
    if is_whole and column.is_unique and column.rows > _INDICATORS:
        return Guess(None, "a number of its own in every row: an id")
    odd = _odd_numbers(column)
    if odd:
        rows = sum(column.counts.get(value, 1) for value in odd)
        span += f"; {rows:,} far below the others ({', '.join(odd[:3])}): does it stand for no value?"
    return _with_fill(column, {"kind": "number"}, span, is_sure=not odd)


def _odd_numbers(column: Column) -> list[str]:
    """Values far below nearly all others: a -1 among ratings, metres among centimetres, the year 1900."""
    numbers = pl.Series(column.values).cast(pl.Float64, strict=False)
    low, high = numbers.quantile(0.05), numbers.quantile(0.95)
    if low is None or high is None or column.distinct < 8:
        return []
    bar = low - (high - low)
    is_birth = bool(name_to_words(column.name) & {"birth", "born"})
    return [
        value
        for value, number in zip(column.values, numbers, strict=True)
        if number is not None and (number < bar or (number < 0 < low) or (is_birth and number <= _FIRST_BIRTH))
    ]


def _guess_text(column: Column) -> Guess:
    unfit = _unfit(column)
    if unfit is not None:
        return Guess(None, unfit if _PERSONAL in unfit else f"{unfit}, such as {column.values[0]}")
    if column.numbers >= _MOST * column.filled:
        others = [value for value in column.values if not _is_number(value)][:3]
        return Guess(
            None,
            f"numbers, but {column.filled - column.numbers:,} rows hold something else ({', '.join(others)}): name it "
            "in nulls where it stands for no value",
        )
    separator = _separator(column)
    if separator is not None:
        elements = _elements(column.values, separator)
        return _with_fill(
            column, {"kind": "categories", "separator": separator}, f"lists of {len(elements):,} different values"
        )
    longest = max(map(len, column.values))
    if longest > 60 and column.distinct > _INDICATORS:
        return Guess(None, "free text")
    return _guess_category(column, f"{column.distinct:,} values")


def _guess_category(column: Column, why: str, *, is_sure: bool = True) -> Guess:
    if column.distinct > _MANY or column.distinct > max(_MOST * column.filled / 2, 2):
        return Guess(None, f"{column.distinct:,} values in {column.filled:,} rows: names, or ids of something else")
    if column.distinct > _INDICATORS:
        why += f": the {_INDICATORS - 1} most frequent, and other"
    elif column.counts:
        why += f": {_counted(column)}"
    return _with_fill(column, {"kind": "category"}, why, is_sure=is_sure)


def _guess_lists(column: Column) -> Guess:
    if not column.values:
        return Guess(None, f"{column.dtype}, which is no feature")
    unfit = _unfit(column)
    if unfit is not None:
        return Guess(None, f"lists of {unfit}")
    if len(column.values) > _MANY:
        return Guess(None, f"lists of {len(column.values):,} different values and more")
    return _with_fill(column, {"kind": "categories"}, f"lists of {len(column.values):,} different values")


def _with_fill(column: Column, keys: dict[str, Any], why: str, *, is_sure: bool = True) -> Guess:
    if not column.nulls:
        return Guess(keys, why, is_sure)
    often = column.nulls > _OFTEN * column.rows
    why += f"; {column.nulls:,} of {column.rows:,} rows have none"
    if often:
        return Guess(keys | {"fill": "missing"}, why, is_sure)
    # A null is no indicator at all, which is right for the few.
    return Guess(keys if keys["kind"] in ("category", "categories") else keys | {"fill": "mean"}, why, is_sure)


def _unfit(column: Column) -> str | None:
    values = column.values
    for pattern, what in _UNFIT.items():
        matching = re.compile(pattern, re.IGNORECASE | re.DOTALL)
        if values and sum(bool(matching.fullmatch(value)) for value in values) >= _MOST * len(values):
            return what
    return None


def _separator(column: Column) -> str | None:
    """What separates the elements of lists in text: in many rows, and elements that come again."""
    for separator in _SEPARATORS:
        with_it = sum(separator in value for value in column.values)
        elements = _elements(column.values, separator)
        is_short = all(len(element.split()) <= 4 for element in elements)
        if (
            with_it >= 0.2 * len(column.values)
            and is_short
            and len(elements) <= max(_INDICATORS, len(column.values) / 2)
        ):
            total = sum(value.count(separator) + 1 for value in column.values)
            if total >= 1.5 * len(elements):
                return separator
    return None


def _elements(values: list[str], separator: str) -> set[str]:
    return {element.strip() for value in values for element in value.split(separator) if element.strip()}


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _counted(column: Column) -> str:
    """The most frequent values and their rows."""
    shown = [f"{value} {count:,}" for value, count in list(column.counts.items())[:4]]
    return ", ".join(shown) + (", …" if len(column.counts) > len(shown) else "")


def _short(number: float | None) -> str:
    return "-" if number is None else f"{number:,.6g}"
