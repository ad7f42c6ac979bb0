"""Text in other encodings and packings than Polars reads becomes UTF-8, in pieces."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from data.sources.content import Content, check_encoding, not_in_encoding, unpacked

_PIECE_BYTES: Final = 1 << 22


def is_readable(content: Content) -> bool:
    """Whether Polars reads the text as it is."""
    return codecs.lookup(content.encoding).name == "utf-8" and content.packing in (None, "gzip", "zstd")


def write_utf8(path: Path, content: Content, target: Path) -> Content:
    """Write a file's text, unpacked, as UTF-8, and return what the copy is.

    Raises DataError where a byte of it is none of the encoding.
    """
    with target.open("w", encoding="utf-8", newline="") as out:
        for text in _decoded(path, content, path):
            out.write(text)
    return content._replace(encoding="utf-8", packing=None)


def refuse_other_bytes(path: Path, content: Content, shown: Path) -> None:
    """Raise DataError, by the name ``shown``, where a byte of the text is none of its encoding."""
    if content.packing != "zstd":
        for _ in _decoded(path, content, shown):
            pass


def _decoded(path: Path, content: Content, shown: Path) -> Iterator[str]:
    name = check_encoding(content.encoding, shown)
    decoder = codecs.getincrementaldecoder(name)()
    lines = 1
    with unpacked(path, content.packing) as file:
        try:
            while piece := file.read(_PIECE_BYTES):
                yield (text := decoder.decode(piece))
                lines += text.count("\n")
            yield decoder.decode(b"", final=True)
        except UnicodeError as error:
            raise not_in_encoding(shown, name, error, after_line=lines) from error
