"""The company's own ids of restaurants, by the integers that stand for them."""

from __future__ import annotations

from typing import Final

from db.access.connections import Connections
from db.statements import SQL

# Of these at most twice as many are kept: some 15 MB.
_GENERATION: Final = 50_000


class Keys:
    """Asks for a text once, and keeps it: what a hash stands for never changes (ADR 13).

    Kept are the last ``generation`` that were asked for, at most twice as many.
    """

    def __init__(self, connections: Connections, fingerprint: str, generation: int = _GENERATION) -> None:
        self._connections = connections
        self._fingerprint = fingerprint
        self._generation = generation
        # What is wanted moves from the old to the young; when those are many, the old go.
        self._young: dict[int, str] = {}
        self._old: dict[int, str] = {}

    async def of(self, ids: list[int]) -> dict[int, str]:
        """The texts of restaurants by their ids, but of those whose row is gone or has none; one statement at most.

        Raises StoreUnavailable, StoreTimeout or StoreError.
        """
        found = {id_: text for id_ in ids if (text := self._young.get(id_) or self._old.get(id_)) is not None}
        missing = [id_ for id_ in ids if id_ not in found]
        if missing:
            async with self._connections.lend() as connection:
                rows = await connection.fetch(SQL["keys"], self._fingerprint, missing)
            found |= {id_: text for id_, text in rows if text is not None}
        self._young |= found
        if len(self._young) > self._generation:
            self._young, self._old = {}, self._young
        return found
