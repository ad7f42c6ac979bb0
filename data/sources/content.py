"""What a file is, told by its first bytes: names lie."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, Literal, NamedTuple, cast

import polars as pl

from hexbite.errors import DataError

Format = Literal["parquet", "csv", "jsonl"]
Packing = Literal["gzip", "zstd", "bzip2", "xz"]

#: How many bytes of text tell what it is.
LOOK_BYTES: Final = 1 << 18

# Lines of zstd that stand for those bytes: Polars unpacks it, and gives lines.
_LOOK_LINES: Final = 1_000

_PACKINGS: Final[dict[bytes, Packing]] = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
}

# What is none of ours, and what to do about it.
_STRANGERS: Final = {
    b"PK\x03\x04": "is a zip archive or an Excel workbook: unpack it, or save its sheet as CSV",
    b"\xd0\xcf\x11\xe0": "is an Excel workbook: save its sheet as CSV",
    b"Obj\x01": "is an Avro file: write it as Parquet",
    b"ORC": "is an ORC file: write it as Parquet",
    b"ARROW1": "is an Arrow file: write it as Parquet",
    b"SQLite format 3": "is an SQLite database: write its table as CSV",
    b"%PDF": "is a PDF",
}

_BOMS: Final = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}

_UNPACKING_ERRORS: Final = (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError)


class Content(NamedTuple):
    """``start``: the text's first `LOOK_BYTES` or so, decoded; "" of a Parquet file and of an empty one."""

    format: Format
    packing: Packing | None
    encoding: str
    start: str

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing at all in the file."""
        return self.format != "parquet" and not self.start.strip()


def look_into(path: Path, encoding: str = "utf-8", named: Format | None = None) -> Content:
    """Tell what a file is. ``encoding`` is that of text without a byte order mark; ``named`` what the map calls it.

    Raises DataError where it is nothing that can be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", path=path) from error
    if head.startswith(b"PAR1"):
        if named not in (None, "parquet"):
            raise DataError(f'is a Parquet file, and the map calls it "{named}": leave file_format away', path=path)
        return Content("parquet", None, encoding, "")
    if named == "parquet" and head:
        raise DataError("is no Parquet file: leave file_format away, or name the file that you mean", path=path)
    for magic, what in _STRANGERS.items():
        if head.startswith(magic):
            raise DataError(what, path=path)
    packing = next((packing for magic, packing in _PACKINGS.items() if head.startswith(magic)), None)
    start = _first_bytes(path, packing)
    encoding = next((name for bom, name in _BOMS.items() if start.startswith(bom)), encoding)
    text = _decode(start, encoding, path)
    return Content(named or _text_format(text, path), packing, encoding, text)


@contextmanager
def unpacked(path: Path, packing: Packing | None) -> Iterator[IO[bytes]]:
    """The bytes of a file that is packed by anything but zstd. Raises DataError where it is cut off or damaged."""
    if packing == "zstd":
        raise DataError("is packed by zstd and no UTF-8: unpack it first, or write it as UTF-8", path=path)
    try:
        with _open(path, packing) as file:
            yield file
    except _UNPACKING_ERRORS as error:
        raise DataError(f"is cut off or damaged ({packing}): {error}; fetch it anew", path=path) from error
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", path=path) from error


def _open(path: Path, packing: Packing | None) -> IO[bytes]:
    match packing:
        case "gzip":
            return cast("IO[bytes]", gzip.open(path))
        case "bzip2":
            return cast("IO[bytes]", bz2.open(path))
        case "xz":
            return cast("IO[bytes]", lzma.open(path))
    return path.open("rb")


def check_encoding(encoding: str, path: Path) -> str:
    """Python's name of an encoding. Raises DataError where there is none of that name."""
    try:
        return codecs.lookup(encoding).name
    except LookupError as error:
        raise DataError(
            f"no encoding is called {encoding!r}; usual ones are utf-8, cp1252, latin-1, utf-16, shift_jis", path=path
        ) from error


def _first_bytes(path: Path, packing: Packing | None) -> bytes:
    if packing == "zstd":
        try:
            lines = pl.scan_lines(path, n_rows=_LOOK_LINES, glob=False).collect()["line"]
        except OSError as error:
            raise DataError(f"is cut off or damaged (zstd): {error}; fetch it anew", path=path) from error
        except pl.exceptions.PolarsError as error:
            raise DataError(f"cannot be unpacked (zstd), or is no UTF-8: {error}", path=path) from error
        return "\n".join(lines).encode()
    with unpacked(path, packing) as file:
        return file.read(LOOK_BYTES)


def _decode(start: bytes, encoding: str, path: Path) -> str:
    """The text of a file's beginning, which may end within a character."""
    name = check_encoding(encoding, path)
    decoder = codecs.getincrementaldecoder(name)()
    try:
        return decoder.decode(start).removeprefix("\ufeff")
    except UnicodeError as error:
        raise not_in_encoding(path, name, error) from error


def not_in_encoding(path: Path, encoding: str, error: UnicodeError, after_line: int = 1) -> DataError:
    """What to say where bytes are no text in a file's encoding; the piece they are in begins in line ``after_line``."""
    line, why = after_line, str(error)
    if isinstance(error, UnicodeDecodeError):
        line, why = line + error.object[: error.start].count(b"\n"), error.reason
    return DataError(
        f"is not written in {encoding}: line {line:,} holds bytes that are no text in it ({why}); name the file's "
        "encoding in the map: usual ones are cp1252, latin-1, utf-16, shift_jis",
        path=path,
    )


def _text_format(text: str, path: Path) -> Format:
    beginning = text.lstrip()[:1]
    if beginning == "[":
        raise DataError(
            "is one JSON array; JSON lines are wanted, an object a line: jq -c '.[]' file.json > file.jsonl", path=path
        )
    return "jsonl" if beginning == "{" else "csv"
