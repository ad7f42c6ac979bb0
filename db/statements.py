"""The statements of ``db/sql/``, by the name of their file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_FILES: Final = sorted((Path(__file__).parent / "sql").rglob("*.sql"))

#: Folders say what a statement is for; its name is the file's alone, and each is there once.
SQL: Final = {path.stem: path.read_text(encoding="utf-8") for path in _FILES}

assert len(SQL) == len(_FILES), "two files of db/sql/ have one name"
