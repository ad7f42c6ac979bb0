"""Columns of a file to arrays: what comes out is what was put in, or a fault that says why not."""

import struct
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.folder.columns import (
    feature_to_floats,
    series_to_clicks,
    series_to_event_us,
    series_to_ids,
    series_to_range,
    wrong_type,
)
from data.folder.tables import Batch, Known
from db.loading.encode import batch_to_records
from hexbite.features import Feature
from hexbite.ids import text_fault, text_to_id

INT64 = st.integers(-(2**63), 2**63 - 1)


@given(st.lists(st.none() | st.text(max_size=140), max_size=30))
def test_each_text_becomes_its_hash_or_a_fault_and_nulls_are_told(texts: list[str | None]) -> None:
    ids, faults = series_to_ids(pl.Series("id", texts, dtype=pl.String), "text")
    bad = {row: fault.what for fault in faults for row in np.flatnonzero(fault.rows).tolist()}
    for row, text in enumerate(texts):
        expected = "null" if text is None else text_fault(text)
        assert bad.get(row, "") == expected
        if not expected:
            assert ids[row] == text_to_id(texts[row] or "")


@given(st.lists(st.none() | st.integers(-(2**64), 2**64), max_size=30))
def test_integers_of_any_width_are_ids_or_beyond_64_bits(values: list[int | None]) -> None:
    ids, faults = series_to_ids(pl.Series("id", values, dtype=pl.Int128), "integer")
    bad = {row: fault.what for fault in faults for row in np.flatnonzero(fault.rows).tolist()}
    for row, value in enumerate(values):
        if value is None or not -(2**63) <= value < 2**63:
            assert bad[row] == ("null" if value is None else "beyond signed 64 bits")
        else:
            assert row not in bad and ids[row] == value


@given(st.lists(st.none() | st.floats(width=64), max_size=30), st.none() | st.floats(-1e6, 1e6))
def test_a_number_becomes_its_float32_or_its_fill_or_one_fault(values: list[float | None], fill: float | None) -> None:
    floats, faults = feature_to_floats(pl.Series("x", values, dtype=pl.Float64), Feature("x", fill))
    counts = np.zeros(len(values), dtype=int)
    for fault in faults:
        counts += fault.rows
    with np.errstate(over="ignore"):
        narrowed = np.array([fill if value is None else value for value in values], dtype=np.float64).astype(np.float32)
    good = np.isfinite(narrowed)
    assert (counts == np.where(good, 0, 1)).all()
    assert (floats[good] == narrowed[good]).all()


@pytest.mark.parametrize(
    "dtype", [pl.Int8, pl.UInt64, pl.Int128, pl.UInt128, pl.Float32, pl.Float64, pl.Decimal(38, 4)]
)
def test_numbers_of_every_type_mean_the_same(dtype: Any) -> None:
    series = pl.Series("x", [0, 1, None, 7]).cast(dtype)
    assert not wrong_type(series.dtype, "numbers")
    assert feature_to_floats(series, Feature("x", 5.0))[0].tolist() == [0, 1, 5, 7]
    assert [fault.what for fault in feature_to_floats(series, Feature("x"))[1]] == ["null without a fill"]
    clicks, faults = series_to_clicks(series)
    assert clicks.tolist()[:2] == [0, 1]
    assert [(fault.what, int(fault.rows.sum())) for fault in faults] == [("null", 1), ("neither 0 nor 1", 1)]
    assert [fault.what for fault in series_to_range(series, 0, 5)[1]] == ["null", "outside 0..5"]


@given(st.lists(INT64, min_size=1, max_size=20), st.sampled_from(["ms", "us", "ns"]))
def test_event_times_are_exact_microseconds_or_beyond_the_calendar(ticks: list[int], unit: Any) -> None:
    events, faults = series_to_event_us(pl.Series("t", ticks).cast(pl.Datetime(unit)))
    beyond = faults[0].rows if faults else np.zeros(len(ticks), dtype=bool)
    for tick, event, is_beyond in zip(ticks, events.tolist(), beyond.tolist(), strict=True):
        exact = {"ms": tick * 1_000, "us": tick, "ns": tick // 1_000}[unit]
        inside = -62_135_596_800_000_000 <= exact <= 253_402_300_799_999_999
        assert is_beyond == (not inside)
        assert not inside or event == exact


@given(st.sets(INT64, min_size=1, max_size=20), st.lists(INT64, max_size=20))
def test_an_id_is_found_where_it_stands_and_no_other_is(known: set[int], asked: list[int]) -> None:
    ids = np.array(sorted(known), dtype=np.int64)
    asked = [*asked, *known]
    rows, found = Known(ids, ids[:0]).find(np.array(asked, dtype=np.int64))
    assert found.tolist() == [id_ in known for id_ in asked]
    assert [int(ids[row]) for row, is_known in zip(rows, found, strict=True) if is_known] == [
        id_ for id_ in asked if id_ in known
    ]


@given(st.lists(st.tuples(INT64, st.text(min_size=1, max_size=40)), min_size=1, max_size=8), st.integers(1, 4))
def test_a_record_ends_in_its_text_which_has_its_own_length(rows: list[tuple[int, str]], width: int) -> None:
    ids = np.array([id_ for id_, _ in rows], dtype=np.int64)
    nothing = np.empty(0)
    batch = Batch(ids, np.ones((len(ids), width), np.float32), np.zeros(len(ids), np.int64), nothing, nothing)
    plain = batch_to_records(batch, None)
    size = len(plain) // len(rows)
    records = batch_to_records(batch._replace(texts=[text for _, text in rows]), None)
    for number, (id_, text) in enumerate(rows):
        fields, length, id_read = struct.unpack_from(">hiq", records)
        assert (fields, length, id_read) == (4, 8, id_)
        assert records[2:size] == plain[number * size + 2 : (number + 1) * size]
        encoded = text.encode()
        assert records[size : size + 4 + len(encoded)] == struct.pack(">i", len(encoded)) + encoded
        records = records[size + 4 + len(encoded) :]
    assert records == b""
