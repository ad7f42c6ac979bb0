"""How well visited places are ranked among all in reach, for the model and for two baselines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from data.folder.requests import Visits
from hexbite.artifact import Artifact
from hexbite.console import progress
from hexbite.features import Matrix
from hexbite.geo import EARTH_RADIUS_M, Metres, distances_m
from hexbite.ranker import Scorer, order
from hexbite.zones import LocalTimes, local_times
from training.judging.counted import Counted
from training.reading.tables import Tables

_OUT_OF_REACH: Final = 1 << 40

# Rows that are counted at once: with 15 counters some 300 MB.
_COUNTED_ROWS: Final = 500_000


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


def rank_visits(
    artifact: Artifact,
    tables: Tables,
    visits: Visits,
    popularity: npt.NDArray[np.float64],
    counted: Counted | None,
) -> Ranks:
    """Rank every restaurant within reach of each visit as the service would, and by two baselines.

    ``popularity`` ``(R,)`` counts visits of each restaurant. ``counted`` is wanted where the schema has counters. A
    visited place out of reach gets a rank past every other.
    """
    users, known = tables.users.known.find(visits.user_ids)
    scorer = Scorer(artifact.ranker, len(tables.schema.user))
    ranks = np.empty((4, len(visits.user_ids)), dtype=np.int64)
    with progress("ranking visits", len(visits.user_ids), "visits") as advance:
        for visit, near, metres, context in _in_reach(tables, visits, counted):
            ids = tables.restaurants.ids[near]
            user = tables.users.features[users[visit]] if known[visit] else artifact.user_mean
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


class _Reach(NamedTuple):
    """A visit by number, and the restaurants in its reach: rows of their table, metres, context, each ``(N, …)``."""

    visit: int
    near: npt.NDArray[np.int64]
    metres: Metres
    context: Matrix


def _in_reach(tables: Tables, visits: Visits, counted: Counted | None) -> Iterator[_Reach]:
    """Each visit in turn; many are counted at once."""
    by_lat = np.argsort(tables.lats_deg, kind="stable")
    lats = tables.lats_deg[by_lat]
    held: list[tuple[int, npt.NDArray[np.int64], Metres, LocalTimes | None]] = []
    rows = 0
    for visit in range(len(visits.user_ids)):
        lat, lng, reach_m = visits.lats_deg[visit], visits.lngs_deg[visit], visits.max_dist_m[visit]
        # A degree of latitude is as long everywhere; what lies in the band is then measured exactly.
        band_deg = np.degrees(reach_m / EARTH_RADIUS_M) * (1 + 1e-9)
        band = by_lat[np.searchsorted(lats, lat - band_deg) : np.searchsorted(lats, lat + band_deg, side="right")]
        metres = distances_m(lat, lng, tables.lats_deg[band], tables.lngs_deg[band])
        near, metres = band[metres <= reach_m], metres[metres <= reach_m]
        # By each restaurant's own clock, where the schema asks for it (ADR 15).
        local = None if tables.zones is None else local_times(tables.zones[near], float(visits.at_s[visit]))
        held.append((visit, near, metres, local))
        rows += len(near)
        if rows >= _COUNTED_ROWS or visit == len(visits.user_ids) - 1:
            yield from _with_context(tables, held, counted)
            held, rows = [], 0


def _with_context(
    tables: Tables,
    held: list[tuple[int, npt.NDArray[np.int64], Metres, LocalTimes | None]],
    counted: Counted | None,
) -> Iterator[_Reach]:
    columns = None
    if counted is not None:
        visits = np.repeat([one[0] for one in held], [len(one[1]) for one in held])
        local = None
        if tables.zones is not None:
            local = LocalTimes(*(np.concatenate(times) for times in zip(*(one[3] for one in held), strict=True)))
        columns = counted.rows(visits, np.concatenate([one[1] for one in held]), local)
    start = 0
    for visit, near, metres, local in held:
        end = start + len(near)
        of_visit = None if columns is None else columns[start:end]
        yield _Reach(visit, near, metres, tables.schema.context_rows(metres, local, of_visit))
        start = end
