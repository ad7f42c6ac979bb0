"""Columns that the names of folders tell: ``day=2026-03-01/part-0.parquet``, as Hive and Spark write them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote

_HIVE_NULL: Final = "__HIVE_DEFAULT_PARTITION__"


def path_to_partition(folders: Iterable[str]) -> dict[str, str | None]:
    """What folders named ``column=value`` say, as text: percent signs undone, Hive's name for null as None."""
    named = (folder.partition("=") for folder in folders)
    told = {unquote(name): value for name, equals, value in named if name and equals}
    return {name: None if value == _HIVE_NULL else unquote(value) for name, value in told.items()}
