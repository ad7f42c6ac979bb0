"""A source, whatever it is, becomes one lazy frame over Parquet."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import polars as pl

from data.sources.away import find_away, is_address
from data.sources.content import Content, look_into
from data.sources.decode import is_readable, write_utf8
from data.sources.delimited import find_layout, write_delimited
from data.sources.files import DataFile, find_files
from data.sources.lines import write_json_lines
from data.sources.postgres import write_query
from data.sources.source import Source
from data.sources.tables import read_tables
from hexbite.console import progress
from hexbite.errors import DataError


def scan(source: Source, *, base: Path, scratch: Path, ragged: Counter[str]) -> pl.LazyFrame:
    """The rows of a source, in the order of its files.

    Relative paths start at ``base``. Parquet is read where it lies; text is read once, checked, and kept as Parquet in
    a folder of its own in ``scratch``, which has to stay for as long as the frame is used. Delimited text gives text
    columns, all of them, and null for an empty field; JSON lines and Parquet keep their types. No file is held in
    memory as a whole. Where the source lets rows be ragged, they are counted into ``ragged``.

    Raises DataError, naming file and line or column, where something cannot be read.
    """
    own = Path(tempfile.mkdtemp(prefix="source-", dir=scratch))
    if source.query is not None and source.database is not None:
        return read_tables([DataFile(table, {}) for table in write_query(source.query, source.database, own)])
    found: list[DataFile] = []
    for number, path in enumerate(source.paths):
        if is_address(path):
            copies = own / f"away-{number}"
            copies.mkdir()
            found += find_away(path, source, copies)
        else:
            found += find_files(path, base)
    told = ((file, _look(file, source)) for file in found)
    files = [(file, content) for file, content in told if not content.is_empty]
    if not files:
        raise DataError("is empty", path=found[0].path)
    _refuse_mixture(files)
    if files[0][1].format == "parquet":
        return read_tables([file for file, _ in files], source.storage_options())
    tables: list[Path] = []
    with progress("reading", len(files), "files") as advance:
        for number, (file, content) in enumerate(files):
            folder = own / f"{number:06}"
            folder.mkdir()
            tables += _write_tables(file, content, source, folder, ragged)
            advance()
    return read_tables([DataFile(table, {}) for table in tables])


def _look(file: DataFile, source: Source) -> Content:
    # What is still an address is Parquet: a copy has been made of anything else.
    if isinstance(file.path, str):
        return Content("parquet", None, source.encoding, "")
    return look_into(file.path, source.encoding, source.file_format)


def _refuse_mixture(files: list[tuple[DataFile, Content]]) -> None:
    first, content = files[0]
    for file, other in files:
        if other.format != content.format:
            raise DataError(
                f"is {other.format}, and {first.path} is {content.format}: one table is of one format; name the files "
                "that you mean, by a pattern such as *.csv",
                path=file.path,
            )


def _write_tables(file: DataFile, content: Content, source: Source, folder: Path, ragged: Counter[str]) -> list[Path]:
    """A text file's rows as Parquet files in ``folder``."""
    path = shown = Path(file.path)
    if not is_readable(content):
        path = folder / "text"
        content = write_utf8(shown, content, path)
    if content.format == "jsonl":
        tables = write_json_lines(path, content, folder, shown=shown, partition=file.partition)
    else:
        tables = [folder / "rows.parquet"]
        layout = find_layout(content, source, shown)
        is_padded = source.ragged == "pad"
        ragged += write_delimited(
            path, content, layout, tables[0], shown=shown, partition=file.partition, is_padded=is_padded
        )
    if path != shown:
        path.unlink()
    return tables
