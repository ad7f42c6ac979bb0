"""How well rankings do: figures by the rank of the one place that was chosen, and their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

#: How often people are drawn again for an interval.
RESAMPLES: Final = 300

#: With fewer people drawn again, the interval of a figure comes out too narrow, and the figure itself is chance.
MIN_PEOPLE: Final = 30

_TAILS: Final = (2.5, 97.5)


class Figure(NamedTuple):
    """A value, and the 95% interval of it over other people like these; where one is None, ``fault`` says why."""

    value: float | None
    low: float | None
    high: float | None
    fault: str = ""

    @classmethod
    def none(cls, fault: str) -> Self:
        """No value, and the reason."""
        return cls(None, None, None, fault)

    def __str__(self) -> str:
        if self.value is None:
            return f"no figure: {self.fault}"
        if self.low is None or self.high is None:
            return f"{self.value:.4f}, no interval: {self.fault}"
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


def rank_to_hit(ranks: npt.NDArray[np.int64], k: int) -> Values:
    """1 where the one relevant place is among the first ``k``, by its rank from 1."""
    return (ranks <= k).astype(np.float64)


def rank_to_ndcg(ranks: npt.NDArray[np.int64], k: int) -> Values:
    """NDCG at ``k`` with one relevant place (Jarvelin, Kekalainen 2002): 1 / log2(1 + rank), 0 past ``k``."""
    return np.where(ranks <= k, 1.0 / np.log2(1.0 + ranks), 0.0)


def bootstrap_mean(values: Values, people: npt.NDArray[Any], *, seed: int) -> Figure:
    """A mean ``(N,)``, and its percentile interval with whole people drawn again (Efron 1979).

    ``people`` ``(N,)`` says whose each row is: rows of one person are alike, and drawing rows would promise too much.
    No figure where they are `too_few`.
    """
    distinct, whose = np.unique(people, return_inverse=True)
    if fault := too_few(len(distinct)):
        return Figure.none(fault)
    totals, rows = np.bincount(whose, values), np.bincount(whose)
    draws = np.random.default_rng(seed)
    again: list[float | None] = []
    for _ in range(RESAMPLES):
        drawn = draws.integers(len(rows), size=len(rows))
        again.append(float(totals[drawn].sum() / rows[drawn].sum()))
    return interval(float(values.mean()), again)


def interval(value: float | None, again: Sequence[float | None]) -> Figure:
    """A value with the percentile interval of those of people who were drawn ``again``; None where there was none."""
    defined = [drawn for drawn in again if drawn is not None]
    if value is None or not defined:
        return Figure.none("all rows are clicked, or none is")
    low, high = np.percentile(defined, _TAILS).tolist()
    if math.isclose(low, high, rel_tol=1e-9, abs_tol=1e-9):
        return Figure(value, None, None, "these people are all alike, which does not tell how others differ")
    return Figure(value, low, high)


def too_few(people: int) -> str:
    """Why a mean over so many people is not told; empty where it is."""
    return "" if people >= MIN_PEOPLE else f"{people_told(people)} to tell it by; a figure needs {MIN_PEOPLE}"


def people_told(count: int) -> str:
    """So many people, in words."""
    return "1 person" if count == 1 else f"{count:,} people"
