"""Files at addresses: web pages are fetched, stores of objects are read by Polars."""

from __future__ import annotations

import glob
import re
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx
import polars as pl

from data.partitions import path_to_partition
from data.sources.content import Format
from data.sources.files import DataFile, is_hidden
from data.sources.source import Source
from hexbite.errors import DataError

_ADDRESS: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")

_TIMEOUT_S: Final = 60.0
_LINES_AT_ONCE: Final = 100_000

_SUFFIXES: Final[dict[str, Format]] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
_PACKED: Final = (".gz", ".zst")


def is_address(path: str) -> bool:
    """Whether a path names something that is not on this machine's disks."""
    return bool(_ADDRESS.match(path))


def find_away(address: str, source: Source, folder: Path) -> list[DataFile]:
    """The files at an address: Parquet in a store of objects as it is, all else as a copy in ``folder``.

    A store's format is told by ``file_format`` or by the address's end, and is Parquet where neither says. Raises
    DataError where nothing can be read there; the message leaves away what may be secret in an address.
    """
    scheme = urlsplit(address).scheme.lower()
    if scheme in ("http", "https"):
        return [DataFile(_fetch(address, folder), {})]
    try:
        if (source.file_format or _named_format(address)) == "parquet":
            return _find_parquet(address, source.storage_options())
        return _copy_text(address, source, folder)
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(
            f"cannot be read: {reason}; check the address, and storage in the map: its endpoint, region and keys",
            path=_shown(address),
        ) from error


def _fetch(address: str, folder: Path) -> Path:
    target = folder / (Path(urlsplit(address).path).name or "fetched")
    try:
        with httpx.stream("GET", address, follow_redirects=True, timeout=_TIMEOUT_S) as answer:
            if answer.is_error:
                raise DataError(
                    f"the server answers {answer.status_code} {answer.reason_phrase}; check the address",
                    path=_shown(address),
                )
            with target.open("wb") as file:
                for piece in answer.iter_bytes():
                    file.write(piece)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise DataError(f"cannot be fetched: {error}", path=_shown(address)) from error
    return target


def _find_parquet(address: str, storage: dict[str, str] | None) -> list[DataFile]:
    name = "path of the file"
    found = (
        pl.scan_parquet(
            address,
            schema={},
            extra_columns="ignore",
            hive_partitioning=False,
            include_file_paths=name,
            storage_options=storage,
        )
        .unique()
        .collect(engine="streaming")[name]
        .sort()
    )
    files = [_away_file(path, path, address) for path in found if not _is_hidden(path, address)]
    if not files:
        raise DataError("holds no rows", path=_shown(address))
    return files


def _copy_text(address: str, source: Source, folder: Path) -> list[DataFile]:
    """Line by line: unpacked, and with the line ends of here."""
    if source.encoding.lower().replace("_", "-") not in ("utf-8", "utf8"):
        raise DataError(
            f"text in a store of objects is read as UTF-8 only, and the map says {source.encoding}: fetch the file, "
            "and name the copy",
            path=_shown(address),
        )
    name = "path of the file"
    lines = pl.scan_lines(address, include_file_paths=name, storage_options=source.storage_options())
    copies: dict[str, Path] = {}
    for batch in lines.collect_batches(chunk_size=_LINES_AT_ONCE, maintain_order=True):
        for (path,), part in batch.partition_by(name, as_dict=True, maintain_order=True).items():
            if _is_hidden(path, address):
                continue
            copy = copies.setdefault(path, folder / f"{len(copies):06}")
            with copy.open("a", encoding="utf-8", newline="") as file:
                file.writelines(f"{line}\n" for line in part["line"])
    if not copies:
        raise DataError("holds no rows", path=_shown(address))
    return [_away_file(copies[path], path, address) for path in sorted(copies)]


def _away_file(file: Path | str, path: str, address: str) -> DataFile:
    return DataFile(file, path_to_partition(_below(path, address)[:-1]))


def _is_hidden(path: str, address: str) -> bool:
    return any(is_hidden(part) for part in _below(path, address))


def _below(path: str, address: str) -> list[str]:
    """The names of a path below the folder that was asked for; of a file that was asked for its own alone."""
    fixed = address.split("/")
    while any(glob.has_magic(part) for part in fixed):
        fixed.pop()
    root = "/".join(fixed).rstrip("/")
    return path.removeprefix(root).strip("/").split("/") if path != root else [path.rsplit("/", 1)[-1]]


def _named_format(address: str) -> Format:
    path = Path(urlsplit(address).path.lower())
    return _SUFFIXES.get(path.with_suffix("").suffix if path.suffix in _PACKED else path.suffix, "parquet")


def _shown(address: str) -> str:
    """An address without credentials, and without what follows a question mark, which may sign it."""
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
