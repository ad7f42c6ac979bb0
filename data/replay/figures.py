"""What came of a replay: figures of the service beside the baselines, how long it took, what went wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from data.replay.baselines import BASELINES
from hexbite.geo import Ids
from hexbite.rankings import Figure, bootstrap_mean, rank_to_hit, rank_to_ndcg

#: The service and the baselines, in the order of the rows of ranks.
RANKINGS: Final = ("service", *BASELINES)

_CUTS: Final = (1, 5, 10)
_PERCENTILES: Final = (50, 95, 99)
_SEED: Final = 0


@dataclass(frozen=True, slots=True)
class Replayed:
    """N visits that were answered: whose ``(N,)``, the place's ``ranks`` by each of `RANKINGS` ``(1 + B, N)``, whether
    it was new to the person ``(N,)``, how many were in reach ``(N,)``.

    ``unseen`` of them went to a place that is in reach and further down than an answer is long; ``truncated`` answers
    did not score all in reach. ``failed`` counts visits without an answer by the reason, ``left_out`` those of places
    without a row. ``told`` events were; every ``refresh_s`` seconds the service refreshes what is known of places, None
    where it does not. ``asked_ms`` and ``told_ms`` are how long the answers took.
    """

    user_ids: Ids
    ranks: npt.NDArray[np.int64]
    is_new: npt.NDArray[np.bool_]
    in_reach: npt.NDArray[np.int64]
    unseen: int
    truncated: int
    failed: Counter[str]
    left_out: int
    told: int
    refresh_s: float | None
    asked_ms: npt.NDArray[np.float64]
    told_ms: npt.NDArray[np.float64]

    def figures(self) -> dict[str, dict[str, dict[str, Figure]]]:
        """Of all visits and of those to places that were new to the person: by ranking and metric."""
        return {
            where: {
                name: {
                    metric: bootstrap_mean(values, self.user_ids[some], seed=_SEED)
                    for metric, values in _measures(ranks[some]).items()
                }
                for name, ranks in zip(RANKINGS, self.ranks, strict=True)
            }
            for where, some in (("all", np.ones(len(self.user_ids), dtype=np.bool_)), ("new", self.is_new))
        }

    def to_json(self) -> dict[str, Any]:
        """For a file; a figure is ``{"value", "low", "high"}``, null where there is none, and ``reason`` says why."""
        return {
            "visits": len(self.user_ids),
            "new_places": int(np.count_nonzero(self.is_new)),
            "places_in_reach": float(self.in_reach.mean()),
            "unseen": self.unseen,
            "truncated": self.truncated,
            "failed": dict(self.failed),
            "left_out": self.left_out,
            "told": self.told,
            "refresh_s": self.refresh_s,
            "latency_ms": {"asked": _percentiles(self.asked_ms), "told": _percentiles(self.told_ms)},
            "figures": {
                where: {
                    name: {metric: _to_json(figure) for metric, figure in of_name.items()}
                    for name, of_name in rankings.items()
                }
                for where, rankings in self.figures().items()
            },
        }

    def lines(self, size: int) -> Iterator[str]:
        """For a person; answers were of so many places at the most."""
        visits, new = len(self.user_ids), int(np.count_nonzero(self.is_new))
        people = len(np.unique(self.user_ids))
        yield (
            f"{visits:,} visits of {people:,} people, {self.in_reach.mean():,.0f} places in reach on average; "
            f"events told {self.told:,}"
        )
        for where, rankings in self.figures().items():
            yield "all visits" if where == "all" else f"{new:,} visits to places that were new to the person"
            for metric in _measures(np.empty(0, dtype=np.int64)):
                for name, figures in rankings.items():
                    yield f"  {name:<13} {metric:<7} {figures[metric]}"
        yield f"ranks past {size:,} are not seen, {self.unseen:,} of them; median rank {self._median()}"
        for doing, took_ms in (("asked", self.asked_ms), ("told", self.told_ms)):
            if len(took_ms):
                told = ", ".join(f"p{name[1:]} {value:.1f} ms" for name, value in _percentiles(took_ms).items())
                yield f"{doing:<6} {len(took_ms):,} requests, {told}"
        if self.told and self.refresh_s != 0:
            yield (
                "warning: places lag by the service's clock, while a replay goes through days in a minute; "
                "HEXBITE_REFRESH_S=0 refreshes them with each event"
            )
        if self.truncated:
            yield (
                f"warning: {self.truncated:,} answers scored the nearest alone, not all in reach; "
                "HEXBITE_MAX_CANDIDATES says how many are scored"
            )
        if self.left_out:
            yield f"{self.left_out:,} visits left out: their place has no row"
        failed = ", ".join(f"{count:,} {reason}" for reason, count in self.failed.items())
        yield f"errors {self.failed.total():,}" + (f", those visits left out: {failed}" if failed else "")

    def _median(self) -> str:
        return f"{np.median(self.ranks[0]):,.0f}"


def _measures(ranks: npt.NDArray[np.int64]) -> Mapping[str, npt.NDArray[np.float64]]:
    hits = {f"hit@{k}": rank_to_hit(ranks, k) for k in _CUTS}
    return hits | {f"NDCG@{_CUTS[-1]}": rank_to_ndcg(ranks, _CUTS[-1])}


def _percentiles(took_ms: Sequence[float] | npt.NDArray[np.float64]) -> dict[str, float]:
    if not len(took_ms):
        return {}
    return {f"p{share}": float(np.percentile(took_ms, share)) for share in _PERCENTILES}


def _to_json(figure: Figure) -> dict[str, Any]:
    told = {"value": figure.value, "low": figure.low, "high": figure.high}
    return told | {"reason": figure.fault} if figure.fault else told
