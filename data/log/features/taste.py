"""Taste factors: what people go back to, as a few numbers for each person and each place."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
Factors = npt.NDArray[np.float64]

# Halko, Martinsson, Tropp 2011: a few more directions than asked for, and a few power iterations.
_OVERSAMPLING: Final = 10
_POWER_ITERATIONS: Final = 4

# Non-zero cells multiplied at once: with 42 columns of float64 some 340 MB.
_CHUNK_CELLS: Final = 1_000_000

# A shorter row is rounding, and its direction means nothing.
_NEGLIGIBLE: Final = 1e-6


class Taste(NamedTuple):
    """Unit vectors ``(U, K)`` of people and ``(P, K)`` of places; a row of NaN where nobody ever went back."""

    users: Factors
    places: Factors


class _Sparse:
    """A matrix of weighted cells, sorted by row, that multiplies dense blocks from the left in bounded memory."""

    def __init__(self, rows: Indices, columns: Indices, weights: Factors, height: int):
        order = np.lexsort((columns, rows))
        self._rows, self._columns, self._weights = rows[order], columns[order], weights[order]
        self._height = height

    def __matmul__(self, block: Factors) -> Factors:
        product = np.zeros((self._height, block.shape[1]))
        for start in range(0, len(self._rows), _CHUNK_CELLS):
            chunk = slice(start, start + _CHUNK_CELLS)
            rows, terms = self._rows[chunk], block[self._columns[chunk]] * self._weights[chunk, None]
            firsts = np.flatnonzero(np.diff(rows, prepend=-1))
            product[rows[firsts]] += np.add.reduceat(terms, firsts, axis=0)
        return product


def factorize_taste(
    user: Indices, place: Indices, visits: Indices, *, users: int, places: int, width: int, seed: int
) -> Taste:
    """Truncated SVD of the person-by-place matrix of log visits, one row of input a pair with ``visits`` >= 1.

    The logarithm makes a single visit weigh nothing, and that is the point. These tables also meet the training
    visits that they were made of: a pair seen once would be recognised by its factors in training, never in tests.
    Each row is scaled to unit length; how much somebody goes out is a feature of its own.
    """
    back = visits > 1
    weights = np.log(visits[back].astype(np.float64))
    by_user = _Sparse(user[back], place[back], weights, users)
    by_place = _Sparse(place[back], user[back], weights, places)
    rank = min(width, users, places)
    block = np.random.default_rng(seed).standard_normal((places, min(rank + _OVERSAMPLING, users, places)))
    for _ in range(_POWER_ITERATIONS):
        left = np.linalg.qr(by_user @ block)[0]
        block = np.linalg.qr(by_place @ left)[0]
    left, singular, right = np.linalg.svd(by_user @ block, full_matrices=False)
    scale = np.sqrt(singular[:rank])
    factors = left[:, :rank] * scale, (block @ right.T)[:, :rank] * scale
    return Taste(*(_to_unit(np.pad(block, ((0, 0), (0, width - rank)))) for block in factors))


def _to_unit(factors: Factors) -> Factors:
    length = np.linalg.norm(factors, axis=1, keepdims=True)
    unit: Factors = np.divide(factors, length, out=np.full_like(factors, np.nan), where=length > _NEGLIGIBLE)
    return unit
