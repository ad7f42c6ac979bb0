"""How well visited places are ranked among all in reach, for the model and for two baselines."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hexbite.artifact import Artifact
from hexbite.console import progress
from hexbite.errors import DataError
from hexbite.folder import REQUESTS
from hexbite.geo import EARTH_RADIUS_M, distances_m
from hexbite.ranker import order
from training.judging.clocks import Clocks, read_clocks
from training.reading.parquet import Ids, column_names, read_columns, to_ids, to_numbers
from training.reading.tables import Rows, Tables

#: The column of a request file that says where the person went.
VISITED: Final = "visited_restaurant_id"


_OUT_OF_REACH: Final = 1 << 40


class Visits(NamedTuple):
    """N requests with a known outcome: who, where they stood (degrees), how far they would go, and where they went.

    ``clocks`` tell the restaurants' local times; None where the schema does not ask for them.
    """

    user_ids: Ids
    lats_deg: npt.NDArray[np.float64]
    lngs_deg: npt.NDArray[np.float64]
    max_dist_m: npt.NDArray[np.float64]
    visited: Rows
    clocks: Clocks | None


class Ranks(NamedTuple):
    """The visited place's rank from 1 among all within reach ``(N,)`` by each ranking; and how many those are."""

    model: npt.NDArray[np.int64]
    most_visited: npt.NDArray[np.int64]
    nearest: npt.NDArray[np.int64]
    in_reach: npt.NDArray[np.int64]


def read_visits(folder: Path, tables: Tables) -> Visits | None:
    """The requests of a data folder that tell where the person went; None where none do."""
    path = folder / REQUESTS
    if not path.exists() or VISITED not in column_names(path):
        return None
    numbers = ("latitude", "longitude", "max_dist")
    frame = read_columns(path, ["user_id", VISITED, *numbers])
    visited, known = tables.restaurants.find(to_ids(frame[VISITED], path))
    if not known.all():
        count = int(np.count_nonzero(~known))
        raise DataError("ids without a row in the feature table", path=path, column=VISITED, count=count)
    lats, lngs, max_dist_m = (to_numbers(frame[name], path) for name in numbers)
    clocks = read_clocks(folder, tables) if tables.schema.tells_local_time else None
    return Visits(to_ids(frame["user_id"], path), lats, lngs, max_dist_m, visited, clocks)


def rank_visits(artifact: Artifact, tables: Tables, visits: Visits, popularity: npt.NDArray[np.float64]) -> Ranks:
    """Rank every restaurant within reach of each visit as the service would, and by two baselines.

    ``popularity`` ``(R,)`` counts visits of each restaurant. A visited place out of reach gets a rank past every other.
    """
    users, known = tables.users.find(visits.user_ids)
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
            local = None if visits.clocks is None else visits.clocks.local_times(visit, near)
            context = tables.schema.context_rows(metres, local)
            logits = artifact.ranker.logits(tables.schema.assemble(user, tables.restaurants.features[near], context))
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
