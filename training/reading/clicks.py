"""Click rows, a slice of a file at a time, with row numbers of the feature tables in the place of ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from data.folder.clicks import ClickReader, Part, Rows, Tally, Unknown
from data.folder.files import File, Unreadable
from hexbite.errors import FolderError
from hexbite.features import Matrix
from training.reading.tables import Tables


class Clicks(NamedTuple):
    """N rows: ``user`` and ``restaurant`` ``(N,)`` row numbers, ``click`` ``(N,)`` 0 or 1, ``context`` ``(N, C)``.

    Twelve bytes a row beside the context, so that a window of a million is small.
    """

    user: Rows
    restaurant: Rows
    click: npt.NDArray[np.float32]
    context: Matrix

    def take(self, rows: npt.NDArray[np.integer] | npt.NDArray[np.bool_] | slice) -> Clicks:
        """Some of the rows, by position, mask or slice."""
        return Clicks(self.user[rows], self.restaurant[rows], self.click[rows], self.context[rows])

    def __len__(self) -> int:
        return len(self.click)

    @classmethod
    def empty(cls, context_width: int) -> Clicks:
        """No row."""
        numbers, nothing = np.empty(0, dtype=np.int32), np.empty(0, dtype=np.float32)
        return cls(numbers, numbers, nothing, np.empty((0, context_width), dtype=np.float32))

    @classmethod
    def concatenate(cls, parts: Sequence[Clicks]) -> Clicks:
        """One after the other; one at the least."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            np.concatenate([part.user for part in parts]),
            np.concatenate([part.restaurant for part in parts]),
            np.concatenate([part.click for part in parts]),
            np.concatenate([part.context for part in parts]),
        )


@dataclass(frozen=True)
class ClickFiles:
    """The files of a split in a data folder, ``train`` or ``test``, that hold rows.

    A row whose user or restaurant has no features is an error, or left out and counted with ``unknown="skip"``.
    """

    folder: Path
    split: str
    tables: Tables
    unknown: Unknown = "error"

    @cached_property
    def reader(self) -> ClickReader:
        """What reads them."""
        return replace(self.tables.clicks[self.split], unknown=self.unknown)

    @property
    def files(self) -> Sequence[File]:
        """In the order of their relative paths."""
        return self.reader.files

    @property
    def parts(self) -> list[Part]:
        """Slices of a row group each, file by file."""
        return self.reader.parts

    def judge(self, part: Part, tally: Tally) -> tuple[Clicks, int]:
        """The usable rows of a slice, and how many were left out; what is wrong goes to the tally."""
        file = self.files[part.file]
        try:
            rows, used, faults = self.reader.read(part)
        except Unreadable as error:
            tally.add_unreadable(file, str(error))
            return Clicks.empty(len(self.reader.context)), part.rows
        tally.add(file, rows, used, faults)
        left_out = part.rows - int(np.count_nonzero(used))
        return (Clicks(*rows).take(used) if left_out else Clicks(*rows)), left_out

    def read(self, part: Part) -> tuple[Clicks, int]:
        """The rows of a slice, and how many were left out. Raises FolderError where it cannot be used."""
        tally = Tally(self.split)
        read = self.judge(part, tally)
        problems = tally.problems(is_whole=False)
        if problems:
            raise FolderError(problems, path=self.folder)
        return read
