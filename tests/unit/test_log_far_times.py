"""Times far from all others: typos and wrong clocks, and honest pauses."""

from collections import Counter

from data.log.reading.events import _usual_days

BULK = {20_000 + n: 2_600 for n in range(57)}


def test_a_few_rows_hundreds_of_days_ahead_or_behind_are_far() -> None:
    for days in ({20_370: 25}, {20_300 + n: 1 for n in range(40)}, {19_700: 30}):
        assert _usual_days(Counter(BULK | days)) == (20_000, 20_056)


def test_a_row_of_1970_does_not_hide_those_a_year_ahead_nor_those_of_2099_the_others() -> None:
    assert _usual_days(Counter(BULK | {0: 40, 20_370: 25})) == (20_000, 20_056)
    assert _usual_days(Counter(BULK | {0: 40, 20_370: 25, 47_000: 3})) == (20_000, 20_056)


def test_a_season_that_begins_after_a_pause_is_no_mistake() -> None:
    assert _usual_days(Counter(BULK | {20_350: 2_600})) == (20_000, 20_350)
    assert _usual_days(Counter(BULK | {20_350: 200})) == (20_000, 20_350)


def test_a_pause_shorter_than_the_log_is_no_mistake_however_few_rows_follow() -> None:
    assert _usual_days(Counter(dict.fromkeys(range(400), 100) | {700: 3})) == (0, 700)
    assert _usual_days(Counter(BULK | {20_120: 3})) == (20_000, 20_120)


def test_in_a_small_log_one_row_in_another_year_is_far_and_months_are_not() -> None:
    small = {20_000 + n: 3 for n in range(10)}
    assert _usual_days(Counter(small | {20_900: 1})) == (20_000, 20_009)
    assert _usual_days(Counter(small | {20_200: 1})) == (20_000, 20_200)
