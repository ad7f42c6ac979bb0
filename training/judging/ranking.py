"""How well visited places are ranked among all in reach, for the model and for two baselines."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from data.folder.requests import Visits
from hexbite.artifact import Artifact
from hexbite.console import progress
from hexbite.geo import EARTH_RADIUS_M, distances_m
from hexbite.ranker import Scorer, order
from hexbite.zones import local_times
from training.reading.tables import Tables

_OUT_OF_REACH: Final = 1 << 40


class Ranks(NamedTuple):
    """The visited place's rank from 1 among all within reach ``(N,)`` by each ranking; and how many those are."""

    model: npt.NDArray[np.int64]
    most_visited: npt.NDArray[np.int64]
    nearest: npt.NDArray[np.int64]
    in_reach: npt.NDArray[np.int64]


def read_visits(tables: Tables) -> Visits | None:
    """The requests of a data folder that tell where the person went; None where none do."""
    requests = tables.requests
    return requests.read_visits() if requests is not None and requests.tells_visits else None


def rank_visits(artifact: Artifact, tables: Tables, visits: Visits, popularity: npt.NDArray[np.float64]) -> Ranks:
    """Rank every restaurant within reach of each visit as the service would, and by two baselines.

    ``popularity`` ``(R,)`` counts visits of each restaurant. A visited place out of reach gets a rank past every other.
    """
    users, known = tables.users.known.find(visits.user_ids)
    scorer = Scorer(artifact.ranker, len(tables.schema.user))
    by_lat = np.argsort(tables.lats_deg, kind="stable")
    lats = tables.lats_deg[by_lat]
    ranks = np.empty((4, len(visits.user_ids)), dtype=np.int64)
    with progress("ranking visits", len(visits.user_ids), "visits") as advance:
        for visit in range(len(visits.user_ids)):
            lat, lng, reach_m = visits.lats_deg[visit], visits.lngs_deg[visit], visits.max_dist_m[visit]
            # A degree of latitude is as long everywhere; what lies in the band is then measured exactly.
            band_deg = np.degrees(reach_m / EARTH_RADIUS_M) * (1 + 1e-9)
            band = by_lat[np.searchsorted(lats, lat - band_deg) : np.searchsorted(lats, lat + band_deg, side="right")]
            metres = distances_m(lat, lng, tables.lats_deg[band], tables.lngs_deg[band])
            near, metres = band[metres <= reach_m], metres[metres <= reach_m]
            ids = tables.restaurants.ids[near]
            user = tables.users.features[users[visit]] if known[visit] else artifact.user_mean
            # By each restaurant's own clock, where the schema asks for it (ADR 15).
            local = None if tables.zones is None else local_times(tables.zones[near], float(visits.at_s[visit]))
            context = tables.schema.context_rows(metres, local)
            rows = np.concatenate((tables.restaurants.features[near], context), axis=1)
            logits = scorer.logits(user, rows)
            rankings = (
                order(ids, logits, metres, size=len(ids), by_distance=False),
                order(ids, popularity[near], metres, size=len(ids), by_distance=False),
                order(ids, logits, metres, size=len(ids), by_distance=True),
            )
            for row, ranking in enumerate(rankings):
                found = np.flatnonzero(near[ranking] == visits.visited[visit])
                ranks[row, visit] = found[0] + 1 if len(found) else _OUT_OF_REACH
            ranks[3, visit] = len(ids)
            advance()
    return Ranks(*ranks)
