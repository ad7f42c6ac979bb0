"""A revision is two SQL files beside its Python file: what goes up and what comes down."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from alembic import context


def run_beside(revision_file: str, direction: Literal["up", "down"]) -> None:
    """Run ``<revision>.up.sql`` or ``.down.sql`` as it is written, or print it in offline mode.

    Not through ``op.execute``, which reads ``:name`` as a parameter; without parameters the driver leaves ``%`` alone.
    """
    sql = Path(revision_file).with_suffix(f".{direction}.sql").read_text(encoding="utf-8")
    if context.is_offline_mode():
        context.get_context().impl.static_output(sql)
    else:
        context.get_bind().exec_driver_sql(sql, execution_options={"no_parameters": True})
