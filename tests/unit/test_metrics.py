"""Figures against their definitions, counted out, and against torchmetrics' own."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional.classification import binary_auroc, binary_calibration_error
from torchmetrics.functional.retrieval import retrieval_hit_rate, retrieval_normalized_dcg

from hexbite.rankings import MIN_PEOPLE, bootstrap_mean, rank_to_hit, rank_to_ndcg
from training.judging.lists import Lists
from training.judging.metrics import Auc, ClickMetrics
from training.judging.people import People
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
    # Of four people the first clicks the better scored of two, the second the worse, the third all, the fourth none.
    fours = 20
    users = np.tile(np.arange(4 * fours, dtype=np.int32), 2)
    click = np.concatenate([np.tile(kind, fours) for kind in ([1, 1, 1, 0], [0, 0, 1, 0])]).astype(np.float32)
    score = np.concatenate([np.tile(kind, fours) for kind in ([9.0, 1, 5, 5], [2, 8, 6, 6])])
    lists = Lists(["model"], 4 * fours)
    for part in (slice(0, 33), slice(33, None)):
        rows = Clicks(users[part], users[part], click[part], np.empty((len(users[part]), 0), np.float32))
        lists.add(rows, {"model": score[part]})
    figures = lists.figures(seed=0)["model"]
    assert lists.count == 2 * fours
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
    assert auc.interval(seed=0)[:3] == (None, None, None)
    assert str(auc.interval(seed=0)) == "no figure: all rows are clicked, or none is"


@pytest.mark.parametrize("people", [0, 1, 2, MIN_PEOPLE - 1])
def test_a_mean_of_few_people_is_no_figure_however_many_rows_they_have(people: int) -> None:
    whose = np.repeat(np.arange(people), 500)
    figure = bootstrap_mean(np.random.default_rng(0).random(len(whose)), whose, seed=0)
    assert figure[:3] == (None, None, None)
    who = "1 person" if people == 1 else f"{people} people"
    assert str(figure) == f"no figure: {who} to tell it by; a figure needs {MIN_PEOPLE}"


def test_as_many_people_as_are_needed_have_a_figure() -> None:
    figure = bootstrap_mean(np.arange(MIN_PEOPLE, dtype=np.float64), np.arange(MIN_PEOPLE), seed=0)
    assert figure.value == (MIN_PEOPLE - 1) / 2
    assert figure.low is not None and figure.high is not None and figure.fault == ""


def test_people_who_are_all_alike_have_no_interval() -> None:
    figure = bootstrap_mean(np.ones(300), np.arange(300), seed=0)
    assert figure[:3] == (1.0, None, None)
    assert str(figure).startswith("1.0000, no interval: these people are all alike")


@given(st.lists(st.tuples(st.integers(0, 80), st.booleans()), max_size=300))
def test_an_auc_is_told_where_enough_people_clicked_and_enough_left_a_row(rows: list[tuple[int, bool]]) -> None:
    clicked, left = ({user for user, click in rows if click == kind} for kind in (True, False))
    user = np.array([user for user, _ in rows], dtype=np.int32)
    click = np.array([click for _, click in rows], dtype=np.float32)
    clicks = Clicks(user, user, click, np.empty((len(rows), 0), np.float32))
    streamed = People(81)
    for start in range(0, len(rows), 17):
        streamed.add(clicks.take(slice(start, start + 17)))
    is_told = len(clicked) >= MIN_PEOPLE and len(left) >= MIN_PEOPLE
    assert (streamed.auc_fault() == "") == is_told
    assert streamed.auc_fault() == People.of(clicks).auc_fault()
    if not is_told:
        for people, what in ((clicked, "with a click"), (left, "with a row that was not clicked")):
            assert f"{len(people)} {'person' if len(people) == 1 else 'people'} {what}" in streamed.auc_fault()
