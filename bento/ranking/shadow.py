"""A second model that scores what the first one answered: for the metrics, never for the answer."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from bento.contract.models import RecommendRequest
from bento.ranking.served import Served
from bento.telemetry import metrics

# A child of the framework's logger: the same handlers, the same form.
_log = logging.getLogger("bentoml.hexbite")

_TOP: Final = 10


class Shadow:
    """Scores one answer at a time, after it was given; what comes meanwhile is dropped and counted.

    It shares connections and processor with the answers, and may not crowd them out.
    """

    def __init__(self, served: Served) -> None:
        self.served = served
        self._task: asyncio.Task[None] | None = None

    def offer(self, request: RecommendRequest, user_id: int, ranked: list[dict[str, Any]]) -> None:
        """Score the restaurants of an answer, as soon as the answer is on its way."""
        if not ranked:
            return
        if self._task is not None and not self._task.done():
            metrics.shadow("dropped").inc()
            return
        self._task = asyncio.create_task(self._score(request, user_id, ranked))

    async def _score(self, request: RecommendRequest, user_id: int, ranked: list[dict[str, Any]]) -> None:
        asked = request.model_copy(
            update={
                "candidate_restaurant_ids": [restaurant["id"] for restaurant in ranked],
                "size": len(ranked),
                "sort_dist": False,
                "explain": False,
            }
        )
        try:
            answer = await self.served.recommender.answer(asked, user_id)
        except Exception as error:  # noqa: BLE001 - nobody waits for it: counted and logged
            metrics.shadow("failed").inc()
            _log.warning("shadow model %s: %s", self.served.tag, error)
            return
        scores = {restaurant["id"]: restaurant["score"] for restaurant in answer.response["restaurants"]}
        for restaurant in ranked:
            if restaurant["id"] in scores:
                metrics.shadow_score_difference.observe(abs(scores[restaurant["id"]] - restaurant["score"]))
        first = {restaurant["id"] for restaurant in ranked[:_TOP]}
        metrics.shadow_overlap.observe(len(first.intersection(list(scores)[:_TOP])) / len(first))
        metrics.shadow("scored").inc()
