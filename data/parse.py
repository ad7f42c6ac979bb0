"""Check-ins in SNAP's layout to typed columns: what cannot be used is counted by kind, and never stops the rest."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections import Counter
from pathlib import Path
from typing import Final

import polars as pl

from hexbite.errors import DataError

#: Rows left out or mended, by kind.
Dirt = Counter[str]

_GZIP_MAGIC: Final = b"\x1f\x8b"

# Ids that are no decimal integer but a long hexadecimal digest (Brightkite's venues) keep their last 60 bits.
_DIGEST: Final = r"^[0-9a-fA-F]{16,}$"
_DIGEST_DIGITS: Final = 15
# A digest of zeros alone is how Brightkite writes that there is no venue.
_NO_DIGEST: Final = "^0{16,}$"


def read_checkins(path: Path) -> tuple[pl.DataFrame, Dirt]:
    """Check-ins ``user_id``, ``time`` (UTC), ``latitude``, ``longitude`` (degrees), ``venue_id``, sorted by the
    first, the second and the last; and what was dirty.

    Plain or gzip, told by content; tab-separated without a header; blank lines, CRLF and a byte order mark do no harm.
    A row counts under its first fault only; a repeated (user, time, venue) counts as a duplicate, the first one stays.
    Raises DataError where the file cannot be read or no row is left.
    """
    names = ("user_id", "time", "latitude", "longitude", "venue_id")
    rows, dirt = _read_fields(path, names)
    typed = rows.select(
        _id("user_id"),
        _time("time"),
        _number("latitude"),
        _number("longitude"),
        _id("venue_id"),
        short=pl.col("venue_id").is_null(),
    )
    del rows
    faults = {
        "short rows": pl.col("short"),
        "unparsable user ids": pl.col("user_id").is_null(),
        "unparsable times": pl.col("time").is_null(),
        "unparsable coordinates": _no_coordinates(),
        "unparsable venue ids": pl.col("venue_id").is_null(),
        "coordinates out of range": _out_of_range(),
    }
    clean = _leave_out(typed, faults, dirt).drop("short")
    key = ["user_id", "time", "venue_id"]
    single = clean.unique(key, keep="first", maintain_order=True)
    dirt["duplicates"] = len(clean) - len(single)
    if single.is_empty():
        raise DataError(f"holds no usable check-in; found {dirt_to_text(dirt)}", path=path)
    return single.sort(key), dirt


def read_venues(path: Path) -> tuple[pl.DataFrame, Dirt]:
    """Venues ``venue_id``, ``latitude``, ``longitude`` (degrees), one row an id; names are read past.

    As `read_checkins`; the first row of a repeated id stays.
    """
    rows, dirt = _read_fields(path, ("venue_id", "name", "latitude", "longitude"))
    typed = rows.select(_id("venue_id"), _number("latitude"), _number("longitude"), short=pl.col("longitude").is_null())
    faults = {
        "short rows": pl.col("short"),
        "unparsable venue ids": pl.col("venue_id").is_null(),
        "unparsable coordinates": _no_coordinates(),
        "coordinates out of range": _out_of_range(),
    }
    clean = _leave_out(typed, faults, dirt).drop("short")
    single = clean.unique("venue_id", keep="first", maintain_order=True)
    dirt["duplicates"] = len(clean) - len(single)
    return single, dirt


def dirt_to_text(dirt: Dirt) -> str:
    """``3 short rows, 1 duplicates``, or ``nothing dirty``."""
    return ", ".join(f"{count:,} {kind}" for kind, count in dirt.items() if count) or "nothing dirty"


def _read_fields(path: Path, names: tuple[str, ...]) -> tuple[pl.DataFrame, Dirt]:
    # A header of our own fixes the number of columns, whatever the first row has: one more than the layout's, so that
    # a row with too many fields can be counted.
    columns = (*names, "surplus")
    content = "\t".join(columns).encode() + b"\n" + _read_bytes(path).removeprefix(codecs.BOM_UTF8)
    try:
        rows = pl.read_csv(
            io.BytesIO(content),
            separator="\t",
            schema=dict.fromkeys(columns, pl.String),
            quote_char=None,
            truncate_ragged_lines=True,
            encoding="utf8-lossy",
        )
    except pl.exceptions.PolarsError as error:
        raise DataError(f"is no tab-separated text: {error}", path=path) from error
    rows = rows.filter(~pl.all_horizontal(pl.all().is_null()))
    dirt: Dirt = Counter({"rows with surplus fields (ignored)": rows["surplus"].count()})
    return rows.drop("surplus"), dirt


def _read_bytes(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content.startswith(_GZIP_MAGIC) else content
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"gzip data is cut off or damaged: {error}", path=path) from error
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", path=path) from error


def _leave_out(rows: pl.DataFrame, faults: dict[str, pl.Expr], dirt: Dirt) -> pl.DataFrame:
    for kind, is_faulty in faults.items():
        kept = rows.filter(~is_faulty)
        dirt[kind] = len(rows) - len(kept)
        rows = kept
    return rows


def _text(name: str) -> pl.Expr:
    return pl.col(name).str.strip_chars()


def _id(name: str) -> pl.Expr:
    text = _text(name)
    digest = text.str.slice(-_DIGEST_DIGITS).str.to_integer(base=16, strict=False)
    read = pl.coalesce(text.cast(pl.Int64, strict=False), pl.when(text.str.contains(_DIGEST)).then(digest))
    return pl.when(~text.str.contains(_NO_DIGEST)).then(read).alias(name)


def _time(name: str) -> pl.Expr:
    return _text(name).str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False).alias(name)


def _number(name: str) -> pl.Expr:
    return _text(name).cast(pl.Float64, strict=False).alias(name)


def _no_coordinates() -> pl.Expr:
    both = pl.col("latitude").is_finite() & pl.col("longitude").is_finite()
    return ~both.fill_null(value=False)


def _out_of_range() -> pl.Expr:
    return (pl.col("latitude").abs() > 90) | (pl.col("longitude").abs() > 180)
