"""Every error that the project raises on purpose.

A command prints the message and ends with status 1; the service turns the error into an answer by the one table
in ``bento/contract/errors.py``. Messages say what is wrong, where, and what to do.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

_SHOWN_PROBLEMS: Final = 20


class HexbiteError(Exception):
    """Base of everything below: catch this, and a bug still shows as a traceback.

    ``status`` is what a command ends with.
    """

    status = 1


class DataError(HexbiteError):
    """A file of offline data cannot be used as it is.

    ``path`` is the file or folder, ``column`` the column where one is to blame, ``count`` the number of bad rows.
    """

    def __init__(self, problem: str, *, path: Path | str, column: str | None = None, count: int | None = None) -> None:
        self.problem, self.path, self.column, self.count = problem, Path(path), column, count
        where = f"{path}" if column is None else f"{path}, column {column}"
        many = "" if count is None else f" ({count:,} rows)"
        super().__init__(f"{where}: {problem}{many}")


class Problem(NamedTuple):
    """What keeps a data folder from being used: in which file of it and in which column, and in how many rows.

    ``column`` is empty and ``rows`` 0 where it is no matter of them.
    """

    file: str
    column: str
    what: str
    rows: int = 0

    def __str__(self) -> str:
        where = f"{self.file}, column {self.column}" if self.column else self.file
        return f"{where}: {self.what}" + (f" ({self.rows:,} rows)" if self.rows else "")


class FolderError(DataError):
    """A data folder cannot be used; ``problems`` are all that is wrong with it, the message lists the first."""

    def __init__(self, problems: Sequence[Problem], *, path: Path) -> None:
        self.problems = problems
        lines = [f"cannot be used; problems {len(problems):,}", *map(str, problems[:_SHOWN_PROBLEMS])]
        more = len(problems) - _SHOWN_PROBLEMS
        if more > 0:
            lines.append(f"and {more:,} more; python -m data describe {path} lists all")
        super().__init__("\n  ".join(lines), path=path)


class SchemaError(HexbiteError):
    """A feature schema is malformed, or two that must agree do not."""


class ArtifactError(HexbiteError):
    """A published model is incomplete, of an unknown format, or at odds with itself."""


class StoreError(HexbiteError):
    """The feature store refused or failed for a reason that the operator can mend."""


class StoreUnavailable(StoreError):
    """The feature store cannot be reached now; the same request may succeed later."""


class StoreMisconfigured(StoreError):
    """The feature store cannot be used as it is set up: a wrong address, no tables, no rights. Trying again is vain."""


class StoreTimeout(StoreError):
    """The feature store did not answer within the time allowed."""


class ServerError(HexbiteError):
    """The embedded Postgres server cannot be set up, started or stopped."""


class ModelStoreError(HexbiteError):
    """The BentoML model store has no such model, or refused to take one."""


class TrainingError(HexbiteError):
    """Training cannot go on; the message says what to change."""


class Interrupted(TrainingError):
    """Training was asked to end by SIGTERM, and its state after ``step`` steps is in ``path``."""

    status = 128 + signal.SIGTERM

    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path
        super().__init__(f"stopped after step {step:,}; the same command with --resume goes on from {path}")


class InvalidRequestError(HexbiteError):
    """A request that the contract of ``/recommend`` refuses; ``field`` is the one to blame, None where it is none."""

    def __init__(self, message: str, field: str | None) -> None:
        super().__init__(message)
        self.field = field


class SettingsError(HexbiteError):
    """Something in the environment cannot be used; the message names the variable and never repeats its value."""


class ReplayError(HexbiteError):
    """A replay cannot go on: no service answers, or it refuses; the message says what to do."""


class DemoError(HexbiteError):
    """The demo cannot go on; the message says why."""
