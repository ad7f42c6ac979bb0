"""Positions whose latitude and longitude stand one for the other, though both ways are in range."""

from __future__ import annotations

from typing import Final

import polars as pl

# Nearer to the diagonal both ways are too near to each other to be told apart: some 1,000 km.
_APART_DEG: Final = 10
_TIMES_AS_MANY: Final = 4

# The squares of one degree are numbered from south to north, and in a row from west to east.
_ROW: Final = 1_000
_AROUND: Final = tuple(_ROW * north + east for north in (-1, 0, 1) for east in (-1, 0, 1))


def exchanged(lats: pl.Series, lngs: pl.Series) -> pl.Series:
    """Which of N positions, degrees, null or NaN where there is none, lie where few do, and exchanged where many do.

    Near are positions in the same square of one degree or in one of the eight around it; many are four times as many.
    """
    rows = pl.DataFrame({"lat": lats, "lng": lngs})
    is_told = pl.col("lat").is_finite() & pl.col("lng").is_finite()
    counts = (
        rows.filter(is_told)
        .group_by(_square(pl.col("lat"), pl.col("lng")).alias("square"))
        .len()
        .select(pl.concat_list(pl.col("square") + step for step in _AROUND).alias("square"), "len")
        .explode("square")
        .group_by("square")
        .agg(pl.col("len").sum())
    )
    numbers = dict(counts.iter_rows())
    here, there = (
        rows.select(_square(pl.col(a), pl.col(b)).replace_strict(numbers, default=0, return_dtype=pl.Int64)).to_series()
        for a, b in (("lat", "lng"), ("lng", "lat"))
    )
    is_apart = rows.select(is_told & _is_apart(pl.col("lat"), pl.col("lng"))).to_series().fill_null(value=False)
    return is_apart & (here * _TIMES_AS_MANY <= there)


def fits_exchanged(lat: pl.Expr, lng: pl.Expr, lats: pl.Series, lngs: pl.Series) -> pl.Expr:
    """Whether no position of ``lats`` and ``lngs`` is near two columns of degrees, and one is near them exchanged."""
    known = pl.DataFrame({"lat": lats, "lng": lngs}).filter(pl.col("lat").is_finite() & pl.col("lng").is_finite())
    squares = known.select(_square(pl.col("lat"), pl.col("lng"))).to_series().unique()
    near = pl.concat([squares + step for step in _AROUND]).unique().implode()
    here, there = _square(lat, lng).is_in(near), _square(lng, lat).is_in(near)
    return (_is_apart(lat, lng) & ~here & there).fill_null(value=False)


def _square(lat: pl.Expr, lng: pl.Expr) -> pl.Expr:
    """A number for each square of one degree; null where there is no position."""
    return lat.floor().cast(pl.Int64, strict=False) * _ROW + lng.floor().cast(pl.Int64, strict=False)


def _is_apart(lat: pl.Expr, lng: pl.Expr) -> pl.Expr:
    return (lat - lng).abs() >= _APART_DEG
