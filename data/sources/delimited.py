"""One file of delimited text becomes a Parquet file of text columns."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import polars as pl

from data.sources.content import Content, unpacked
from data.sources.decode import refuse_other_bytes
from data.sources.source import Source
from hexbite.errors import DataError

if TYPE_CHECKING:
    import _csv

# Tried in this order: of two that split the rows alike the first is taken.
_DELIMITERS: Final = (",", ";", "\t", "|")

# Rows that tell the delimiter.
_LOOK_ROWS: Final = 200

_LINES_AT_ONCE: Final = 100_000

#: What is counted: rows that the map lets be ragged.
SHORT: Final = "with too few fields, which go on with nulls"
LONG: Final = "with too many fields, which are cut off"

# A field may be a whole article.
csv.field_size_limit(1 << 30)


class Layout(NamedTuple):
    """How a file is written: ``skipped_lines`` come before its first row, header included."""

    delimiter: str
    quote: str | None
    line_end: str
    names: list[str]
    skipped_lines: int


def find_layout(content: Content, source: Source, path: Path) -> Layout:
    """Tell delimiter and columns from a file's beginning.

    Names lose the blanks around them; one without a name is called ``column_3`` by its place, a second ``id`` is
    called ``id_2``. Raises DataError where the map's ``columns`` are not as many as the file's, unless rows may be
    ragged.
    """
    quote = source.quote or None
    line_end = "\r" if "\r" in content.start and "\n" not in content.start else "\n"
    delimiter = source.delimiter or _find_delimiter(content.start, quote)
    reader = _reader(io.StringIO(content.start, newline=""), delimiter, quote)
    header: list[str] = next((row for row in reader if any(field.strip() for field in row)), [])
    found = [name.strip() for name in header] if source.header else [""] * len(header)
    if source.ragged == "pad" and not source.header:  # the first row may be a short one
        found = [""] * max([len(header), *_fields_per_row(content.start, delimiter, quote)])
    if source.columns is not None and len(source.columns) != len(found) and source.ragged == "refuse":
        raise DataError(
            f"has {len(found)} columns, split at {delimiter!r}, and the map names {len(source.columns)}", path=path
        )
    names = _unique_names(source.columns or found)
    return Layout(delimiter, quote, line_end, names, reader.line_num if source.header else 0)


def write_delimited(
    path: Path,
    content: Content,
    layout: Layout,
    target: Path,
    *,
    shown: Path,
    partition: dict[str, str | None],
    is_padded: bool,
) -> Counter[str]:
    """Write the rows as Parquet, every column text, and those of the ``partition`` behind them.

    An empty field is null; a row without any value is left out. ``path`` is UTF-8, plain or packed by gzip or zstd.
    Returns how many rows were `SHORT` and `LONG` where these are padded. Raises DataError, by the name ``shown``, where
    a row has more or fewer fields than there are columns and they are not, or a quote stands where it cannot be read.
    """
    rows = pl.scan_csv(
        path,
        has_header=False,
        skip_lines=layout.skipped_lines,
        separator=layout.delimiter,
        quote_char=layout.quote,
        eol_char=layout.line_end,
        schema=dict.fromkeys(layout.names, pl.String),
        missing_columns="insert",
        extra_columns="ignore" if is_padded else "raise",
        glob=False,
    )
    values = [pl.when(pl.col(name) != "").then(pl.col(name)).alias(name) for name in layout.names]  # "" is quoted
    known = {name: pl.lit(value, pl.String) for name, value in partition.items()}
    try:
        rows.select(values).filter(~pl.all_horizontal(pl.all().is_null())).with_columns(**known).sink_parquet(
            target, compression_level=1
        )
        last = pl.scan_parquet(target).select(pl.col(layout.names[-1]).has_nulls()).collect().item()
    except OSError as error:
        raise DataError(f"is cut off or damaged: {error}; fetch it anew", path=shown) from error
    except pl.exceptions.PolarsError as error:
        refuse_other_bytes(path, content, shown)
        _find_ragged(path, content, layout, shown).refuse(layout, shown)
        raise DataError(f"cannot be read: {str(error).partition(chr(10))[0]}", path=shown) from error
    if is_padded:  # what is cut off leaves no trace
        return _find_ragged(path, content, layout, shown).by_fault(layout)
    if last and len(layout.names) > 1:  # of a short row too
        _find_ragged(path, content, layout, shown).refuse(layout, shown)
    return Counter()


class _Ragged(NamedTuple):
    """Rows that have not as many fields as there are columns, by their fields, and the line of the first of them."""

    rows: Counter[int]
    first: int

    def by_fault(self, layout: Layout) -> Counter[str]:
        wanted = len(layout.names)
        counted = Counter({SHORT: 0, LONG: 0})
        for fields, rows in self.rows.items():
            counted[SHORT if fields < wanted else LONG] += rows
        return +counted

    def refuse(self, layout: Layout, shown: Path) -> None:
        """Raise DataError if there is one."""
        if self.rows:
            raise DataError(
                f"line {self.first:,} has not the {len(layout.names)} fields that the columns ask for, split at "
                f"{layout.delimiter!r} (rows {_counts(self.rows)}); mend the file: a field that holds the delimiter "
                'or a line break wants quotes; or set ragged = "pad" in the map: short rows go on with nulls, and what '
                "is too much is cut off",
                path=shown,
                count=self.rows.total(),
            )


def _find_ragged(path: Path, content: Content, layout: Layout, shown: Path) -> _Ragged:
    """Look for rows that are too short or too long.

    Polars reads a short row as if it went on with nulls, and names no row: the slow reader of the standard library
    looks once more, where there is reason to. Raises DataError where it cannot split one.
    """
    wanted = len(layout.names)
    wrong: Counter[int] = Counter()
    first = 0
    reader = _reader(_lines(path, content, layout), layout.delimiter, layout.quote)
    line = 0
    try:
        for row in reader:
            # A line without anything in it is no row.
            if row and len(row) != wanted and line >= layout.skipped_lines:
                first = first or line + 1
                wrong[len(row)] += 1
            line = reader.line_num
    except csv.Error as error:
        raise DataError(
            f'line {line + 1:,} cannot be split: {error}; mend it, or set quote = "" in the map where the file quotes '
            "nothing",
            path=shown,
        ) from error
    return _Ragged(wrong, first)


def _counts(wrong: Counter[int]) -> str:
    return ", ".join(f"with {fields}: {count:,}" for fields, count in wrong.most_common(3))


def _lines(path: Path, content: Content, layout: Layout) -> Iterator[str]:
    if layout.line_end == "\r":  # which scan_lines does not know
        with unpacked(path, content.packing) as file:
            yield from io.TextIOWrapper(file, encoding="utf-8-sig")
        return
    for batch in pl.scan_lines(path, glob=False).collect_batches(chunk_size=_LINES_AT_ONCE, maintain_order=True):
        yield from (f"{line}\n" for line in batch["line"])


def _reader(lines: Iterable[str], delimiter: str, quote: str | None) -> _csv.Reader:
    if quote is None:
        return csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    return csv.reader(lines, delimiter=delimiter, quotechar=quote, strict=True)


def _find_delimiter(start: str, quote: str | None) -> str:
    best, most = _DELIMITERS[0], (0.0, 1)
    for delimiter in _DELIMITERS:
        fields = _fields_per_row(start, delimiter, quote)
        if not fields or fields[0] < 2:
            continue
        share = sum(count == fields[0] for count in fields) / len(fields)
        if (share, fields[0]) > most:
            best, most = delimiter, (share, fields[0])
    return best


def _fields_per_row(start: str, delimiter: str, quote: str | None) -> list[int]:
    counts: list[int] = []
    with suppress(csv.Error):  # the wrong delimiter, or a row that the look cuts in two
        for row in islice(_reader(io.StringIO(start, newline=""), delimiter, quote), _LOOK_ROWS):
            counts += [len(row)] if row else []
    return counts[:-1] if len(counts) > 2 else counts  # the last may be cut


def _unique_names(names: list[str]) -> list[str]:
    unique: list[str] = []
    for place, name in enumerate(names, start=1):
        wanted = name or f"column_{place}"
        number, free = 1, wanted
        while free in unique:
            number += 1
            free = f"{wanted}_{number}"
        unique.append(free)
    return unique
