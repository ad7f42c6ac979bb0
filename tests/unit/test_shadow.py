"""How far two models agree on the first ten."""

import math

import pytest

from bento.ranking.shadow import overlap


def test_an_equal_model_agrees_wholly_in_whatever_order_the_answer_was() -> None:
    by_distance = {id_: math.sin(id_) for id_ in range(30)}
    by_score = dict(sorted(by_distance.items(), key=lambda pair: -pair[1]))
    assert overlap(by_distance, by_score) == overlap(by_score, by_distance) == 1


@pytest.mark.parametrize("logit", [0.0, 800.0, -1e6])
def test_ties_and_what_differs_by_rounding_are_agreed_on(logit: float) -> None:
    tied = dict.fromkeys(range(40), logit)
    rounded = {id_: logit + (id_ % 3 - 1) * 1e-12 * max(1, abs(logit)) for id_ in reversed(range(40))}
    assert overlap(tied, rounded) == overlap(rounded, tied) == 1


def test_logits_whose_scores_saturate_are_told_apart() -> None:
    saturated = {id_: 40.0 + id_ for id_ in range(20)}
    turned_round = {id_: 60.0 - id_ for id_ in range(20)}
    assert overlap(saturated, turned_round) == 0


def test_it_is_the_share_of_the_first_ten_that_are_among_the_others_first_ten() -> None:
    ranked = {id_: -float(id_) for id_ in range(30)}
    shifted = {id_: -abs(id_ - 7.2) for id_ in range(30)}  # its first ten are 3 to 12
    assert overlap(ranked, shifted) == 0.7
    few = {id_: float(id_) for id_ in range(4)}
    assert overlap(few, {id_: -float(id_) for id_ in few}) == 1
    # What is not there any more, nobody ranks.
    assert overlap(few, {0: 1.0}) == 0.25
    assert overlap(few, {}) == 0
