"""Ids as the columns have them: which kind they are, and the values that can be one."""

from __future__ import annotations

from typing import Final

import polars as pl

from data.log.reading.columns import Sheet, samples_to_text
from hexbite.ids import MAX_TEXT_BYTES, IdKind

# No leading zeros and no plus: what is written so is one integer, and nothing else is.
_CANONICAL: Final = r"^(?:0|-?[1-9][0-9]{0,18})$"

# From here on a float64 is not one integer.
_EXACT: Final = float(2**53)


def infer_kind(sheet: Sheet, key: str, column: str) -> IdKind:
    """``integer`` where the column is of an integer type, or all its text is decimal and fits; else ``text``."""
    dtype = sheet.require(key, column)
    if dtype.is_integer() or dtype == pl.Null:
        return "integer"
    if dtype.is_float():
        values = pl.col(column).fill_nan(None)
        broken = values.filter((values.round() != values) | (values.abs() >= _EXACT))
        found = sheet.frame.select(broken.head(3)).collect(engine="streaming")[column]
        if len(found):
            raise sheet.fault(key, column, f"ids are no fractions and no large floats ({samples_to_text(found)})")
        return "integer"
    if dtype == pl.String or isinstance(dtype, pl.Enum | pl.Categorical):
        text = sheet.text(column)
        is_integer = text.str.contains(_CANONICAL) & text.cast(pl.Int64, strict=False).is_not_null()
        told = sheet.frame.select(all=is_integer.filter(text.is_not_null()).all(), count=text.count()).collect(
            engine="streaming"
        )
        return "integer" if told.item(0, "all") and told.item(0, "count") else "text"
    raise sheet.fault(key, column, f"ids are integers or text, not {dtype}")


def id_expression(sheet: Sheet, key: str, column: str, kind: IdKind) -> pl.Expr:
    """A column as int64 or as text, null where it holds no such id."""
    dtype = sheet.require(key, column)
    if kind == "text":
        # A float is what pandas makes of integers beside a null.
        text = sheet.text(column)
        return pl.when(
            text.str.len_bytes().is_between(1, MAX_TEXT_BYTES) & ~text.str.contains("\0", literal=True)
        ).then(text)
    if dtype.is_float():
        values = pl.col(column)
        return pl.when(values.abs() < _EXACT, values.round() == values).then(values.cast(pl.Int64, strict=False))
    if dtype.is_integer() or dtype == pl.Null:
        return pl.col(column).cast(pl.Int64, strict=False)
    text = sheet.text(column)
    return pl.when(text.str.contains(_CANONICAL)).then(text.cast(pl.Int64, strict=False))
