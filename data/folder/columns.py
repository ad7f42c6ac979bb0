"""A column of a file as an array, and its faults in words: the one way for whoever reads a data folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from hexbite.errors import Problem
from hexbite.features import Feature
from hexbite.geo import Degrees, Ids
from hexbite.ids import MAX_TEXT_BYTES, IdKind, text_fault, texts_to_ids
from hexbite.zones import available_names, zone_to_number

Mask = npt.NDArray[np.bool_]

#: What a column is to hold: ids of a kind (of `IdKind`), numbers, times, or the names of time zones.
Holding = Literal["integer", "text", "numbers", "degrees", "times", "zones"]

#: In place of an event time that the data does not tell.
NO_EVENT: Final = np.iinfo(np.int64).min

# 0001-01-01 and 9999-12-31: what Python's datetimes can tell, and well within Postgres's timestamps.
_FIRST_US: Final = -62_135_596_800_000_000
_LAST_US: Final = 253_402_300_799_999_999


class Fault(NamedTuple):
    """Rows ``(N,)`` of a column that cannot be used, and why."""

    column: str
    what: str
    rows: Mask


def wrong_type(dtype: pl.DataType, holding: Holding) -> str:
    """Why a column of this type cannot hold what it is to hold; empty where it can. A column of no type holds nulls."""
    if dtype == pl.Null:
        return ""
    match holding:
        case "numbers":
            return "" if dtype.is_numeric() or dtype == pl.Boolean else f"must hold numbers, not {_named(dtype)}"
        case "degrees":
            return "" if dtype.is_numeric() else f"must hold degrees, not {_named(dtype)}"
        case "times":
            return "" if dtype in (pl.Date, pl.Datetime) else f"must be a timestamp, not {_named(dtype)}"
        case "zones":
            return "" if is_text(dtype) else f"must hold names of time zones, not {_named(dtype)}"
        case "text":
            return "" if is_text(dtype) else f"must hold text, not {_named(dtype)}; these ids are text in every file"
    if dtype.is_integer():
        return ""
    hint = "where ids are text, they are in every file, and a schema.json says so in its ids"
    if dtype.is_float() or dtype.is_decimal():
        hint = "write the column as int64; where pandas made it so, a null was among them: leave such rows out"
    return f"must hold integers, not {_named(dtype)}; {hint}"


def is_text(dtype: pl.DataType) -> bool:
    """Whether a column holds text, by whatever encoding."""
    return dtype in (pl.String, pl.Categorical, pl.Enum)


def _named(dtype: pl.DataType) -> str:
    """A type in a word: an Enum would tell all of its categories, a Struct all of its fields."""
    return str(dtype.base_type()) if dtype.is_nested() or dtype in (pl.Enum, pl.Categorical) else str(dtype)


def feature_to_floats(series: pl.Series, feature: Feature) -> tuple[npt.NDArray[np.float32], list[Fault]]:
    """A feature's values ``(N,)`` float32, its fill where they are null."""
    values, is_null = _to_array(series)
    with np.errstate(over="ignore", invalid="ignore"):
        narrowed = values.astype(np.float32)
    faults = []
    if is_null.any():
        if feature.fill is None:
            faults.append(Fault(feature.name, "null without a fill", is_null))
        else:
            narrowed[is_null] = feature.fill
    if not np.isfinite(narrowed).all():
        faults += _not_finite(feature.name, values)
        too_large = ~np.isfinite(narrowed) & (np.isfinite(values) if values.dtype.kind == "f" else True)
        faults.append(Fault(feature.name, "beyond float32", too_large))
    return narrowed, [fault for fault in faults if fault.rows.any()]


def series_to_degrees(series: pl.Series, limit: float) -> tuple[Degrees, list[Fault]]:
    """Latitudes or longitudes ``(N,)`` float64, which lie within ``-limit..limit``."""
    return series_to_range(series, -limit, limit)


def series_to_range(series: pl.Series, low: float, high: float) -> tuple[npt.NDArray[np.float64], list[Fault]]:
    """Numbers ``(N,)`` float64 that lie within ``low..high``."""
    values, is_null = _to_array(series)
    numbers = values.astype(np.float64)
    outside = np.isfinite(numbers) & ((numbers < low) | (numbers > high))
    faults = [
        Fault(series.name, "null", is_null),
        *_not_finite(series.name, numbers),
        Fault(series.name, f"outside {low:,g}..{high:,g}", outside & ~is_null),
    ]
    return numbers, [fault for fault in faults if fault.rows.any()]


def count_exchanged(lats_deg: Degrees, lngs_deg: Degrees) -> int:
    """Rows whose latitude is none and would be a longitude, while the longitude would be a latitude.

    Where both lie within -90..90, either may be meant, and nothing can be told.
    """
    lats, lngs = np.abs(lats_deg), np.abs(lngs_deg)
    return int(np.count_nonzero((lats > 90) & (lats <= 180) & (lngs <= 90)))


def counted(name: str, counts: Mapping[tuple[str, str], int], exchanged: int, rows: int) -> list[Problem]:
    """A problem for each column and fault of a file's rows.

    Where most of them have latitude and longitude exchanged, that is said in the place of what follows from it.
    """
    if exchanged * 2 <= rows:
        return [Problem(name, *fault, count) for fault, count in counts.items() if count]
    positions = Problem(name, "latitude", "latitude and longitude look exchanged", exchanged)
    others = {fault: count for fault, count in counts.items() if fault[0] not in ("latitude", "longitude")}
    return [positions, *counted(name, others, 0, rows)]


def series_to_ids(series: pl.Series, kind: IdKind) -> tuple[Ids, list[Fault]]:
    """Ids ``(N,)`` int64, those of text by their hashes; 0 where there is none."""
    is_null = series.is_null().to_numpy()
    if kind == "text":
        ids, faults = _texts_to_ids(series)
    else:
        narrowed = series.cast(pl.Int64, strict=False)
        ids, faults = narrowed.fill_null(0).to_numpy(), []
        if narrowed.null_count() > series.null_count():
            faults.append(Fault(series.name, "beyond signed 64 bits", narrowed.is_null().to_numpy() & ~is_null))
    if is_null.any():
        faults.insert(0, Fault(series.name, "null", is_null))
    return ids, faults


def _texts_to_ids(series: pl.Series) -> tuple[Ids, list[Fault]]:
    texts = series.cast(pl.String).rename("text")
    sizes = texts.str.len_bytes()
    suspect = ((sizes == 0) | (sizes > MAX_TEXT_BYTES) | texts.str.contains("\0", literal=True)).fill_null(value=False)
    faults = []
    if suspect.any():
        why = np.array(
            [text_fault(text) if bad else "" for text, bad in zip(texts, suspect, strict=True)], dtype=object
        )
        faults = [Fault(series.name, what, why == what) for what in sorted(set(why) - {""})]
    # Each text is hashed once: in click rows the same ones come again and again.
    different = texts.drop_nulls().unique()
    hashes = pl.DataFrame({"text": different, "id": texts_to_ids(different.to_list())})
    found = texts.to_frame().join(hashes, on="text", how="left", maintain_order="left")["id"]
    return found.fill_null(0).to_numpy(), faults


def series_to_clicks(series: pl.Series) -> tuple[npt.NDArray[np.float32], list[Fault]]:
    """Clicks ``(N,)`` float32, 0 or 1."""
    values, is_null = _to_array(series)
    faults = [
        Fault(series.name, "null", is_null),
        Fault(series.name, "neither 0 nor 1", (values != 0) & (values != 1) & ~is_null),
    ]
    return values.astype(np.float32), [fault for fault in faults if fault.rows.any()]


def series_to_zones(series: pl.Series) -> tuple[npt.NDArray[np.float32], list[Fault]]:
    """The numbers ``(N,)`` that stand for time zones (ADR 15)."""
    names = series.cast(pl.String)
    numbers = {name: zone_to_number(name) for name in names.drop_nulls().unique() if name in available_names()}
    zones: npt.NDArray[np.float32] = np.array([numbers.get(name, np.nan) for name in names], dtype=np.float32)
    is_null = names.is_null().to_numpy()
    faults = [
        Fault(series.name, "null", is_null),
        Fault(series.name, "no time zone of the IANA database, such as Asia/Bangkok", np.isnan(zones) & ~is_null),
    ]
    return zones, [fault for fault in faults if fault.rows.any()]


def series_to_event_us(series: pl.Series) -> tuple[npt.NDArray[np.int64], list[Fault]]:
    """Microseconds since 1970 ``(N,)``, UTC; `NO_EVENT` where null. What lies beyond the calendar never overflows."""
    if series.dtype == pl.Null:
        return np.full(len(series), NO_EVENT), []
    ticks = series.to_physical().cast(pl.Int64).fill_null(0).to_numpy()
    unit = "d" if series.dtype == pl.Date else getattr(series.dtype, "time_unit", "us")
    if unit == "ns":
        events = ticks // 1_000
    else:
        us_per_tick = {"us": 1, "ms": 1_000, "d": 86_400_000_000}[unit]
        events = np.clip(ticks, _FIRST_US // us_per_tick - 1, _LAST_US // us_per_tick + 1) * us_per_tick
    outside = (events < _FIRST_US) | (events > _LAST_US)
    faults = [Fault(series.name, "before year 1 or after year 9999", outside)] if outside.any() else []
    return np.where(series.is_null().to_numpy(), NO_EVENT, events), faults


def _to_array(series: pl.Series) -> tuple[npt.NDArray[Any], Mask]:
    """Numbers ``(N,)`` in the narrowest of numpy's types that holds them, 0 where null, and which are null."""
    if series.dtype == pl.Boolean:
        series = series.cast(pl.UInt8)
    elif series.dtype == pl.Null or series.dtype == pl.Float16:
        series = series.cast(pl.Float32)
    elif series.dtype.is_decimal() or series.dtype in (pl.Int128, pl.UInt128):
        series = series.cast(pl.Float64)
    if not series.null_count():
        return series.to_numpy(), np.zeros(len(series), dtype=np.bool_)
    return series.fill_null(0).to_numpy(), series.is_null().to_numpy()


def _not_finite(column: str, values: npt.NDArray[Any]) -> list[Fault]:
    if values.dtype.kind != "f" or np.isfinite(values).all():
        return []
    return [Fault(column, "NaN", np.isnan(values)), Fault(column, "infinite", np.isinf(values))]
