"""Times as companies write them, to UTC microseconds."""

from __future__ import annotations

import re
from typing import Final

import polars as pl

from data.log.map import Clock
from data.log.reading.columns import Sheet, samples_to_text
from hexbite.zones import available_names

_UTC: Final = pl.Datetime("us", "UTC")
_PER_S: Final = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}

# ISO 8601 in its common forms, after RFC 3339's own (``%+``), which is the fastest and takes most of them.
_FORMS: Final = (
    "%+",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M%:z",
    "%Y-%m-%d %H:%M%:z",
    "%Y%m%dT%H%M%S%:z",
    "%Y%m%dT%H%M%S",
    "%Y-%m-%d",
    "%Y%m%d",
)

# What the forms leave out: a comma before the fraction, a zone's name for UTC, an offset of hours alone (Postgres).
_SPELLINGS: Final = (
    (r",(\d+)", ".$1"),
    (r"\s*(UTC|GMT|Z|z)$", "+00:00"),
    (r"(\d)\s*([+-]\d{2})$", "$1$2:00"),
    (r"(\d)\s*([+-]\d{2})(\d{2})$", "$1$2:$3"),
)

# What Python's calendar holds, less a day for the sake of zones; polars counts further.
_FIRST_US: Final = -62_135_510_400_000_000
_LAST_US: Final = 253_402_214_400_000_000


def time_expression(sheet: Sheet, key: str, column: str, clock: Clock) -> pl.Expr:
    """A column as UTC timestamps, null where it holds none, and beyond the years 1 to 9999.

    A local time that occurs twice is the earlier one; one that is skipped is none. Raises DataError where the column's
    type says by itself that it holds no times, or where the map is wanted to say more.
    """
    dtype = sheet.require(key, column)
    if clock.zone is not None and clock.zone not in available_names():
        raise sheet.fault(key, column, f"zone {clock.zone!r} is no time zone, such as Europe/Berlin")
    if isinstance(dtype, pl.Datetime):
        values = pl.col(column).cast(pl.Datetime("us", dtype.time_zone))
        parsed = _to_utc(values, clock.zone) if dtype.time_zone is None else values.dt.convert_time_zone("UTC")
    elif dtype == pl.Date:
        parsed = _to_utc(pl.col(column).cast(pl.Datetime("us")), clock.zone)
    elif dtype.is_numeric():
        if clock.unit is None:
            raise sheet.fault(
                key, column, f'holds numbers{_looks_like(sheet, column)}; say unit = "s", "ms", "us" or "ns"'
            )
        parsed = _since_1970(pl.col(column), clock.unit)
    elif dtype == pl.String:
        text = sheet.text(column).str.strip_chars()
        if clock.unit is not None:
            parsed = _since_1970(text, clock.unit)
        else:
            parsed = text.map_batches(lambda texts: _parse(texts, clock), return_dtype=_UTC, is_elementwise=True)
    elif dtype == pl.Null:
        parsed = pl.lit(None, _UTC)
    else:
        raise sheet.fault(key, column, f"must hold times, not {dtype}")
    return pl.when(parsed.to_physical().is_between(_FIRST_US, _LAST_US)).then(parsed)


def _looks_like(sheet: Sheet, column: str) -> str:
    values = sheet.frame.select(pl.col(column).drop_nulls().head(2)).head(2).collect()[column]
    return f" such as {samples_to_text(values)}" if len(values) else ""


def _since_1970(values: pl.Expr, unit: str) -> pl.Expr:
    per_s = _PER_S[unit]
    # Integers stay integers: a float64 cannot hold nanoseconds.
    whole = values.cast(pl.Int64, strict=False)
    exact = whole * (1_000_000 // per_s) if per_s <= 1_000_000 else whole // (per_s // 1_000_000)
    parts = (values.cast(pl.Float64, strict=False) * (1_000_000 / per_s)).round().cast(pl.Int64, strict=False)
    # Beyond the calendar a product would run over; of nanoseconds there is none.
    fits = whole.abs() <= _LAST_US // (1_000_000 // per_s) if per_s <= 1_000_000 else pl.lit(value=True)
    is_whole = whole.cast(pl.Float64) == values.cast(pl.Float64, strict=False)
    micros = pl.when(is_whole & fits).then(exact).when(~is_whole | whole.is_null()).then(parts)
    return micros.cast(_UTC)


def _parse(texts: pl.Series, clock: Clock) -> pl.Series:
    if clock.format is not None:
        return _parse_format(texts, clock.format, clock.zone)
    parsed = texts.str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False)
    open_ = parsed.is_null() & texts.is_not_null()
    if not open_.any():
        return parsed
    places, left = open_.arg_true(), texts.filter(open_)
    for spelling, plain in _SPELLINGS:
        # A date's own day is no offset: what is mended has a time.
        left = pl.select(
            pl.when(left.str.contains(":|T")).then(left.str.replace(spelling, plain)).otherwise(left)
        ).to_series()
    for form in _FORMS:
        found = _parse_format(left, form, clock.zone)
        parsed = parsed.scatter(places.filter(found.is_not_null()), found.drop_nulls())
        places, left = places.filter(found.is_null()), left.filter(found.is_null())
        if left.is_empty():
            break
    return parsed


_OFFSET: Final = re.compile(r"%[#:]*z|%\+")
_HOUR: Final = re.compile(r"%[-_0]?[HITRsklcX]")


def _parse_format(texts: pl.Series, form: str, zone: str | None) -> pl.Series:
    if _OFFSET.search(form):
        return texts.str.to_datetime(form, time_unit="us", time_zone="UTC", strict=False)
    if _HOUR.search(form):
        local = texts.str.to_datetime(form, time_unit="us", strict=False)
    else:
        local = texts.str.to_date(form, strict=False).cast(pl.Datetime("us"))
    return local.to_frame("t").select(_to_utc(pl.col("t"), zone)).to_series()


def _to_utc(local: pl.Expr, zone: str | None) -> pl.Expr:
    return local.dt.replace_time_zone(zone or "UTC", ambiguous="earliest", non_existent="null").dt.convert_time_zone(
        "UTC"
    )
