"""Each person's test rows as a list to be ranked: how high do the clicked ones come?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torchmetrics.functional.retrieval import retrieval_hit_rate, retrieval_normalized_dcg

from hexbite.console import progress
from hexbite.rankings import Figure, bootstrap_mean
from training.reading.clicks import Clicks

# People drawn, and lists measured at the most: torchmetrics takes a list at a time.
_PEOPLE: Final = 50_000
_LISTS: Final = 5_000

#: Cuts: lists of clicks are often shorter than ten.
HIT_K: Final = 1
NDCG_K: Final = 10


class Lists:
    """Rows of a seeded draw of people, with each ranking's scores of them."""

    def __init__(self, rankings: Sequence[str], users: int) -> None:
        self.count = 0
        self._rankings = rankings
        self._drawn = np.zeros(users, dtype=np.bool_)
        self._drawn[np.random.default_rng(0).choice(users, min(users, _PEOPLE), replace=False)] = True
        self._user: list[npt.NDArray[np.int32]] = []
        self._click: list[npt.NDArray[np.float32]] = []
        self._scores: dict[str, list[npt.NDArray[np.float64]]] = {name: [] for name in rankings}

    def add(self, clicks: Clicks, scores: Mapping[str, npt.NDArray[np.float64]]) -> None:
        """Keep the rows ``(N,)`` of the people drawn."""
        kept = self._drawn[clicks.user]
        self._user.append(clicks.user[kept])
        self._click.append(clicks.click[kept])
        for name in self._rankings:
            self._scores[name].append(scores[name][kept])

    def figures(self, *, seed: int) -> dict[str, dict[str, Figure]]:
        """Hit rate and NDCG by ranking and metric, over lists that have a click and a row without; sets ``count``.

        No figures where there are too few of these lists.
        """
        user = np.concatenate(self._user)
        order = np.argsort(user, kind="stable")
        bounds = np.flatnonzero(np.diff(user[order], prepend=-1, append=-1))
        click = torch.from_numpy(np.concatenate(self._click)[order]) > 0
        lists = [slice(*pair) for pair in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)]
        lists = [rows for rows in lists if bool(click[rows].any()) and not bool(click[rows].all())][:_LISTS]
        self.count = len(lists)
        people = np.arange(len(lists))
        figures = {}
        with progress("ranking lists", len(lists) * len(self._rankings), "lists") as advance:
            for name in self._rankings:
                scores = torch.from_numpy(np.concatenate(self._scores[name])[order])
                hits, gains = np.empty(len(lists)), np.empty(len(lists))
                for number, rows in enumerate(lists):
                    hits[number] = retrieval_hit_rate(scores[rows], click[rows], top_k=HIT_K)
                    gains[number] = retrieval_normalized_dcg(scores[rows], click[rows], top_k=NDCG_K)
                    advance()
                figures[name] = {
                    f"hit@{HIT_K}": bootstrap_mean(hits, people, seed=seed),
                    f"ndcg@{NDCG_K}": bootstrap_mean(gains, people, seed=seed),
                }
        return figures
