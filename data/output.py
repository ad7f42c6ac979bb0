"""A data folder appears whole or not at all: it is written beside its place and renamed into it at the end."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import polars as pl

from hexbite.errors import DataError
from hexbite.features import FeatureSchema
from hexbite.folder import SCHEMA

#: How a drawn world, an imported folder and drawn logs came about; each marks a folder that a later run may replace.
WORLD: Final = "world.json"
SOURCE: Final = "source.json"
ORDERS: Final = "orders.json"
VISITS: Final = "visits.json"


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty temporary sibling that takes ``folder``'s place where the body ends well, else is removed.

    What stood there before is replaced only where these commands wrote it (it holds `SCHEMA`, and `WORLD` or `SOURCE`;
    or `ORDERS`, or `VISITS`).
    Raises DataError where it is a file or somebody else's folder, before the body runs.
    """
    place = folder.resolve()
    try:
        _refuse_strangers(folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{place.name}.partial-", dir=place.parent))
    except OSError as error:
        raise DataError(f"cannot be written: {error.strerror}", path=folder) from error
    try:
        partial.chmod(0o755)  # mkdtemp's 0700 would keep every other account from reading the result
        yield partial
        _put(partial, place)
    except OSError as error:
        raise DataError(f"cannot be written: {error.strerror or error}", path=folder) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _refuse_strangers(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise DataError("is a file; name a folder", path=folder)
    is_data = (folder / SCHEMA).exists() and ((folder / WORLD).exists() or (folder / SOURCE).exists())
    ours = is_data or (folder / ORDERS).exists() or (folder / VISITS).exists()
    if not ours and any(folder.iterdir()):
        raise DataError(
            f"is not empty and holds no {WORLD}, {SOURCE}, {ORDERS} or {VISITS} of an earlier run; "
            "name another folder or empty this one",
            path=folder,
        )


def _put(partial: Path, place: Path) -> None:
    if not place.exists():
        partial.rename(place)
        return
    # A full folder cannot be renamed over: the old one steps aside, and back again where the new one fails to land.
    aside = Path(tempfile.mkdtemp(prefix=f".{place.name}.replaced-", dir=place.parent))
    try:
        place.rename(aside / place.name)
        try:
            partial.rename(place)
        except BaseException:
            (aside / place.name).rename(place)
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def write_table(frame: pl.DataFrame, path: Path) -> None:
    """Write one parquet file, the same bytes for the same frame."""
    frame.rechunk().write_parquet(path, compression="zstd", compression_level=1, statistics=True)


def write_json(document: dict[str, Any], path: Path) -> None:
    """Write an indented JSON object; raises ValueError on NaN or infinity."""
    path.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def write_schema(schema: FeatureSchema, folder: Path) -> None:
    """Write ``schema.json``."""
    write_json(schema.to_json(), folder / SCHEMA)
