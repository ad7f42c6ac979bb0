"""States of many things that are named by two ids, and what two sets of them are together."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hexbite.counters.states import Events, Indices, Layout, Values
from hexbite.geo import Ids


class Keyed(NamedTuple):
    """G states ``(G, C)`` by ``first`` and ``second`` ``(G,)``, ids that ascend and occur once together."""

    first: Ids
    second: Ids
    states: Values

    def take(self, rows: npt.NDArray[np.bool_]) -> Keyed:
        """Some of them."""
        return Keyed(self.first[rows], self.second[rows], self.states[rows])


def none_keyed(layout: Layout) -> Keyed:
    """States of nothing."""
    nothing = np.empty(0, dtype=np.int64)
    return Keyed(nothing, nothing, layout.empty(0))


def count_keyed(layout: Layout, first: Ids, second: Ids, events: Events) -> Keyed:
    """The states of M events ``(M,)`` by two ids each."""
    (one, other), number = _unique(first, second)
    return Keyed(one, other, layout.count(number, len(one), events))


def join_keyed(layout: Layout, known: Keyed, more: Keyed) -> Keyed:
    """The states of the events of both."""
    if not len(known.first) or not len(more.first):
        return more if len(more.first) else known
    (first, second), number = _unique(
        np.concatenate((known.first, more.first)), np.concatenate((known.second, more.second))
    )
    both = layout.empty(len(first)), layout.empty(len(first))
    both[0][number[: len(known.first)]] = known.states
    both[1][number[len(known.first) :]] = more.states
    return Keyed(first, second, layout.combine(*both))


def _unique(first: Ids, second: Ids) -> tuple[tuple[Ids, Ids], Indices]:
    """The different pairs in order, and which each of M is ``(M,)``."""
    order = np.lexsort((second, first))
    one, other = first[order], second[order]
    is_new = np.ones(len(order), dtype=np.bool_)
    is_new[1:] = (one[1:] != one[:-1]) | (other[1:] != other[:-1])
    number = np.empty(len(order), dtype=np.int64)
    number[order] = np.cumsum(is_new) - 1
    return (one[is_new], other[is_new]), number
