"""One request from its validated body to its answer."""

from __future__ import annotations

import time
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from bento.models import Counts, Meta, Recommendation, RecommendRequest, RecommendResponse, RestaurantFeatures
from db.online import FeatureStore
from hexbite.artifact import Artifact
from hexbite.features import FeatureSchema
from hexbite.geo import circle_to_intervals, distances_m
from hexbite.ranker import logits_to_scores, order

_MS: Final = 1_000.0


class Answer(NamedTuple):
    """The response, and how many restaurants in range were left unscored because there were too many."""

    response: RecommendResponse
    cut: int


class Recommender:
    """A model, the store of its features, and the most restaurants that a request may score."""

    def __init__(self, tag: str, artifact: Artifact, store: FeatureStore, max_candidates: int) -> None:
        self._tag = tag
        self._artifact = artifact
        self._store = store
        self._max_candidates = max_candidates

    async def answer(self, request: RecommendRequest, user_id: int) -> Answer:
        """Rank the restaurants in range for one user. Raises what `FeatureStore.read` raises."""
        schema, ranker = self._artifact.schema, self._artifact.ranker
        clock = _Clock()

        cover = circle_to_intervals(request.latitude, request.longitude, request.max_dist)
        asked = request.candidate_restaurant_ids
        candidates = None if asked is None else np.unique(np.array(asked, dtype=np.int64))
        clock.lap("cover")

        snapshot = await self._store.read(user_id, cover, candidates, count_known=request.explain)
        clock.lap("store")

        distance_m = distances_m(request.latitude, request.longitude, snapshot.lats_deg, snapshot.lngs_deg)
        in_range = np.flatnonzero(distance_m <= request.max_dist)
        kept = in_range
        if candidates is None and len(in_range) > self._max_candidates:
            nearest = np.lexsort((snapshot.ids[in_range], distance_m[in_range]))
            kept = in_range[nearest[: self._max_candidates]]
        ids, distance_m, features = snapshot.ids[kept], distance_m[kept], snapshot.features[kept]
        clock.lap("distance")

        user = self._artifact.user_mean if snapshot.user is None else snapshot.user
        context = schema.context_rows(distance_m)
        logits = ranker.logits(schema.assemble(user, features, context))
        scores = logits_to_scores(logits)
        clock.lap("score")

        best = order(ids, logits, distance_m, size=request.size, by_distance=request.sort_dist)
        clock.lap("order")

        meta = None
        if request.explain:
            meta = Meta(
                model=self._tag,
                cold_start=snapshot.user is None,
                counts=Counts(
                    asked=None if asked is None else len(asked),
                    known=len(snapshot.ids) if snapshot.known is None else snapshot.known,
                    in_cover=len(snapshot.ids),
                    in_range=len(in_range),
                    scored=len(kept),
                ),
                stages_ms=clock.laps_ms,
                user_features=_named(schema, "user", user),
            )
        restaurants = [
            Recommendation(
                id=int(ids[i]),
                score=float(scores[i]),
                displacement=float(distance_m[i]),
                features=RestaurantFeatures(
                    restaurant=_named(schema, "restaurant", features[i]), context=_named(schema, "context", context[i])
                )
                if request.explain
                else None,
            )
            for i in best
        ]
        return Answer(RecommendResponse(restaurants=restaurants, meta=meta), len(in_range) - len(kept))


class _Clock:
    """Milliseconds a stage."""

    def __init__(self) -> None:
        self.laps_ms: dict[str, float] = {}
        self._lapped = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.laps_ms[stage] = round((now - self._lapped) * _MS, 3)
        self._lapped = now


def _named(schema: FeatureSchema, group: str, row: npt.NDArray[np.float32]) -> dict[str, float]:
    return dict(zip(schema.names(group), row.tolist(), strict=True))
