"""A column that never varied in training is not looked at by the ranker that is published."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hexbite.networks import NETWORKS
from hexbite.ranker import Ranker, Scorer

USER, WIDTH = 3, 7


def folded(kind: str, never: list[int]) -> Ranker:
    torch.manual_seed(1)
    std = np.full(WIDTH, 2.0)
    std[never] = np.inf
    return Ranker.fold(NETWORKS[kind](WIDTH), np.linspace(-5, 5, WIDTH), std)


def rows(count: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, WIDTH)).astype(np.float32)


@pytest.mark.parametrize("kind", list(NETWORKS))
@given(
    never=st.sets(st.integers(0, WIDTH - 1)),
    value=st.sampled_from([0.0, 1e30, float("nan"), float("inf"), float("-inf")]),
)
def test_no_score_depends_on_it_whatever_it_holds(kind: str, never: set[int], value: float) -> None:
    columns = sorted(never)
    ranker = folded(kind, columns)
    assert np.flatnonzero(~ranker.looked_at).tolist() == columns
    given_rows, other = rows(5), rows(5)
    other[:, columns] = value
    expected = ranker.logits(given_rows)
    assert np.isfinite(expected).all()
    np.testing.assert_array_equal(ranker.logits(other), expected)
    # As the service scores: one user's columns, then those of many restaurants.
    scorer = Scorer(ranker, USER)
    for row, logit in zip(other, expected, strict=True):
        np.testing.assert_allclose(scorer.logits(row[:USER], row[None, USER:]), [logit], rtol=1e-12)


@pytest.mark.parametrize("kind", list(NETWORKS))
def test_its_weights_are_0_and_the_function_of_the_others_is_the_networks(kind: str) -> None:
    ranker = folded(kind, [1, 5])
    for name, tensor in ranker.tensors().items():
        if name in ("layers.0.weight", "inputs.0.weight") or (name.startswith("crosses") and name.endswith("weight")):
            assert not tensor[..., [1, 5]].any(), name
    torch.manual_seed(1)
    network = NETWORKS[kind](WIDTH).double()
    standardised = (rows(9).astype(np.float64) - np.linspace(-5, 5, WIDTH)) / 2.0
    standardised[:, [1, 5]] = 0.0
    with torch.no_grad():
        expected = network(torch.from_numpy(standardised)).numpy()
    np.testing.assert_allclose(ranker.logits(rows(9)), expected, atol=1e-9)


@pytest.mark.parametrize("kind", list(NETWORKS))
def test_a_ranker_that_looks_at_nothing_gives_all_the_same_score(kind: str) -> None:
    ranker = folded(kind, list(range(WIDTH)))
    assert len(set(ranker.logits(rows(2_000)).tolist())) == 1
    assert ranker.logits(rows(0)).shape == (0,)
    assert Ranker.from_tensors(ranker.tensors()).looked_at.tolist() == [False] * WIDTH
