"""Ids of a request: how they may be written, what they stand for, and what is said of those that are none."""

import json
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from bento.contract.errors import refuse_invalid
from bento.contract.ids import candidates_to_ids, form_of, path_to_user_id, user_to_id
from bento.contract.models import RecommendRequest
from hexbite.errors import InvalidRequestError
from hexbite.ids import text_fault, text_to_id

INT64 = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(min_size=1, max_size=40).filter(lambda text: not text_fault(text))


def parsed(**fields: Any) -> RecommendRequest:
    return RecommendRequest.model_validate_json(json.dumps({"latitude": 1, "longitude": 2} | fields))


def refusal(**fields: Any) -> tuple[str | None, str]:
    """The field and the words of the refusal of a body."""
    with pytest.raises(ValidationError) as caught:
        parsed(**fields)
    error = json.loads(bytes(refuse_invalid(caught.value, b"").body))["error"]
    return error["field"], error["message"]


@given(st.lists(TEXTS, min_size=1, max_size=20))
def test_text_candidates_are_taken_as_they_are_and_stand_for_their_hashes(texts: list[str]) -> None:
    asked = parsed(candidate_restaurant_ids=texts).candidate_restaurant_ids
    assert asked == [text.encode() for text in texts]
    found = candidates_to_ids(asked, "text")
    assert isinstance(found, np.ndarray)
    assert found.tolist() == [text_to_id(text) for text in texts]


@given(st.lists(INT64, max_size=20))
def test_integers_are_taken_as_numbers_and_as_decimal_text(integers: list[int]) -> None:
    for written in (integers, [str(integer) for integer in integers]):
        asked = parsed(candidate_restaurant_ids=written).candidate_restaurant_ids
        assert asked is not None
        assert list(candidates_to_ids(asked, "integer")) == integers


@given(TEXTS)
def test_a_text_user_is_the_same_in_the_path_and_in_the_body(text: str) -> None:
    assert path_to_user_id(quote(text, safe="").encode()) == text
    body = parsed(user_id=text).user_id
    assert user_to_id(None, body, "text") == user_to_id(text, None, "text") == user_to_id(text, body, "text")
    assert user_to_id(text, None, "text") == text_to_id(text)


@given(TEXTS, TEXTS)
def test_two_texts_are_two_users(one: str, other: str) -> None:
    assume(one != other)
    with pytest.raises(InvalidRequestError, match="not the one in the path"):
        user_to_id(one, other, "text")


def test_nothing_is_folded() -> None:
    written = [
        "U1",
        "u1",
        " U1",
        "U1 ",
        "u01",
        "caf\u00e9",
        "cafe\u0301",
        "\u212b",
        "\u00c5",
        "\ufeffU1",
        "U1\n",
        "ß",
        "ss",
    ]
    assert len({user_to_id(None, text, "text") for text in written}) == len(written)
    assert user_to_id("7", None, "text") != user_to_id("u7", None, "text")


def test_integer_users_may_be_written_as_before() -> None:
    for written in (7, "7", "u7", "u00007", "0007"):
        assert user_to_id(None, written, "integer") == user_to_id(str(written), None, "integer") == 7
    assert user_to_id("u-5", None, "integer") == -5
    assert user_to_id("7", "u7", "integer") == 7
    assert user_to_id("9223372036854775807", None, "integer") == 2**63 - 1


@pytest.mark.parametrize(
    ("in_path", "in_body", "kind", "said"),
    [
        (None, None, "integer", "user_id is required"),
        (None, None, "text", "user_id is required"),
        (None, "x7", "integer", 'user_id: must be a 64-bit id such as 7, "7" or "u00007"'),
        ("x7", None, "integer", "user_id in the path must be a 64-bit id"),
        ("9223372036854775808", None, "integer", "user_id in the path must be a 64-bit id"),
        ("7", 8, "integer", "user_id in the body is not the one in the path"),
        (None, 7, "text", 'user_id: must be text such as "U1077"'),
        ("7", 7, "text", 'user_id: must be text such as "U1077"'),
        ("7", "u7", "text", "user_id in the body is not the one in the path"),
    ],
)
def test_a_user_that_is_none_or_two_is_refused_in_words(in_path: Any, in_body: Any, kind: Any, said: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        user_to_id(in_path, in_body, kind)
    assert caught.value.field == "user_id"
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("written", "kind", "said"),
    [
        ([1, 2], "text", 'candidate_restaurant_ids.0: must be text such as "R1077"'),
        (["5", "u7"], "integer", "candidate_restaurant_ids.1: must be a 64-bit integer"),
        (["5", "+7"], "integer", "candidate_restaurant_ids.1: must be a 64-bit integer"),
        (["5", "7-"], "integer", "candidate_restaurant_ids.1: must be a 64-bit integer"),
        (["5", "-"], "integer", "candidate_restaurant_ids.1: must be a 64-bit integer"),
        (["5", "1_0"], "integer", "candidate_restaurant_ids.1: must be a 64-bit integer"),
        (["5", " 7"], "integer", "candidate_restaurant_ids.1: must be a 64-bit integer"),
        (["5", "7.0"], "integer", "candidate_restaurant_ids.1: must be a 64-bit integer"),
        (["5", "\u0667"], "integer", "candidate_restaurant_ids.1: must be a 64-bit integer"),
        (["5", "9223372036854775808"], "integer", "candidate_restaurant_ids.1: must be a 64-bit integer"),
        (["-9223372036854775809"], "integer", "candidate_restaurant_ids.0: must be a 64-bit integer"),
    ],
)
def test_a_candidate_of_another_kind_is_refused_by_its_place(written: Any, kind: Any, said: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        candidates_to_ids(form_of(written), kind)
    assert caught.value.field == "candidate_restaurant_ids"
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize("kind", ["integer", "text"])
def test_no_candidates_are_of_either_kind(kind: Any) -> None:
    assert len(candidates_to_ids([], kind)) == 0


BAD_TEXTS = {"": "is empty", "a\0b": "holds a NUL character", "x" * 129: "is longer than 128 bytes"}
BAD_TEXTS |= {"é" * 65: "is longer than 128 bytes"}


@pytest.mark.parametrize(("text", "fault"), BAD_TEXTS.items(), ids=range(4))
def test_a_text_that_can_be_no_id_is_refused_wherever_it_stands(text: str, fault: str) -> None:
    field, said = refusal(user_id=text)
    assert field == "user_id"
    assert said.startswith(f"user_id: {fault}")
    for before in ([], ["a"], ["é", "b"]):
        field, said = refusal(candidate_restaurant_ids=[*before, text, "c"])
        assert field == "candidate_restaurant_ids"
        assert said.startswith(f"candidate_restaurant_ids.{len(before)}: {fault}")
    if text:  # an empty part of a path names no user
        with pytest.raises(InvalidRequestError, match=f"user_id in the path {fault}"):
            path_to_user_id(quote(text, safe="").encode())


@pytest.mark.parametrize("text", ["x" * 128, "é" * 64, "\U0001f35c" * 32])
def test_a_text_of_128_bytes_is_taken(text: str) -> None:
    assert parsed(user_id=text, candidate_restaurant_ids=[text]).candidate_restaurant_ids == [text.encode()]
    assert path_to_user_id(quote(text, safe="").encode()) == text


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (["a", 1], ".1: must be text, as those before it"),
        ([1, "a"], ".1: must be an integer, as those before it"),
        ([1.0, "a"], ".1: must be an integer, as those before it"),
        ([True], ".0: must be a 64-bit integer, or text"),
        (["a", None], ".1: must be a 64-bit integer, or text"),
        ([1, 2**63], ".1: must be a 64-bit integer, or text"),
        ([1, 1e300], ".1: must be written as an integer"),
        ([["a"]], ".0: must be a 64-bit integer, or text"),
        ({"a": 1}, ": must be an array of ids"),
        ("abc", ": must be an array of ids"),
        (["a"] * 10_001, ": must hold at most 10,000 ids, not 10,001"),
        ([1] * 10_001, ": must hold at most 10,000 ids, not 10,001"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_the_first_candidate_that_is_none_is_named(ids: Any, said: str) -> None:
    field, message = refusal(candidate_restaurant_ids=ids)
    assert field == "candidate_restaurant_ids"
    assert message.startswith(f"candidate_restaurant_ids{said}")


def test_half_a_surrogate_pair_is_refused_in_process_too() -> None:
    for fields in ({"user_id": "\ud800"}, {"candidate_restaurant_ids": ["a", "\udc00"]}):
        with pytest.raises(ValidationError, match=r"surrogate|unicode"):
            RecommendRequest.model_validate({"latitude": 1, "longitude": 2} | fields)


@pytest.mark.parametrize(
    ("segment", "text"),
    [
        (b"a%2Fb", "a/b"),
        (b"a%2fb", "a/b"),
        (b"%252F", "%2F"),
        (b"a+b", "a+b"),
        (b"%F0%9F%8D%9C", "\U0001f35c"),
        (b"..", ".."),
    ],
)
def test_a_part_of_a_path_is_decoded_once(segment: bytes, text: str) -> None:
    assert path_to_user_id(segment) == text


@pytest.mark.parametrize("segment", [b"%", b"%z1", b"100%", b"a%2"])
def test_a_percent_sign_that_begins_no_escape_is_refused(segment: bytes) -> None:
    with pytest.raises(InvalidRequestError, match="%25"):
        path_to_user_id(segment)


@pytest.mark.parametrize("segment", [b"%FF", b"%C0%AF", b"%ED%A0%80"])
def test_a_path_in_another_encoding_is_refused(segment: bytes) -> None:
    with pytest.raises(InvalidRequestError, match="UTF-8"):
        path_to_user_id(segment)
