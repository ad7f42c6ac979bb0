"""What is set wrong is named, what is secret is never repeated, and what is not set has a default that holds."""

import os
from collections.abc import Iterator, Mapping

import pytest

from bento.settings import Settings
from hexbite.errors import SettingsError

DIGEST = "ab" * 32
SECRET = "hexbite_S3cr3t-of-somebody"  # a key where its digest belongs


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in os.environ:
        if name.startswith("HEXBITE_"):
            monkeypatch.delenv(name)
    yield


def refused(monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str]) -> str:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment()
    said = str(caught.value)
    assert "\n" not in said
    # Nor may a traceback show what pydantic knows.
    assert caught.value.__cause__ is None and caught.value.__suppress_context__
    for value in environment.values():
        assert len(value) < 6 or value not in said
    return said


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("HEXBITE_SPLIT_SHARE", ["-0.1", "1.1", "nan", "half"]),
        ("HEXBITE_MAX_CANDIDATES", ["0", "1000001", "1.5", "many"]),
        ("HEXBITE_UNKNOWN_FIELDS", ["ignore"]),
        ("HEXBITE_IDS", ["integer", "string", "TEXT"]),
        ("HEXBITE_MAX_FEATURE_AGE_S", ["0", "-1", "nan", "1h"]),
        ("HEXBITE_REQUEST_TIMEOUT_S", ["0", "61", "nan", "1s"]),
        ("HEXBITE_CONNECTIONS", ["0", "101", "eight"]),
        ("HEXBITE_MAX_IN_FLIGHT", ["0", "10001"]),
        ("HEXBITE_MAX_BODY_BYTES", ["999", "1MB"]),
        ("HEXBITE_DRAIN_S", ["-1", "301", "nan"]),
        ("HEXBITE_API_KEYS", [",", " ", "x", DIGEST[:-1], DIGEST.upper(), f"{DIGEST} {DIGEST}", f"{DIGEST},{SECRET}"]),
        ("HEXBITE_EVENT_KEYS", [",", "x", DIGEST[:-1], f"{DIGEST},{SECRET}"]),
        ("HEXBITE_MAX_EVENT_AGE_S", ["0", "-1", "nan", "inf", "7 days", "off"]),
        ("HEXBITE_MAX_EVENT_AHEAD_S", ["-1", "nan", "86401"]),
        ("HEXBITE_REFRESH_S", ["-1", "nan", "604801", "none"]),
        ("HEXBITE_EVENT_CONNECTIONS", ["0", "101"]),
        ("HEXBITE_METRICS", ["maybe"]),
        ("HEXBITE_DOCS", ["2"]),
        ("HEXBITE_LOG_FORMAT", ["xml"]),
        ("HEXBITE_ACCESS_LOG", ["sometimes"]),
    ],
)
def test_a_value_that_cannot_be_is_refused_and_its_variable_named(
    monkeypatch: pytest.MonkeyPatch, name: str, values: list[str]
) -> None:
    for value in values:
        said = refused(monkeypatch, {name: value} | ({"HEXBITE_SPLIT_MODEL": "a"} if "SPLIT" in name else {}))
        assert said.startswith(name), said


@pytest.mark.parametrize("half", [{"HEXBITE_SPLIT_MODEL": "hexbite:b"}, {"HEXBITE_SPLIT_SHARE": "0.5"}])
def test_a_split_without_its_share_and_a_share_without_its_split_are_refused(
    monkeypatch: pytest.MonkeyPatch, half: dict[str, str]
) -> None:
    said = refused(monkeypatch, half)
    assert "HEXBITE_SPLIT_MODEL" in said and "HEXBITE_SPLIT_SHARE" in said


def test_a_key_where_its_digest_belongs_is_not_repeated_and_the_way_to_make_one_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = refused(monkeypatch, {"HEXBITE_API_KEYS": f"{DIGEST},{SECRET}"})
    assert "python -m bento key" in said
    assert "S3cr3t" not in said


def test_without_a_variable_or_with_an_empty_one_the_defaults_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    default = Settings()
    assert default.api_keys == () and default.metrics and default.docs
    assert default.max_feature_age_s is None
    assert default.split_model is default.shadow_model is default.model is None
    for name in Settings.model_fields:
        monkeypatch.setenv(f"HEXBITE_{name.upper()}", "")
    assert Settings.from_environment() == default


def test_every_variable_that_cannot_be_used_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    said = refused(monkeypatch, {"HEXBITE_CONNECTIONS": "0", "HEXBITE_LOG_FORMAT": "xml", "HEXBITE_METRICS": "x"})
    assert [part.partition(":")[0] for part in said.split("; ")] == [
        "HEXBITE_CONNECTIONS",
        "HEXBITE_METRICS",
        "HEXBITE_LOG_FORMAT",
    ]


def test_digests_are_told_apart_by_commas_with_or_without_spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    other = "cd" * 32
    for value in (f"{DIGEST},{other}", f" {DIGEST} , {other} ,", f"{DIGEST},\n{other}"):
        monkeypatch.setenv("HEXBITE_API_KEYS", value)
        assert Settings().api_keys == (DIGEST, other)


def test_the_parts_of_a_requests_time_fit_into_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for timeout_s in ("0.05", "1", "60"):
        monkeypatch.setenv("HEXBITE_REQUEST_TIMEOUT_S", timeout_s)
        settings = Settings()
        assert 0 < settings.crowded_s < settings.store_timeout_s < settings.answer_timeout_s
        assert settings.answer_timeout_s < settings.request_timeout_s


def test_settings_do_not_change_while_the_service_runs() -> None:
    with pytest.raises(ValueError, match="frozen"):
        setattr(Settings(), "max_candidates", 5)  # noqa: B010 - mypy knows that it may not be


def test_what_bounds_events_and_refreshes_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (Settings().max_event_age_s, Settings().max_event_ahead_s, Settings().refresh_s) == (604_800, 60, None)
    monkeypatch.setenv("HEXBITE_MAX_EVENT_AGE_S", "none")
    monkeypatch.setenv("HEXBITE_REFRESH_S", "off")
    assert (Settings().max_event_age_s, Settings().refresh_s) == ("none", "off")
    monkeypatch.setenv("HEXBITE_REFRESH_S", "0")
    assert Settings().refresh_s == 0
