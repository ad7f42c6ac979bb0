"""Which files belong to a data folder: parquet, at any depth, and nothing whose name begins with ``_`` or a dot."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import polars as pl

from data.partitions import path_to_partition
from hexbite.errors import DataError, Problem

_PARQUET: Final = ".parquet"
_MAGIC: Final = b"PAR1"

# How files of data in other formats end: named, where parquet is wanted.
_TEXT_FORMATS: Final = (".csv", ".json", ".jsonl", ".ndjson", ".tsv")
_BINARY_FORMATS: Final = (
    ".arrow",
    ".avro",
    ".feather",
    ".ipc",
    ".orc",
    ".parq",
    ".pickle",
    ".pkl",
    ".pq",
    ".xls",
    ".xlsx",
)
_OTHER_FORMATS: Final = frozenset((*_TEXT_FORMATS, *_BINARY_FORMATS))

# A damaged file makes polars fail in any of these ways.
_UNREADABLE: Final = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)


class Unreadable(Exception):
    """A parquet file is missing, damaged or cut off; says so in one line."""


class Found(NamedTuple):
    """The parquet files of a table or split, by relative path, and other data there that is left alone."""

    paths: list[Path]
    left_alone: list[Path]


class File:
    """A parquet file of a folder, read some columns and rows at a time. Raises Unreadable where its footer cannot be.

    ``name`` is its path within the folder. A column that the file lacks may be told by the names of the folders it lies
    in (``weekday=3/part-0.parquet``): `dtype` and `read` know those too, as text or integers.
    """

    def __init__(self, folder: Path, path: Path) -> None:
        self.path, self.name = path, path.relative_to(folder).as_posix()
        try:
            self.size_bytes = path.stat().st_size
            self.dtypes = dict(self._scan().collect_schema())
            self.rows = int(self._scan().select(pl.len()).collect().item())
        except _UNREADABLE as error:
            raise Unreadable(_in_words(error)) from error
        told = path_to_partition(Path(self.name).parts[:-1])
        self._partition = {name: _typed(value) for name, value in told.items() if name not in self.dtypes}

    def dtype(self, column: str) -> pl.DataType | None:
        """What a column holds; None where there is no such column."""
        if column in self._partition:
            return pl.Series([self._partition[column]]).dtype
        return self.dtypes.get(column)

    def is_told(self, column: str) -> bool:
        """Whether a column is told by the folders' names: as text too it is what it was."""
        return column in self._partition

    def read(self, columns: Sequence[str], start: int = 0, rows: int | None = None) -> pl.DataFrame:
        """Some columns, from row ``start`` on. Raises Unreadable."""
        told = [pl.lit(self._partition[name]).alias(name) for name in columns if name in self._partition]
        try:
            return self._scan().with_columns(told).select(columns).slice(start, rows).collect()
        except _UNREADABLE as error:
            raise Unreadable(_in_words(error)) from error

    def _scan(self) -> pl.LazyFrame:
        return pl.scan_parquet(self.path, glob=False, hive_partitioning=False)


def open_files(folder: Path, paths: Sequence[Path], problems: list[Problem]) -> list[File]:
    """Those that can be read; of each other one a problem."""
    files = []
    for path in paths:
        try:
            files.append(File(folder, path))
        except Unreadable as error:
            problems.append(Problem(path.relative_to(folder).as_posix(), "", str(error)))
    return files


def find(folder: Path, name: str, problems: list[Problem]) -> Found:
    """The files of a table (``user_features.parquet``: a file, or a folder of part files) or of a split (``train``).

    Parquet by another name is a problem, since its rows would be missed; so is data in another format where there is no
    parquet. Raises DataError where a folder cannot be listed.
    """
    place = folder / name
    inside = list(_walk(place)) if place.is_dir() else [place] if place.is_file() or place.is_symlink() else []
    paths = [path for path in inside if path.suffix.lower() == _PARQUET]
    others = [path for path in inside if path not in paths and (_is_of_another_format(path) or _is_parquet(path))]
    if not paths:
        others += _beside(folder, name)
    wanted = name if place.suffix == _PARQUET else f"{name}/*{_PARQUET}"
    missed = [path for path in others if not paths or _is_parquet(path)]
    problems += [
        Problem(path.relative_to(folder).as_posix(), "", f"is not read; wanted is parquet, as {wanted}")
        for path in missed
    ]
    return Found(paths, [path for path in others if path not in missed])


def _beside(folder: Path, name: str) -> Iterator[Path]:
    """What stands beside the place of a table or split and may be meant by it."""
    for path in sorted(folder.iterdir()):
        is_named_alike = path.name != name and path.name.partition(".")[0] == name.partition(".")[0]
        if is_named_alike and (path.is_dir() or path.suffix == _PARQUET or _is_of_another_format(path)):
            yield path


def _walk(place: Path) -> Iterator[Path]:
    """Every file below a folder but hidden ones; a folder that is met twice, by a link, is read once."""
    seen = set()

    def refuse(error: OSError) -> None:
        raise DataError(f"cannot be listed: {error.strerror}", path=error.filename) from error

    paths = []
    for parent, folders, files in os.walk(place, followlinks=True, onerror=refuse):
        folders[:] = [name for name in folders if not _is_hidden(name)]
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        paths += [Path(parent, name) for name in files if not _is_hidden(name)]
    yield from sorted(paths)


def _is_hidden(name: str) -> bool:
    return name.startswith(("_", "."))


def _is_of_another_format(path: Path) -> bool:
    """By its endings, of which the last may tell of compression: clicks.csv, clicks.csv.gz."""
    return not _OTHER_FORMATS.isdisjoint(suffix.lower() for suffix in path.suffixes[-2:])


def _is_parquet(path: Path) -> bool:
    if not path.is_file() or path.suffix.lower() == _PARQUET:
        return False
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:  # what cannot be read is no data of ours, by its name
        return False


def _typed(value: str | None) -> int | float | str | None:
    """A number where it is written as that number is: 12 and -0.5, not 0012."""
    if value is None:
        return None
    for kind in (int, float):
        try:
            number = kind(value)
        except ValueError:
            continue
        if str(number) == value and abs(number) < 2**63:
            return number
    return value


def _in_words(error: BaseException) -> str:
    """One line of what is wrong with a file."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, PermissionError):
        return "cannot be read: permission denied"
    said = str(error).strip().partition("\n")[0] or type(error).__name__
    return f"cannot be read as parquet, it may be damaged or cut off: {said}"
