"""Names of features out of columns and values: identifiers, each of them once."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from hexbite.features import RESERVED

_NO_LETTERS: Final = re.compile(r"[^\w]+")

# A name is a column of a table and a label in a plot.
_LONGEST: Final = 60


def text_to_name(text: str) -> str:
    """Letters of any script and digits in lower case, all else an underscore; may be empty or begin with a digit."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower())
    kept = "".join(letter if ("a" + letter).isidentifier() else " " for letter in folded)
    return _NO_LETTERS.sub("_", kept).strip("_")[:_LONGEST].rstrip("_")


class Names:
    """Hands out names of one table, none twice."""

    def __init__(self, taken: frozenset[str] = frozenset()) -> None:
        self._taken = set(taken | RESERVED)

    def give(self, *parts: str) -> str:
        """An identifier out of the parts; what is taken already gets a number."""
        stem = "_".join(filter(None, (text_to_name(part) for part in parts))) or "value"
        if not stem.isidentifier():
            stem = f"_{stem}"
        name, number = stem, 1
        while name in self._taken:
            number += 1
            name = f"{stem}_{number}"
        self._taken.add(name)
        return name
