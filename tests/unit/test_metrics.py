"""Figures against their definitions, counted out, and against torchmetrics' own."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import binary_auroc, binary_calibration_error
from torchmetrics.functional.retrieval import retrieval_hit_rate, retrieval_normalized_dcg

from training.judging.lists import Lists
from training.judging.metrics import Auc, ClickMetrics, bootstrap_mean, rank_to_hit, rank_to_ndcg
from training.reading.clicks import Clicks


def auc_of(scores: torch.Tensor, clicks: torch.Tensor) -> float | None:
    auc = Auc()
    for part in range(0, len(scores), 7):
        auc.update(scores[part : part + 7], clicks[part : part + 7])
    return auc.compute()


def test_auc_is_the_share_of_pairs_in_order_with_ties_counting_half() -> None:
    draws = np.random.default_rng(0)
    for _ in range(20):
        scores = draws.integers(-6, 12, 60).astype(float)
        clicks = draws.random(60) < 0.4
        above = (scores[clicks][:, None] > scores[~clicks]) + 0.5 * (scores[clicks][:, None] == scores[~clicks])
        assert auc_of(torch.from_numpy(scores), torch.from_numpy(clicks)) == pytest.approx(above.mean())
    assert auc_of(torch.arange(5.0), torch.ones(5)) is None


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0, 1e4])
def test_a_streamed_auc_is_the_sorted_one_to_five_digits_whatever_the_range(scale: float) -> None:
    draws = torch.Generator().manual_seed(1)
    scores = torch.randn(50_000, generator=draws, dtype=torch.float64)
    clicks = (torch.rand(50_000, generator=draws) < torch.sigmoid(2 * scores)).int()
    auc = Auc()
    auc.update(scale * scores, clicks)
    # By rank: torchmetrics takes what lies outside 0..1 for logits, which float32 saturates.
    ranks = scores.argsort().argsort().double() / len(scores)
    assert auc.compute() == pytest.approx(float(binary_auroc(ranks, clicks)), abs=1e-5)


def test_means_are_those_of_torch_and_torchmetrics_in_any_parts() -> None:
    draws = torch.Generator().manual_seed(2)
    logits = 3 * torch.randn(5_000, generator=draws)
    clicks = (torch.rand(5_000, generator=draws) < 0.4).float()
    metrics = ClickMetrics()
    for part in torch.split(torch.arange(5_000), 617):
        metrics.update(logits[part], clicks[part])
    figures = metrics.compute()
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits.double(), clicks.double())
    assert figures["log_loss"] == pytest.approx(float(expected))
    assert figures["accuracy"] == pytest.approx(float(((logits > 0) == (clicks > 0)).double().mean()))
    # torchmetrics' bins hold their upper bound and ours their lower one; no score here lies on one.
    oracle = binary_calibration_error(logits.sigmoid(), clicks.int(), n_bins=15)
    assert figures["calibration_error"] == pytest.approx(float(oracle), abs=1e-5)


def test_log_loss_is_finite_where_the_sigmoid_saturates() -> None:
    metrics = ClickMetrics()
    metrics.update(torch.tensor([800.0, -800.0, 0.0, 2.0]), torch.tensor([1.0, 1.0, 0.0, 1.0]))
    figures = metrics.compute()
    assert figures["log_loss"] == pytest.approx((0 + 800 + np.log(2) + np.log1p(np.exp(-2.0))) / 4)
    assert figures["accuracy"] == 0.75


def test_curves_add_up_to_the_rows() -> None:
    draws = torch.Generator().manual_seed(3)
    logits, clicks = torch.randn(4_000, generator=draws), (torch.rand(4_000, generator=draws) < 0.3).float()
    metrics = ClickMetrics()
    assert metrics.curves() is None
    metrics.update(logits, clicks)
    curves = metrics.curves()
    assert curves is not None
    assert curves.rows.sum() == 4_000 == curves.left.sum() + curves.clicked.sum()
    assert curves.clicked.sum() == clicks.sum() == pytest.approx((curves.rows * curves.click_rate).sum())
    assert curves.edges[0] <= logits.min()
    assert curves.edges[-1] >= logits.max()
    for rates in (curves.false_positive, curves.true_positive):
        assert rates[0] == 0 and rates[-1] == pytest.approx(1)
        assert (np.diff(rates) >= 0).all()
    area = np.trapezoid(curves.true_positive, curves.false_positive)
    assert area == pytest.approx(metrics.compute()["auc"], abs=1e-6)


def test_ranks_become_hits_and_ndcg_as_torchmetrics_has_them() -> None:
    ranks = np.array([1, 3, 10, 11])
    target = torch.arange(1, 21)
    for rank, hit, gain in zip(ranks.tolist(), rank_to_hit(ranks, 10), rank_to_ndcg(ranks, 10), strict=True):
        assert hit == float(retrieval_hit_rate(-target.double(), target == rank, top_k=10))
        assert gain == pytest.approx(float(retrieval_normalized_dcg(-target.double(), target == rank, top_k=10)))


def test_lists_are_those_of_one_person_with_a_click_and_a_row_without() -> None:
    # Person 0 clicks the better scored of two, person 1 the worse, person 2 all, person 3 none.
    users = np.array([0, 1, 2, 3, 0, 1, 2, 3], dtype=np.int32)
    click = np.array([1, 1, 1, 0, 0, 0, 1, 0], dtype=np.float32)
    score = np.array([9.0, 1, 5, 5, 2, 8, 6, 6])
    lists = Lists(["model"], 4)
    for part in (slice(0, 3), slice(3, 8)):
        rows = Clicks(users[part], users[part], click[part], np.empty((len(users[part]), 0), np.float32))
        lists.add(rows, {"model": score[part]})
    figures = lists.figures(seed=0)["model"]
    assert lists.count == 2
    assert figures["hit@1"].value == 0.5
    assert figures["ndcg@10"].value == pytest.approx((1 + 1 / np.log2(3)) / 2)


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


def test_an_aucs_interval_draws_groups_of_people() -> None:
    draws = torch.Generator().manual_seed(4)
    groups = torch.randint(100, (20_000,), generator=draws)
    # Scores are good for some groups of people and useless for others.
    useful = torch.rand(100, generator=draws)[groups]
    clicks = (torch.rand(20_000, generator=draws) < 0.5).float()
    scores = useful * clicks * 2 + torch.randn(20_000, generator=draws)
    by_group, by_row = Auc(100), Auc(100)
    by_group.update(scores, clicks, groups)
    by_row.update(scores, clicks, torch.randint(100, (20_000,), generator=draws))
    figure, narrow = by_group.interval(seed=1), by_row.interval(seed=1)
    assert figure.value == narrow.value == pytest.approx(by_group.compute())
    assert figure.low < figure.value < figure.high
    assert figure.high - figure.low > 1.2 * (narrow.high - narrow.low)


def test_what_is_undefined_has_no_interval() -> None:
    auc = Auc(3)
    auc.update(torch.arange(5.0), torch.ones(5), torch.zeros(5, dtype=torch.int64))
    assert auc.interval(seed=0) == (None, None, None)
    assert str(auc.interval(seed=0)) == "-"
