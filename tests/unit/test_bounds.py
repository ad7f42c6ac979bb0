"""Which events come too late or too early, to the second and across the calendar."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.telling.bounds import Bounds

NOW = datetime(2026, 3, 29, 1, 0, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def reason(bounds: Bounds, at: datetime) -> str | None:
    refusal = bounds.refusal(at, NOW)
    return None if refusal is None else refusal.reason


@pytest.mark.parametrize(
    ("ago_s", "expected"),
    [(0, None), (3_600, None), (3_600.000_001, "too_late"), (-60, None), (-60.000_001, "in_the_future")],
)
def test_a_bound_itself_is_within(ago_s: float, expected: str | None) -> None:
    assert reason(Bounds(3_600.0, 60.0), NOW - ago_s * SECOND) == expected


def test_without_a_bound_what_the_calendar_has_is_never_too_late() -> None:
    bounds = Bounds(None, 0.0)
    assert reason(bounds, datetime(1, 1, 1, tzinfo=UTC)) is None
    # Before the first moment of the calendar, in UTC.
    assert reason(bounds, datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=23, minutes=59)))) == "before_retention"
    assert reason(bounds, datetime(9999, 12, 31, 23, tzinfo=timezone(-timedelta(hours=23)))) == "in_the_future"


def test_what_the_store_keeps_no_more_is_refused_by_that_name() -> None:
    bounds = Bounds(None, 60.0)
    bounds.kept_since = NOW - 86_400 * SECOND
    assert reason(bounds, bounds.kept_since) is None
    assert reason(bounds, bounds.kept_since - timedelta(microseconds=1)) == "before_retention"
    refusal = bounds.refusal(NOW - 2 * 86_400 * SECOND, NOW)
    assert refusal is not None and refusal.message == "events before 2026-03-28T01:00:00Z are not kept"


@given(
    st.datetimes(timezones=st.timezones()),
    st.one_of(st.none(), st.floats(1e-6, 1e12)),
    st.floats(0, 86_400),
)
def test_a_moment_of_any_zone_is_judged_and_one_of_now_is_taken(
    at: datetime, max_age_s: float | None, max_ahead_s: float
) -> None:
    bounds = Bounds(max_age_s, max_ahead_s)
    bounds.refusal(at, NOW)
    assert bounds.refusal(NOW, NOW) is None
