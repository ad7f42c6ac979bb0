"""The statements of ``db/sql/``, by the name of their file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

SQL: Final = {path.stem: path.read_text(encoding="utf-8") for path in (Path(__file__).parent / "sql").glob("*.sql")}
