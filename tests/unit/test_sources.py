"""A table out of any files that a company has: what is in them, or an error that names file and line."""

import bz2
import gzip
import io
import lzma
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from data.sources import Source, scan
from data.sources.delimited import LONG, SHORT
from hexbite.errors import DataError

ROOT = Path(__file__).parents[2]


def table(folder: Path, path: str | list[str], **said: Any) -> pl.DataFrame:
    return scan(Source(path=path, **said), base=folder, scratch=folder.parent, ragged=Counter()).collect()


def rows(folder: Path, path: str | list[str], **said: Any) -> list[dict[str, Any]]:
    return table(folder, path, **said).to_dicts()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop").mkdir()
    return tmp_path / "shop"


def put(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def put_table(path: Path, **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(columns).write_parquet(path)
    return path


def zstd(content: bytes) -> bytes:
    lines = pl.LazyFrame({"line": content.decode().removesuffix("\n").split("\n")})
    packed = io.BytesIO()
    lines.sink_csv(packed, include_header=False, quote_style="never", compression="zstd")
    return packed.getvalue()


# Delimited text


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_told_by_the_rows(folder: Path, delimiter: str) -> None:
    put(
        folder / "a.csv",
        f'id{delimiter}name\n007{delimiter}"a{delimiter}b"\n8{delimiter}1,5;2|3\n'.replace("1,5;2|3", "x"),
    )
    assert rows(folder, "a.csv") == [{"id": "007", "name": f"a{delimiter}b"}, {"id": "8", "name": "x"}]


def test_a_decimal_comma_is_no_delimiter(folder: Path) -> None:
    put(folder / "a.csv", "lat;lng\n52,5;13,4\n48,1;11,6\n")
    assert rows(folder, "a.csv")[0] == {"lat": "52,5", "lng": "13,4"}


def test_a_delimiter_that_the_map_names_is_taken(folder: Path) -> None:
    put(folder / "a.csv", "id^name,full\n1^a,b\n")
    assert rows(folder, "a.csv", delimiter="^") == [{"id": "1", "name,full": "a,b"}]


def test_every_column_is_text_and_what_is_empty_is_null(folder: Path) -> None:
    put(folder / "a.csv", 'id,big,at\n007,123456789012345678901234567890,2024-01-01\n,"",\n1,2,""\n')
    assert table(folder, "a.csv").schema == dict.fromkeys(("id", "big", "at"), pl.String)
    assert rows(folder, "a.csv") == [
        {"id": "007", "big": "123456789012345678901234567890", "at": "2024-01-01"},
        {"id": "1", "big": "2", "at": None},
    ]


def test_quotes_hold_line_breaks_delimiters_and_quotes(folder: Path) -> None:
    put(folder / "a.csv", 'id,text\r\n1,"a\r\nb, ""c"""\r\n2,d\r\n')
    assert rows(folder, "a.csv") == [{"id": "1", "text": 'a\r\nb, "c"'}, {"id": "2", "text": "d"}]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_line_ends_and_byte_order_marks_are_no_data(folder: Path, line_end: str, bom: str) -> None:
    put(folder / "a.csv", bom + line_end.join(["id,name", "1,a", "", "2,b", ""]))
    assert rows(folder, "a.csv") == [{"id": "1", "name": "a"}, {"id": "2", "name": "b"}]


def test_a_short_row_of_a_file_with_old_line_ends_is_found(folder: Path) -> None:
    put(folder / "a.csv", "id,name\r1,a\r2\r")
    with pytest.raises(DataError, match="line 3 has not the 2 fields"):
        rows(folder, "a.csv")


@pytest.mark.parametrize("line_end", ["", "\n"])
def test_a_last_line_needs_no_end(folder: Path, line_end: str) -> None:
    put(folder / "a.csv", "id,name\n1,a" + line_end)
    assert rows(folder, "a.csv") == [{"id": "1", "name": "a"}]


@pytest.mark.parametrize(
    ("encoding", "word"),
    [("latin-1", "Café"), ("cp1252", "Café €"), ("utf-16", "Café 食"), ("utf-16-le", "食"), ("shift_jis", "寿司ー")],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_other_encodings_are_read_where_the_map_names_them(folder: Path, encoding: str, word: str, pack: Any) -> None:
    put(folder / "a.csv", pack(f"id,name\n1,{word}\n".encode(encoding)))
    assert rows(folder, "a.csv", encoding=encoding) == [{"id": "1", "name": word}]


def test_utf_16_is_told_by_its_mark(folder: Path) -> None:
    put(folder / "a.csv", "id\tname\n1\t食\n".encode("utf-16"))
    assert rows(folder, "a.csv") == [{"id": "1", "name": "食"}]


@pytest.mark.parametrize("pack", [gzip.compress, zstd, bz2.compress, lzma.compress])
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.parquet"])
def test_packed_text_is_told_by_content_whatever_its_name(folder: Path, pack: Any, name: str) -> None:
    put(folder / name, pack(b"id,name\n007,a\n"))
    assert rows(folder, name) == [{"id": "007", "name": "a"}]


def test_a_gzip_file_of_several_members_is_read_to_its_end(folder: Path) -> None:
    put(folder / "a.csv.gz", gzip.compress(b"id\n1\n", mtime=0) + gzip.compress(b"2\n", mtime=0))
    assert rows(folder, "a.csv.gz") == [{"id": "1"}, {"id": "2"}]


@pytest.mark.parametrize("pack", [gzip.compress, zstd, bz2.compress, lzma.compress])
@pytest.mark.parametrize("line", ["{}, {}\n", '{{"id": {}, "name": {}}}\n'])
def test_a_packed_file_that_is_cut_off_is_refused(folder: Path, pack: Any, line: str) -> None:
    content = "".join(line.format(number, number * 7_919 % 100_003) for number in range(60_000)).encode()
    put(folder / "a", pack(content)[:-1_000])
    with pytest.raises(DataError, match="a: "):
        rows(folder, "a", header=False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,name,x\n1,a,b\n2,a\n", "line 3 has not the 3 fields"),
        ("id,name\n1,a\n2,a,b\n", "line 3 has not the 2 fields"),
        ('id,name\n1,"a\nb"\n\n2\n', "line 5 has not the 2 fields"),
        ("id,name\n1,a\n2\n3\n4,a,b,c\n", "line 3 .* with 1: 2, with 4: 1"),
        ('id,name\n1,a\n2,"b\n3,c\n', "line 3 cannot be split"),
        ('id,name\n1,a\n2,"b"c\n', "line 3 cannot be split"),
    ],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd])
def test_a_row_that_cannot_be_split_is_refused_by_its_line(folder: Path, text: str, said: str, pack: Any) -> None:
    put(folder / "a.csv", pack(text.encode()))
    with pytest.raises(DataError, match=rf"a\.csv: {said}"):
        rows(folder, "a.csv", delimiter=",")


def test_a_row_far_down_that_is_short_is_found(folder: Path) -> None:
    put(folder / "a.csv", "id,name\n" + "1,a\n" * 250_000 + "2\n" + "1,a\n" * 10)
    with pytest.raises(DataError, match="line 250,002 has not"):
        rows(folder, "a.csv")


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("lines", "wanted", "counted"),
    [
        (["1,a,x", "2", "3,b"], [("1", "a", "x"), ("2", None, None), ("3", "b", None)], {SHORT: 2}),
        (["1,a,x,y,z", "2,b,y,", "3,c,z"], [("1", "a", "x"), ("2", "b", "y"), ("3", "c", "z")], {LONG: 2}),
        (["1", "2,b,y,z", "3,,"], [("1", None, None), ("2", "b", "y"), ("3", None, None)], {SHORT: 1, LONG: 1}),
        (["1,a,x", "", ",,"], [("1", "a", "x")], {}),
        (['1,"a,b",x', '2,"c""d"'], [("1", "a,b", "x"), ("2", 'c"d', None)], {SHORT: 1}),
    ],
)
def test_ragged_rows_are_padded_and_counted_where_the_map_says_so(
    folder: Path, pack: Any, line_end: str, lines: list[str], wanted: list[tuple[Any, ...]], counted: dict[str, int]
) -> None:
    put(folder / "a.csv", pack(line_end.join(["id,name,x", *lines, ""]).encode()))
    ragged: Counter[str] = Counter()
    source = Source(path="a.csv", ragged="pad", delimiter=",")
    assert scan(source, base=folder, scratch=folder.parent, ragged=ragged).collect().rows() == wanted
    assert ragged == counted


def test_a_first_row_that_is_short_hides_no_column_of_those_that_the_map_names(folder: Path) -> None:
    put(folder / "a.tsv", "1\t2\n1\t2\t3\n1\t2\t3\t4\n1\t2\t3\n")
    said: dict[str, Any] = {"header": False, "ragged": "pad", "delimiter": "\t"}
    named = table(folder, "a.tsv", columns=["a", "b", "c"], **said)
    assert named.rows() == [("1", "2", None), ("1", "2", "3"), ("1", "2", "3"), ("1", "2", "3")]
    assert table(folder, "a.tsv", **said).columns == ["column_1", "column_2", "column_3", "column_4"]


def test_a_quote_that_is_never_closed_is_refused_of_ragged_rows_too(folder: Path) -> None:
    put(folder / "a.csv", 'id,name\n1\n2,"b\n3,c\n')
    with pytest.raises(DataError, match="line 3 cannot be split"):
        rows(folder, "a.csv", ragged="pad")


def test_an_empty_last_field_is_no_short_row(folder: Path) -> None:
    put(folder / "a.csv", "id,name\n1,a\n2,\n")
    assert rows(folder, "a.csv") == [{"id": "1", "name": "a"}, {"id": "2", "name": None}]


def test_quotes_are_text_where_the_map_says_so(folder: Path) -> None:
    put(folder / "a.tsv", 'id\tname\n1\t"a"b\n2\t12" pizza\n3\t"open\n')
    assert [row["name"] for row in rows(folder, "a.tsv", quote="")] == ['"a"b', '12" pizza', '"open']


@pytest.mark.parametrize("at", [1, 400_000])
@pytest.mark.parametrize("line", ["{},a\n", '{{"id": {}}}\n'])
def test_bytes_of_another_encoding_are_refused_by_their_line(folder: Path, at: int, line: str) -> None:
    put(folder / "a", "".join(line.format(number) for number in range(at)).encode() + b'{"id": "\xe9"}\n')
    with pytest.raises(DataError, match=f"is not written in utf-8: line {at + 1:,}"):
        rows(folder, "a", header=False)


def test_an_encoding_that_there_is_not_is_refused(folder: Path) -> None:
    put(folder / "a.csv", "id\n1\n")
    with pytest.raises(DataError, match="no encoding is called 'utf8000'"):
        rows(folder, "a.csv", encoding="utf8000")


def test_names_of_columns_are_unique_and_without_blanks_around(folder: Path) -> None:
    put(folder / "a.csv", 'id, user id ,id,,"full\nname"\n1,2,3,4,5\n')
    assert table(folder, "a.csv").columns == ["id", "user id", "id_2", "column_4", "full\nname"]


def test_a_file_without_a_header_has_numbered_columns_or_the_maps(folder: Path) -> None:
    put(folder / "a.csv", "1,a\n2,b\n")
    assert rows(folder, "a.csv", header=False)[0] == {"column_1": "1", "column_2": "a"}
    assert rows(folder, "a.csv", header=False, columns=["id", "name"])[1] == {"id": "2", "name": "b"}
    with pytest.raises(DataError, match=r"has 2 columns.* the map names 1"):
        rows(folder, "a.csv", header=False, columns=["id"])


def test_the_maps_names_replace_a_header(folder: Path) -> None:
    put(folder / "a.csv", "x,y\n1,a\n")
    assert rows(folder, "a.csv", columns=["id", "name"]) == [{"id": "1", "name": "a"}]


def test_a_header_alone_is_a_table_without_rows(folder: Path) -> None:
    put(folder / "a.csv", "id,name\n")
    assert table(folder, "a.csv").columns == ["id", "name"]


_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\0\ufeff"), max_size=8)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.just("x"), _TEXT, _TEXT), min_size=1, max_size=6), st.sampled_from(",;\t|"))
def test_what_is_written_as_csv_is_read_again(folder: Path, values: list[tuple[str, ...]], delimiter: str) -> None:
    written = pl.DataFrame(values, schema=["key", "a", "b"], orient="row")
    written.write_csv(folder / "a.csv", separator=delimiter, quote_style="always")
    read = table(folder, "a.csv", delimiter=delimiter)
    assert read.rows() == [tuple(value or None for value in row) for row in values]


# JSON lines


def test_json_lines_keep_their_types_and_objects_inside_have_names_with_dots(folder: Path) -> None:
    lines = [
        '{"id": 1, "at": {"lat": 1.5, "geo": {"zone": "UTC"}}}',
        "",
        '{"tags": ["a"], "id": null, "big": 12345678901}',
    ]
    put(folder / "a.jsonl", "\r\n".join(lines))
    assert rows(folder, "a.jsonl") == [
        {"id": 1, "at.lat": 1.5, "at.geo.zone": "UTC", "tags": None, "big": None},
        {"id": None, "at.lat": None, "at.geo.zone": None, "tags": ["a"], "big": 12345678901},
    ]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd, bz2.compress])
def test_packed_json_lines_are_read(folder: Path, pack: Any) -> None:
    put(folder / "a.json", pack(b'\xef\xbb\xbf{"id": 1}\n{"id": 2}\n'))
    assert rows(folder, "a.json") == [{"id": 1}, {"id": 2}]


def test_keys_and_kinds_that_come_late_count_for_all_rows(folder: Path) -> None:
    early = '{"id": 1, "price": 2, "note": null}\n' * 150_000
    put(folder / "a.jsonl", early + '{"id": "x", "price": 2.5, "note": "late", "new": true}\n')
    found = table(folder, "a.jsonl")
    assert found.schema == {"id": pl.String, "price": pl.Float64, "note": pl.String, "new": pl.Boolean}
    assert found.row(0) == ("1", 2.0, None, None)
    assert found.row(-1) == ("x", 2.5, "late", True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[{"id": 1}, {"id": 2}]', "is one JSON array; JSON lines are wanted"),
        ('{"id": 1}\n\n{"id": \n', "line 3 is no JSON"),
        ('{"id": 1}\n[1]\n', "line 2 is no object"),
        ('{"id": 1}\n{"id": true}\n', "lines 1 to 2 hold values of one key that are of different kinds"),
        ('{"id": 1}\n' * 120_000 + "{\n", "line 120,001 is no JSON"),
    ],
)
def test_what_is_no_json_lines_is_refused_by_its_line(folder: Path, text: str, said: str) -> None:
    put(folder / "a.jsonl", text)
    with pytest.raises(DataError, match=said):
        rows(folder, "a.jsonl")


# Files of one table


def test_a_folder_is_one_table_at_any_depth_and_hidden_names_are_no_data(folder: Path) -> None:
    put(folder / "events/2024/b.csv", "id,x\n3,c\n")
    put(folder / "events/a.csv", "id\n1\n2\n")
    for hidden in ("_SUCCESS", ".a.csv.crc", "_temporary/0/c.csv", ".git/c.csv"):
        put(folder / "events" / hidden, "id\n9\n")
    put(folder / "events/empty.csv", "")
    put(folder / "events/blank.csv", "\n\n")
    put(folder / "events/header.csv", "id,x\n")
    assert rows(folder, "events") == [{"id": "3", "x": "c"}, {"id": "1", "x": None}, {"id": "2", "x": None}]


def test_what_spark_writes_is_read(folder: Path) -> None:
    put_table(folder / "out/part-00000-1b2c-c000.snappy.parquet", id=[1])
    put_table(folder / "out/part-00001-1b2c-c000.snappy.parquet", id=[2])
    put(folder / "out/_SUCCESS", "")
    put(folder / "out/.part-00000-1b2c-c000.snappy.parquet.crc", b"crc\0")
    assert rows(folder, "out/") == [{"id": 1}, {"id": 2}]


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_names_of_folders_are_columns_of_text(folder: Path, kind: str) -> None:
    for day, number in (("2024-01-01%2010%3A00", 1), ("__HIVE_DEFAULT_PARTITION__", 2), ("007", 3)):
        frame = pl.DataFrame({"id": [number]})
        place = folder / f"root=x/events/day={day}/city=K%C3%B6ln"
        place.mkdir(parents=True)
        write = {"parquet": frame.write_parquet, "csv": frame.write_csv, "jsonl": frame.write_ndjson}[kind]
        write(place / "part-0")
    found = {int(row["id"]): (row["day"], row["city"]) for row in rows(folder, "root=x/events")}
    assert found == {1: ("2024-01-01 10:00", "Köln"), 2: (None, "Köln"), 3: ("007", "Köln")}
    assert "root" not in table(folder, "root=x/events").columns
    by_pattern = rows(folder, "root=x/events/day=0*/*/part*")
    assert [(int(row["id"]), row["day"]) for row in by_pattern] == [(3, "007")]


def test_a_column_that_folder_and_file_both_tell_is_the_folders(folder: Path) -> None:
    put_table(folder / "t/day=2024-01-01/1.parquet", day=["2023"], id=[1])
    assert rows(folder, "t") == [{"day": "2024-01-01", "id": 1}]


@pytest.mark.parametrize("log", ["_delta_log", ".hoodie"])
def test_tables_that_keep_their_past_are_refused(folder: Path, log: str) -> None:
    put_table(folder / "t/1.parquet", id=[1])
    put(folder / "t" / log / "0.json", "{}")
    with pytest.raises(DataError, match=r"t: is a (Delta|Hudi) table"):
        rows(folder, "t")


def test_patterns_and_lists_name_files(folder: Path) -> None:
    for name in ("a-1.csv", "a-2.csv", "b/a-3.csv", "c.csv"):
        put(folder / name, f"id\n{name}\n")
    assert [row["id"] for row in rows(folder, "**/a-*.csv")] == ["a-1.csv", "a-2.csv", "b/a-3.csv"]
    assert [row["id"] for row in rows(folder, ["c.csv", "b", str(folder / "a-1.csv")])] == [
        "c.csv",
        "b/a-3.csv",
        "a-1.csv",
    ]


def test_a_name_that_looks_like_a_pattern_is_a_name_first(folder: Path) -> None:
    put(folder / "a[1].csv", "id\n1\n")
    put_table(folder / "b[1]*.parquet", id=[2])
    assert rows(folder, "a[1].csv") == [{"id": "1"}]
    assert rows(folder, "b[1]*.parquet") == [{"id": 2}]


def test_formats_in_one_table_are_refused_by_name(folder: Path) -> None:
    put(folder / "events/a.csv", "id\n1\n")
    put(folder / "events/b.jsonl", '{"id": 1}\n')
    with pytest.raises(DataError, match=r"b\.jsonl: is jsonl, and .*a\.csv is csv"):
        rows(folder, "events")


@pytest.mark.parametrize("path", ["none.csv", "none/", "none/*.csv", "empty", "blank.csv"])
def test_nothing_to_read_is_an_error_that_names_it(folder: Path, path: str) -> None:
    (folder / "empty").mkdir()
    put(folder / "empty/_SUCCESS", "x")
    put(folder / "blank.csv", "\n \n")
    with pytest.raises(DataError, match=path.rstrip("/").partition(".")[0].partition("/")[0]):
        rows(folder, path)


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        (pl.Series([1], dtype=pl.Int32), pl.Series([2**40]), pl.Int64),
        (pl.Series([1]), pl.Series([1.5]), pl.Float64),
        (pl.Series([None]), pl.Series(["x"]), pl.String),
        (pl.Series([1]), pl.Series(["x"]), pl.String),
        (pl.Series(["x"], dtype=pl.Categorical), pl.Series(["y"]), pl.String),
        (pl.Series([0], dtype=pl.Datetime("ns")), pl.Series([0], dtype=pl.Datetime("ms")), pl.Datetime),
        (
            pl.Series([0], dtype=pl.Datetime("us", "UTC")),
            pl.Series([0], dtype=pl.Datetime("us", "Asia/Tokyo")),
            pl.Datetime,
        ),
        (pl.Series([[1]]), pl.Series([[1.5]]), pl.List(pl.Float64)),
        (pl.Series([[]], dtype=pl.List(pl.Null)), pl.Series([["x"]]), pl.List(pl.String)),
    ],
)
def test_a_column_of_different_kinds_becomes_what_holds_both(folder: Path, one: Any, other: Any, kind: Any) -> None:
    for first, second in ((one, other), (other, one)):
        put_table(folder / "t/1.parquet", a=first, b=[1])
        put_table(folder / "t/2.parquet", c=["only here"], a=second)
        found = table(folder, "t")
        assert found.schema["a"] == kind
        assert found["a"].null_count() == first.null_count() + second.null_count()
        assert found["c"].to_list() == [None, "only here"]


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ([1.5], ["x"], r"2\.parquet, column a: holds text \(String\), and .*1\.parquet holds numbers"),
        ([True], [1], "holds whole numbers"),
        ([1], [[1]], "holds List"),
        ([2**53 + 1], [0.5], r"1\.parquet, column a: holds whole numbers beyond 2\^53"),
        ([1], pl.Series([0], dtype=pl.Datetime("us")), "holds times"),
        (
            pl.Series([0], dtype=pl.Datetime("us")),
            pl.Series([0], dtype=pl.Datetime("us", "UTC")),
            "holds times",
        ),
    ],
)
def test_a_column_that_cannot_become_one_kind_is_refused_by_both_files(
    folder: Path, one: Any, other: Any, said: str
) -> None:
    put_table(folder / "t/1.parquet", a=one)
    put_table(folder / "t/2.parquet", a=other)
    with pytest.raises(DataError, match=said):
        rows(folder, "t")


def test_structs_of_parquet_have_names_with_dots(folder: Path) -> None:
    put_table(folder / "a.parquet", id=[1], at=[{"lat": 1.5, "deep": {"x": None}}])
    assert rows(folder, "a.parquet") == [{"id": 1, "at.lat": 1.5, "at.deep.x": None}]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\x03\x04rest", "unpack it, or save its sheet as CSV"),
        (b"PAR1rest", "cannot be read"),
        (b"ORCrest", "write it as Parquet"),
        (b"Obj\x01rest", "write it as Parquet"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_to_do(folder: Path, content: bytes, said: str) -> None:
    put(folder / "a.csv", content)
    with pytest.raises(DataError, match=f"a.csv.*{said}"):
        rows(folder, "a.csv")


def test_a_format_that_the_file_has_not_is_refused(folder: Path) -> None:
    put(folder / "a", "id\n1\n")
    put_table(folder / "b", id=[1])
    for name, said in (("a", "parquet"), ("b", "csv")):
        with pytest.raises(DataError, match="leave file_format away"):
            rows(folder, name, file_format=said)


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"path": "a", "query": "SELECT 1", "database": "$D"},
        {"query": "SELECT 1"},
        {"path": "a", "database": "$D"},
        {"path": []},
        {"path": "a", "delimiter": ",,"},
        {"path": "a", "columns": ["x", "x"]},
        {"path": "a", "no_such_key": 1},
    ],
)
def test_a_source_that_says_too_little_or_too_much_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Source(**said)


@pytest.mark.slow
@pytest.mark.parametrize("line", ["{number},{noise},2024-01-01T00:00:00Z", '{{"id": {number}, "noise": "{noise}"}}'])
def test_a_large_packed_file_is_not_held_in_memory(folder: Path, line: str) -> None:
    block = "".join(line.format(number=number, noise=os.urandom(24).hex()) + "\n" for number in range(50_000)).encode()
    with gzip.open(folder / "a.gz", "wb", compresslevel=1) as file:
        for _ in range(40):
            file.write(block)
    program = (
        "import re, sys; from pathlib import Path; from data.sources import Source, scan; "
        "from collections import Counter; folder = Path(sys.argv[1]); "
        "frame = scan(Source(path='a.gz', header=False), base=folder, scratch=folder, ragged=Counter()); "
        "rows = frame.select('column_1' if 'column_1' in frame.collect_schema() else 'id').count().collect().item(); "
        # Of this program alone: ru_maxrss begins with what the test's own process held.
        "print(rows, int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]) // 1024)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program, folder], capture_output=True, text=True, check=True, cwd=ROOT
    )
    count, peak_mib = map(int, answer.stdout.split())
    assert count == 2_000_000
    assert len(block) * 40 > 120 << 20
    assert peak_mib < 600
