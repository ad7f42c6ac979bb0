"""Figures against their definitions, counted out."""

import numpy as np
import pytest

from training.metrics import (
    Auc,
    bootstrap,
    bootstrap_mean,
    click_metrics,
    rank_to_hit,
    rank_to_ndcg,
)


def test_auc_is_the_share_of_pairs_in_order_with_ties_counting_half_and_weights_counting_rows() -> None:
    draws = np.random.default_rng(0)
    for _ in range(20):
        scores = draws.integers(0, 12, 60).astype(float)
        clicks = draws.random(60) < 0.4
        weights = draws.integers(0, 4, 60).astype(float)
        above = (scores[clicks][:, None] > scores[~clicks]) + 0.5 * (scores[clicks][:, None] == scores[~clicks])
        pair_weights = weights[clicks][:, None] * weights[~clicks]
        assert Auc(scores, clicks)() == pytest.approx(above.mean())
        assert Auc(scores, clicks)(weights) == pytest.approx((above * pair_weights).sum() / pair_weights.sum())
    assert Auc(np.arange(5.0), np.ones(5))() is None


def test_log_loss_is_finite_where_the_sigmoid_saturates() -> None:
    metrics = click_metrics(np.array([800.0, -800.0, 0.0, 2.0]), np.array([1.0, 1.0, 0.0, 1.0]))
    expected = (0 + 800 + np.log(2) + np.log1p(np.exp(-2.0))) / 4
    assert metrics["log_loss"] == pytest.approx(expected)
    assert metrics["accuracy"] == 0.75


def test_ranks_become_hits_and_ndcg() -> None:
    ranks = np.array([1, 3, 10, 11])
    assert rank_to_hit(ranks, 10).tolist() == [1, 1, 1, 0]
    np.testing.assert_allclose(rank_to_ndcg(ranks, 10), [1, 0.5, 1 / np.log2(11), 0])


def test_an_interval_draws_people_and_not_rows() -> None:
    draws = np.random.default_rng(1)
    # A hundred rows each of forty people, all rows of a person alike: there are forty values, not four thousand.
    values, people = np.repeat(draws.normal(size=40), 100), np.repeat(np.arange(40), 100)
    of_people = bootstrap_mean(values, people, seed=3)
    of_rows = bootstrap_mean(values, np.arange(len(values)), seed=3)
    assert of_people.low is not None and of_people.high is not None
    assert of_rows.low is not None and of_rows.high is not None
    assert of_people.high - of_people.low > 5 * (of_rows.high - of_rows.low)
    spread = 2 * 1.96 * values[::100].std() / np.sqrt(40)
    assert of_people.high - of_people.low == pytest.approx(spread, rel=0.25)
    assert bootstrap_mean(values, people, seed=3) == of_people


def test_what_is_undefined_has_no_interval() -> None:
    figure = bootstrap(Auc(np.arange(5.0), np.ones(5)), np.arange(5), seed=0)
    assert figure == (None, None, None)
    assert str(figure) == "-"
