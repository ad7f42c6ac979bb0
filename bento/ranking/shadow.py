"""A second model that scores what the first one answered: for the metrics, never for the answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

from bento.contract.ids import form_of, user_to_id
from bento.contract.models import RecommendRequest
from bento.ranking.recommend import Answer
from bento.ranking.served import Served
from bento.telemetry import metrics

# A child of the framework's logger: the same handlers, the same form.
_log = logging.getLogger("bentoml.hexbite")

_TOP: Final = 10

# Of a logit, much less than a model means by it.
_ROUNDING: Final = 1e-9


class Shadow:
    """Scores one answer at a time, after it was given; what comes meanwhile is dropped and counted.

    It shares connections and processor with the answers, and may not crowd them out.
    """

    def __init__(self, served: Served) -> None:
        self.served = served
        self._task: asyncio.Task[None] | None = None

    def offer(self, request: RecommendRequest, user_in_path: str | None, answer: Answer) -> None:
        """Score the restaurants of an answer, as soon as the answer is on its way.

        The ids of the request and of the answer are what they are to the shadow model; of another kind than its own,
        they count as a failure.
        """
        if not answer.response["restaurants"]:
            return
        if self._task is not None and not self._task.done():
            metrics.shadow("dropped").inc()
            return
        self._task = asyncio.create_task(self._score(request, user_in_path, answer))

    async def _score(self, request: RecommendRequest, user_in_path: str | None, answer: Answer) -> None:
        ranked = answer.response["restaurants"]
        asked = request.model_copy(
            update={
                "candidate_restaurant_ids": form_of([restaurant["id"] for restaurant in ranked]),
                "size": len(ranked),
                "at": answer.at,
                "sort_dist": False,
                "explain": False,
            }
        )
        try:
            user_id = user_to_id(user_in_path, request.user_id, self.served.ids.user)
            mine = await self.served.recommender.answer(asked, user_id)
        except Exception as error:  # noqa: BLE001 - nobody waits for it: counted and logged
            metrics.shadow("failed").inc()
            _log.warning("shadow model %s: %s", self.served.tag, error)
            return
        scores = {restaurant["id"]: restaurant["score"] for restaurant in mine.response["restaurants"]}
        for restaurant in ranked:
            if restaurant["id"] in scores:
                metrics.shadow_score_difference.observe(abs(scores[restaurant["id"]] - restaurant["score"]))
        metrics.shadow_overlap.observe(overlap(_logits_by_id(answer), _logits_by_id(mine)))
        metrics.shadow("scored").inc()


def overlap(answered: Mapping[Any, float], shadowed: Mapping[Any, float]) -> float:
    """The share of the first ten by one model that another has among its first ten; both are logits by id.

    Whoever scores as well as the tenth is among the first: who of them comes before whom is no matter of a model. As
    well is what differs by rounding, which depends on how many restaurants are scored at once.
    """
    first = sorted(answered, key=lambda id_: answered[id_], reverse=True)[:_TOP]
    tenth = sorted(shadowed.values(), reverse=True)[:_TOP][-1:]
    agreed = [id_ for id_ in first if id_ in shadowed and shadowed[id_] >= tenth[0] - _ROUNDING * max(1, abs(tenth[0]))]
    return len(agreed) / len(first)


def _logits_by_id(answer: Answer) -> dict[int | str, float]:
    ids = [restaurant["id"] for restaurant in answer.response["restaurants"]]
    return dict(zip(ids, answer.logits.tolist(), strict=True))
