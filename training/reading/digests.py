"""What tells the data of one run from that of another: a hash of each kind of thing that weights depend on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xxhash

from training.reading.clicks import Clicks
from training.reading.tables import Tables


class RowDigests:
    """Hashes of click rows in the order in which they are read: who met what, the labels, the context, the holdout."""

    def __init__(self) -> None:
        self._pairs, self._labels, self._context, self._validation = (xxhash.xxh3_128() for _ in range(4))
        self._sizes: list[tuple[int, int]] = []

    def add(self, training: Clicks, validation: Clicks) -> None:
        """The rows of the next part, those that train and those that are held out."""
        self._sizes.append((len(training), len(validation)))
        for hashed, values in (
            (self._pairs, training.user),
            (self._pairs, training.restaurant),
            (self._labels, training.click),
            (self._context, training.context),
            *((self._validation, column) for column in validation),
        ):
            hashed.update(np.ascontiguousarray(values).data)

    def told(self) -> dict[str, str]:
        """32 hex digits by what they are of."""
        return {
            "sizes of the train files' parts": _digest(np.array(self._sizes)),
            "users and restaurants of the train rows": self._pairs.hexdigest(),
            "clicks of the train rows": self._labels.hexdigest(),
            "context features of the train rows": self._context.hexdigest(),
            "validation rows": self._validation.hexdigest(),
        }


def tables_to_digests(tables: Tables) -> dict[str, str]:
    """32 hex digits by what they are of: who there is, and every value of theirs, row by row."""
    return {
        f"{what} of the {group} table": _digest(values)
        for group, table in (("user", tables.users), ("restaurant", tables.restaurants))
        for what, values in (("ids", table.ids), ("features", table.features))
    }


def _digest(values: npt.NDArray[np.generic]) -> str:
    return xxhash.xxh3_128_hexdigest(np.ascontiguousarray(values).data)
