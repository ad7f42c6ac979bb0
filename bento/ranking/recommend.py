"""One request from its validated body to its answer."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from bento.contract.ids import candidates_to_ids
from bento.contract.models import RecommendRequest
from bento.ranking.names import Names
from bento.telemetry.laps import Clock, Lap, stages_ms
from db.reading.memory import Memory
from db.reading.online import FeatureStore, Restaurants, Snapshot
from hexbite.artifact import Artifact
from hexbite.counters.clocks import slots
from hexbite.counters.present import Present, comes_from
from hexbite.cover import circle_to_intervals
from hexbite.features import FeatureSchema, Matrix
from hexbite.geo import Ids, Metres, distances_m
from hexbite.ranker import Logits, Scorer, logits_to_scores, nearest, order
from hexbite.zones import LocalTimes, are_zones, local_times, number_to_zone

# What the store counts event times from.
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)

_EPOCH_US: Final = round(_EPOCH.timestamp()) * 1_000_000
_US: Final = timedelta(microseconds=1)

# To find one candidate by its id costs about as much as to pass by so many restaurants in the index of cells.
_PASSED_PER_FOUND: Final = 24

# A circle that is cut to the nearest is first read so far that it should hold this many times what is kept.
_MARGIN: Final = 1.3


class Freshness(NamedTuple):
    """How old what an answer rests on is, in seconds: the user's row, the oldest restaurant's row in the answer (None
    where there is none); and whether the user's row, and how many scored restaurants' rows, were too old to count.
    """

    user_age_s: float | None
    oldest_age_s: float | None
    is_user_stale: bool
    stale_restaurants: int


class Answer(NamedTuple):
    """The response, in the form of `bento.contract.models.RecommendResponse`, and what is to be told of it.

    ``logits`` are those of its restaurants: scores that saturate are alike. ``at`` is the moment that counted.
    ``unplaced`` restaurants were left out because their rows name no time zone, ``unnamed`` ones no text of their id.
    ``pending`` events of the user were counted that no refresh has moved yet; None where the model counts nothing.
    """

    response: dict[str, Any]
    logits: Logits
    at: datetime
    truncated: bool
    cold_start: bool
    in_range: int
    freshness: Freshness
    unplaced: int
    unnamed: int
    pending: int | None
    laps: list[Lap]


class _Prefiltered(NamedTuple):
    """What was read, how far each restaurant is ``(N,)``, and the positions of those in range."""

    snapshot: Snapshot
    distance_m: Metres
    in_range: npt.NDArray[np.intp]
    truncated: bool = False


class _Placed(NamedTuple):
    """Of which of N restaurants the zone is known ``(N,)``; of those, the M zones' numbers ``(M,)``, and their time."""

    are_known: npt.NDArray[np.bool_]
    zones: npt.NDArray[np.float32]
    local: LocalTimes


class Recommender:
    """A model, the store of its features, and the most restaurants that a request without candidates may score.

    A row whose event is more than ``max_age_s`` ago counts as missing: such a user is one that is unknown, and such a
    restaurant stays where it is and is scored by the mean restaurant's features. What was counted of either is known
    all the same. With ``always_text`` no id is given as an integer. What is known of places is refreshed every
    ``refresh_s`` seconds, None for never.
    """

    def __init__(
        self,
        tag: str,
        artifact: Artifact,
        store: FeatureStore,
        max_candidates: int,
        max_age_s: float | None = None,
        *,
        always_text: bool = False,
        refresh_s: float | None = None,
    ) -> None:
        self._tag = tag
        self._refresh_s = refresh_s
        self._artifact = artifact
        self._scorer = Scorer(artifact.ranker, len(artifact.schema.user))
        self._store = store
        self._present = Present(artifact.schema.counters)
        self._max_candidates = max_candidates
        self._max_age_s = math.inf if max_age_s is None else max_age_s
        self._names = Names(artifact.schema.ids.restaurant, store.keys, always_text=always_text)

    async def answer(self, request: RecommendRequest, user_id: int) -> Answer:
        """Rank the restaurants in range for one user.

        Raises InvalidRequestError where a candidate is not of the model's kind, and what reads of `FeatureStore` raise.
        """
        schema = self._artifact.schema
        clock = Clock()
        at = request.at or datetime.now(UTC)

        if request.candidate_restaurant_ids is None:
            candidates = None
            read = await self._read_nearby(request, user_id, clock)
        else:
            candidates = candidates_to_ids(request.candidate_restaurant_ids, schema.ids.restaurant)
            if not isinstance(candidates, list):
                clock.lap("keys")
            read = await self._read_candidates(request, user_id, candidates, clock)
        snapshot, kept = read.snapshot, read.in_range
        if read.truncated:
            found = snapshot.restaurants["id"][kept]
            kept = kept[nearest(found, read.distance_m[kept], self._max_candidates)]
        placed = self._placed(snapshot.restaurants["features"][kept, -1], at) if schema.tells_local_time else None
        unplaced = 0 if placed is None else len(kept) - len(placed.zones)
        kept = kept if placed is None else kept[placed.are_known]
        distance_m, restaurants = read.distance_m[kept], snapshot.restaurants[kept]
        ids = restaurants["id"].astype(np.int64)
        clock.lap("distance")

        ages_s = snapshot.ages_s(restaurants)
        stale = ages_s > self._max_age_s
        user, is_cold, is_user_stale = self._user(snapshot)
        features = restaurants["features"].astype(np.float32)[:, : len(schema.restaurant)]
        local = None if placed is None else placed.local
        memory = snapshot.memory
        counted = None if memory is None else self._counted(memory, ids, restaurants, local, at)
        context = schema.context_rows(distance_m, local, counted)
        features[stale] = self._artifact.restaurant_mean
        logits = self._scorer.logits(user, np.concatenate((features, context), axis=1))
        clock.lap("score")

        best = order(ids, logits, distance_m, size=request.size, by_distance=request.sort_dist)
        if self._names.kind == "text":
            clock.lap("order")
        names = await self._names.of(ids[best], request, candidates)
        if unnamed := names.count(None):
            best = best[[name is not None for name in names]]
            names = [name for name in names if name is not None]
        logits = logits[best]
        scores = logits_to_scores(logits)
        ranked: list[dict[str, Any]] = [
            {"id": name, "score": score, "displacement": metres}
            for name, score, metres in zip(names, scores.tolist(), distance_m[best].tolist(), strict=True)
        ]
        clock.lap("keys" if self._names.kind == "text" else "order")

        response: dict[str, Any] = {"restaurants": ranked}
        if request.explain:
            for restaurant, row in zip(ranked, best.tolist(), strict=True):
                restaurant["features"] = {
                    "restaurant": _named(schema, "restaurant", features[row]),
                    "context": _named(schema, "context", context[row]),
                    "event_ts": _us_to_time(int(restaurants["event_us"][row])),
                    "stale": bool(stale[row]),
                    "time_zone": None if placed is None else number_to_zone(int(placed.zones[row])).key,
                }
            asked = request.candidate_restaurant_ids
            response["meta"] = {
                "model": self._tag,
                "at": at,
                "cold_start": is_cold,
                "freshness": {
                    "max_feature_age_s": self._max_age_s if math.isfinite(self._max_age_s) else None,
                    "user_event_ts": None if snapshot.user_event_us is None else _us_to_time(snapshot.user_event_us),
                    "user_stale": is_user_stale,
                    "stale_restaurants": int(stale.sum()),
                },
                "counts": {
                    "asked": None if asked is None else len(asked),
                    "known": len(snapshot.restaurants) if snapshot.known is None else snapshot.known,
                    "in_cover": len(snapshot.restaurants),
                    "in_range": len(read.in_range),
                    "scored": len(kept),
                    "left_out": unplaced + unnamed,
                },
                "memory": None if memory is None else self._explained(memory),
                "stages_ms": stages_ms(clock.laps),
                "user_features": _named(schema, "user", user),
            }
        oldest_age_s = float(ages_s[best].max()) if len(best) else None
        freshness = Freshness(snapshot.user_age_s(), oldest_age_s, is_user_stale, int(stale.sum()))
        in_range = len(read.in_range)
        return Answer(
            response,
            logits,
            at,
            read.truncated,
            is_cold,
            in_range,
            freshness,
            unplaced,
            unnamed,
            None if memory is None else memory.pending,
            clock.laps,
        )

    def _counted(
        self, memory: Memory, ids: Ids, restaurants: Restaurants, local: LocalTimes | None, at: datetime
    ) -> Matrix:
        """The counters ``(N, K)`` of N restaurants at a moment, whatever the age of their rows and of the user's."""
        at_us = (at - _EPOCH) // _US + _EPOCH_US
        arrivals = memory.arrivals
        if not comes_from(float(memory.people.previous_us[0]), at_us):
            arrivals = arrivals[0][:0], arrivals[1][:0]
        clocks = self._artifact.schema.counters.clocks
        by_clock = {} if local is None else {clock: slots(clock, local.hour, local.weekday) for clock in clocks}
        return self._present.rows(memory.people, ids, restaurants["state"], arrivals, by_clock, at_us)

    def _explained(self, memory: Memory) -> dict[str, Any]:
        return {
            "places_refreshed_at": _us_to_time(memory.refreshed_us - _EPOCH_US),
            "lag_s": self._artifact.schema.counters.lag_s,
            "refresh_s": self._refresh_s,
            "pending_events": memory.pending,
        }

    def _placed(self, zones: npt.NDArray[np.floating], at: datetime) -> _Placed:
        """By which clocks a moment is told of N restaurants, by the zones' numbers ``(N,)`` of their rows."""
        numbers = zones.astype(np.float32)
        are_known = are_zones(numbers)
        numbers = numbers[are_known]
        return _Placed(are_known, numbers, local_times(numbers, at.timestamp()))

    def _user(self, snapshot: Snapshot) -> tuple[Matrix, bool, bool]:
        """The user's features ``(U,)``; whether they are the mean user's, and whether because the row is too old."""
        age_s = snapshot.user_age_s()
        if snapshot.user is None or age_s is None:
            return self._artifact.user_mean, True, False
        if age_s > self._max_age_s:
            return self._artifact.user_mean, True, True
        return snapshot.user, False, False

    async def rehearse(self) -> None:
        """Take every way of a request once, with an answer of nothing: statements get prepared, libraries loaded."""
        for candidates in (None, ["0"]):  # an id of either kind
            nowhere = {"latitude": 0.0, "longitude": 0.0, "max_dist": 1_000.0, "explain": True}
            request = RecommendRequest.model_validate(nowhere | {"candidate_restaurant_ids": candidates})
            await self.answer(request, 0)
        await self._store.candidates(0, [0])
        if self._names.kind == "text":
            await self._store.keys.of([0])
        schema = self._artifact.schema
        rows = np.zeros((100, len(schema.restaurant) + len(schema.context)), dtype=np.float32)
        logits_to_scores(self._scorer.logits(self._artifact.user_mean, rows))

    async def _read_candidates(
        self, request: RecommendRequest, user_id: int, asked: list[int] | Ids, clock: Clock
    ) -> _Prefiltered:
        """Those of the candidates that are in range, by the cheaper of two ways: by id, or by cell and id."""
        position = request.latitude, request.longitude
        passed = self._store.spread.rows_near(*position, request.max_dist)
        if len(asked) * _PASSED_PER_FOUND <= passed:
            clock.lap("cover")
            few = asked if isinstance(asked, list) else asked.tolist()
            snapshot = await self._store.candidates(user_id, few, count_known=request.explain)
        else:
            cover = circle_to_intervals(*position, request.max_dist, passed)
            clock.lap("cover")
            snapshot = await self._store.candidates_nearby(user_id, asked, cover, count_known=request.explain)
        clock.lap("store")
        distance_m = _distances_m(request, snapshot)
        return _Prefiltered(snapshot, distance_m, np.flatnonzero(distance_m <= request.max_dist))

    async def _read_nearby(self, request: RecommendRequest, user_id: int, clock: Clock) -> _Prefiltered:
        """Every restaurant in range; where there are more than may be scored, all up to a distance with as many.

        Where a circle is expected to hold too many, a smaller one is read, and a larger one for as long as that turns
        out to hold too few: the nearest are certain once there are more of them than are kept. Each circle is read
        whole, in a snapshot of its own, and only the last counts.
        """
        position = request.latitude, request.longitude
        radius_m = self._first_radius_m(*position, request.max_dist)
        while True:
            cover = circle_to_intervals(*position, radius_m, self._store.spread.rows_near(*position, radius_m))
            clock.lap("cover")
            snapshot = await self._store.nearby(user_id, cover)
            clock.lap("store")
            distance_m = _distances_m(request, snapshot)
            in_range = np.flatnonzero(distance_m <= radius_m)
            truncated = len(in_range) > self._max_candidates
            if truncated or radius_m >= request.max_dist:
                return _Prefiltered(snapshot, distance_m, in_range, truncated)
            growth = math.sqrt(_MARGIN * self._max_candidates / max(1, len(in_range)))
            radius_m = min(request.max_dist, radius_m * min(4.0, max(1.2, growth)))

    def _first_radius_m(self, lat_deg: float, lng_deg: float, max_dist_m: float) -> float:
        """A radius that is expected to hold somewhat more restaurants than may be scored; at most ``max_dist_m``."""
        wanted = _MARGIN * self._max_candidates
        radius_m, rows = max_dist_m, self._store.spread.rows_near(lat_deg, lng_deg, max_dist_m)
        if rows <= self._max_candidates:
            return max_dist_m
        while (fewer := self._store.spread.rows_near(lat_deg, lng_deg, radius_m / 2)) > wanted:
            radius_m, rows = radius_m / 2, fewer
        return min(max_dist_m, radius_m * math.sqrt(wanted / rows))


def _distances_m(request: RecommendRequest, snapshot: Snapshot) -> Metres:
    restaurants = snapshot.restaurants
    lats_deg, lngs_deg = restaurants["lat_deg"].astype(np.float64), restaurants["lng_deg"].astype(np.float64)
    return distances_m(request.latitude, request.longitude, lats_deg, lngs_deg)


def _us_to_time(event_us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=event_us)


def _named(schema: FeatureSchema, group: str, row: npt.NDArray[np.float32]) -> dict[str, float]:
    return dict(zip(schema.names(group), row.tolist(), strict=True))
