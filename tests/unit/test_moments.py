"""The moment of a request, and the restaurant's clock at it."""

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bento.contract.errors import refuse_invalid
from bento.contract.models import RecommendRequest
from hexbite.zones import are_zones, available_names, local_times, number_to_zone, zone_to_number


def moment(written: Any) -> datetime | None:
    body = json.dumps({"latitude": 1, "longitude": 2, "at": written})
    return RecommendRequest.model_validate_json(body).at


@pytest.mark.parametrize(
    "written",
    [
        "2026-03-29T16:30:00Z",
        "2026-03-29t16:30:00z",
        "2026-03-29T18:30:00+02:00",
        "2026-03-29 16:30:00-00:00",
        "2026-03-29T16:30:00.000000Z",
        "2026-03-30T02:15:00+09:45",
        "2026-03-28T16:31:00-23:59",
    ],
)
def test_one_moment_may_be_written_in_several_ways(written: str) -> None:
    assert moment(written) == datetime(2026, 3, 29, 16, 30, tzinfo=UTC)


def test_no_moment_is_now() -> None:
    assert moment(None) is None
    assert RecommendRequest(latitude=1, longitude=2).at is None


@given(st.datetimes(timezones=st.timezones() | st.just(UTC)))
def test_a_moment_is_taken_in_process_as_it_is(at: datetime) -> None:
    assert RecommendRequest(latitude=1, longitude=2, at=at).at == at


@pytest.mark.parametrize(
    "written",
    [
        "2026-03-29T16:30:00",
        "2026-03-29",
        "2026-03-29T16:30Z",
        "16:30:00Z",
        "2026-03-29T16:30:00 Z",
        "2026-03-29T16:30:00,5Z",
        "2026-03-29T16:30:00.Z",
        "20260329T163000Z",
        "2026-088T16:30:00Z",
        "2026-W13-7T16:30:00Z",
        "2026-03-29T16:30:00+2:00",
        "2026-03-29T16:30:00+0200",
        "2026-03-29T16:30:00+24:00",
        "2026-03-29T16:30:00 Europe/Paris",
        "\u0662026-03-29T16:30:00Z",
        "2026-02-30T00:00:00Z",
        "2025-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-03-29T24:00:00Z",
        "2026-03-29T16:60:00Z",
        "2026-03-29T16:30:60Z",
        "0000-01-01T00:00:00Z",
        "12026-01-01T00:00:00Z",
        "now",
        "",
        "1774801800",
        1774801800,
        1774801800.5,
        True,
        [],
        {},
    ],
    ids=str,
)
def test_what_is_no_moment_is_refused_by_its_field(written: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        moment(written)
    error = json.loads(bytes(refuse_invalid(caught.value, b"").body))["error"]
    assert error["field"] == "at"
    assert "RFC 3339" in error["message"] or "calendar" in error["message"]
    with pytest.raises(ValidationError, match="RFC 3339"):
        RecommendRequest(latitude=1, longitude=2, at=datetime(2026, 3, 29))  # noqa: DTZ001 - naive, as meant


# Whole hours and halves and quarters, both hemispheres, both sides of the date line, none of them changing.
ZONES = (
    "Europe/Paris",
    "America/New_York",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Australia/Adelaide",
    "America/Santiago",
    "Pacific/Auckland",
    "Pacific/Chatham",
    "Pacific/Kiritimati",
    "Pacific/Marquesas",
    "America/St_Johns",
    "Africa/Casablanca",
    "Asia/Bangkok",
    "UTC",
)

# Clocks go forward and back, in the north and in the south; and before anybody counted seconds.
MOMENTS = (
    "2026-03-29T00:59:59Z",
    "2026-03-29T01:00:00Z",
    "2026-10-25T00:59:59Z",
    "2026-10-25T01:00:00Z",
    "2026-03-08T06:59:59Z",
    "2026-03-08T07:00:00Z",
    "2026-11-01T05:59:59Z",
    "2026-11-01T06:00:00Z",
    "2026-04-04T14:59:59.999999Z",
    "2026-04-04T15:00:00Z",
    "2026-10-03T15:29:59Z",
    "2026-10-03T15:30:00Z",
    "2026-04-05T02:59:59Z",
    "2026-04-05T03:00:00Z",
    "2024-02-29T12:00:00Z",
    "1969-12-31T23:59:59.5Z",
    "1970-01-01T00:00:00Z",
    "1953-07-12T04:05:06Z",
    "1916-05-21T02:00:00Z",
    "1901-01-01T00:00:00Z",
)


def by_polars(at: datetime, zone: str) -> tuple[int, int]:
    """Hour and weekday from 0, a Monday, as polars has them."""
    there = pl.Series([at.astimezone(UTC)], dtype=pl.Datetime("us", "UTC")).dt.convert_time_zone(zone)
    return there.dt.hour()[0], there.dt.weekday()[0] - 1


@pytest.mark.parametrize("written", MOMENTS)
def test_hour_and_weekday_are_those_of_polars(written: str) -> None:
    at = datetime.fromisoformat(written)
    numbers = np.array([zone_to_number(zone) for zone in ZONES], dtype=np.float32)
    local = local_times(numbers, at.timestamp())
    expected = [by_polars(at, zone) for zone in ZONES]
    assert list(zip(local.hour.tolist(), local.weekday.tolist(), strict=True)) == expected


@given(st.integers(-2_208_988_800, 4_070_908_799), st.sampled_from(ZONES))
def test_hour_and_weekday_are_those_of_polars_from_1900_to_2098(at_s: int, zone: str) -> None:
    local = local_times(np.array([zone_to_number(zone)], dtype=np.float32), at_s)
    assert (local.hour[0], local.weekday[0]) == by_polars(datetime.fromtimestamp(at_s, UTC), zone)


def test_clocks_that_change_are_read_on_both_sides_of_the_change() -> None:
    paris = np.array([zone_to_number("Europe/Paris")], dtype=np.float32)

    def hour(written: str) -> float:
        return float(local_times(paris, datetime.fromisoformat(written).timestamp()).hour[0])

    # In spring there is no hour of 2, in autumn there are two.
    assert [hour(f"2026-03-29T0{utc}:30:00Z") for utc in range(3)] == [1, 3, 4]
    assert [hour(f"2026-10-25T0{utc}:30:00Z") for utc in range(3)] == [2, 2, 3]


@pytest.mark.parametrize("written", ["0001-01-01T00:00:00", "9999-12-31T23:59:59.999999"])
@pytest.mark.parametrize("offset", ["+23:59", "Z", "-23:59"])
def test_every_moment_that_can_be_written_has_an_hour_everywhere(written: str, offset: str) -> None:
    at = moment(f"{written}{offset}")
    assert at is not None
    numbers = np.array([zone_to_number(zone) for zone in sorted(available_names())], dtype=np.float32)
    local = local_times(numbers, at.timestamp())
    assert set(local.hour.tolist()) <= set(range(24))
    assert set(local.weekday.tolist()) <= set(range(7))


def test_a_number_of_no_zone_is_known_as_one() -> None:
    bangkok = zone_to_number("Asia/Bangkok")
    numbers = np.array([bangkok, bangkok + 1, 0, -bangkok, 5.5, 3e38, bangkok], dtype=np.float32)
    assert are_zones(numbers).tolist() == [True, False, False, False, False, False, True]
    assert are_zones(numbers[:0]).tolist() == []
    with pytest.raises(ValueError, match="no time zone"):
        local_times(numbers, 0.0)


def test_each_zone_has_a_number_of_its_own_that_a_float32_holds() -> None:
    names = sorted(available_names())
    numbers = np.array([zone_to_number(name) for name in names], dtype=np.float32)
    assert are_zones(numbers).all()
    assert [number_to_zone(int(number)).key for number in numbers.tolist()] == names
    with pytest.raises(ValueError, match="IANA"):
        zone_to_number("Asia/Nowhere")
