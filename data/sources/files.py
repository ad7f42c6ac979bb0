"""Which files a path means."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from data.partitions import path_to_partition
from hexbite.errors import DataError

# What Hive and Spark write for a partition whose value is null.

# Folders by which tables are known whose files are not all of now.
_VERSIONED: Final = {"_delta_log": "Delta", ".hoodie": "Hudi"}


class DataFile(NamedTuple):
    """A file of this machine or an address, and what its folders' names (``day=2024-01-01``) say of its rows.

    Only folders below the path that was given count.
    """

    path: Path | str
    partition: dict[str, str | None]


def find_files(path: str, base: Path) -> list[DataFile]:
    """The files that a path means, by name: itself, all that is below it, or all that matches it.

    Names that begin with _ or . are no data (``_SUCCESS``, ``.part-0.crc``), nor is what lies in such a folder. Empty
    files are left out. Relative paths start at ``base``. Raises DataError where there is nothing.
    """
    whole = base / Path(path).expanduser()
    try:
        if whole.is_file():
            return [DataFile(whole, {})]
        if whole.is_dir():
            found = dict.fromkeys(_below(whole), whole)
        elif glob.has_magic(path):
            found = dict(_matches(whole))
        else:
            raise DataError("no such file or folder", path=whole)
        filled = [
            DataFile(file, path_to_partition(file.relative_to(root).parts[:-1]))
            for file, root in sorted(found.items())
            if file.stat().st_size
        ]
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", path=whole) from error
    if not filled:
        raise DataError("no file with anything in it (names that begin with _ or . are no data)", path=whole)
    return filled


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is none of the data; a partition of a column that begins with _ is."""
    return name.startswith(".") or (name.startswith("_") and "=" not in name)


def _below(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name in _VERSIONED:
            raise DataError(
                f"is a {_VERSIONED[path.name]} table, whose files hold rows of the past too: write it as Parquet",
                path=folder,
            )
        if is_hidden(path.name):
            continue
        if path.is_dir():
            yield from _below(path)
        else:
            yield path


def _matches(pattern: Path) -> Iterator[tuple[Path, Path]]:
    """Files and the folder above the first wildcard; a folder that matches stands for all below it."""
    fixed = next(number for number, part in enumerate(pattern.parts) if glob.has_magic(part))
    root = Path(*pattern.parts[:fixed])
    for match in map(Path, sorted(glob.glob(str(pattern), recursive=True))):  # noqa: PTH207 -- of any root
        if any(is_hidden(part) for part in match.relative_to(root).parts):
            continue
        for file in _below(match) if match.is_dir() else (match,):
            yield file, root
