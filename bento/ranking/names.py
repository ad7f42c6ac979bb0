"""What an answer calls its restaurants: as the data does, as text where integers would not arrive (ADR 13)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bento.contract.ids import INEXACT, is_text
from bento.contract.models import RecommendRequest
from db.reading.keys import Keys
from hexbite.geo import Ids
from hexbite.ids import IdKind


class Names:
    """Names restaurants whose ids are of a kind; texts that no request tells come from ``keys``.

    Integers are given as text to who asked by text, and to everybody with ``always_text``.
    """

    def __init__(self, kind: IdKind, keys: Keys, *, always_text: bool) -> None:
        self.kind = kind
        self._keys = keys
        self._always_text = always_text

    async def of(
        self, ids: Ids, request: RecommendRequest, candidates: list[int] | Ids | None
    ) -> Sequence[int | str | None]:
        """The names of N restaurants in an answer, by their ids ``(N,)``; None for one that the store has no text of.

        ``candidates`` are the ids of those that the request names, in its order. Raises what `Keys.of` raises.
        """
        found: list[int] = ids.tolist()
        if self.kind == "integer":
            return [str(id_) for id_ in found] if self._wants_text(request, found) else found
        asked = request.candidate_restaurant_ids
        if asked is None or not is_text(asked):  # none, or an empty list
            texts = await self._keys.of(found)
        else:
            # Of the few that are answered, not of all that were asked for.
            sought, those = np.sort(ids), np.asarray(candidates)
            is_answered = sought.take(np.searchsorted(sought, those), mode="clip") == those if found else []
            texts = {int(those[place]): asked[place].decode() for place in np.flatnonzero(is_answered).tolist()}
        return [texts.get(id_) for id_ in found]

    def _wants_text(self, request: RecommendRequest, found: list[int]) -> bool:
        asked = request.candidate_restaurant_ids
        if self._always_text or (asked is not None and is_text(asked)):
            return True
        return isinstance(request.user_id, str) and any(not -INEXACT < id_ < INEXACT for id_ in found)
