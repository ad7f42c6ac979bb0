"""Ids as a request writes them, and what they stand for where a model's ids are integers or text (ADR 13)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Final, TypeGuard, cast
from urllib.parse import unquote_to_bytes

import numpy as np
from pydantic import AfterValidator, Field, PlainValidator, ValidationError, WithJsonSchema
from pydantic_core import InitErrorDetails, PydanticCustomError

from hexbite.errors import InvalidRequestError
from hexbite.geo import Ids
from hexbite.ids import MAX_TEXT_BYTES, IdKind, text_fault, text_to_id, texts_to_ids, utf8_to_ids

MAX_CANDIDATES_ASKED: Final = 10_000

INT64: Final = range(-(2**63), 2**63)

#: From here on two integers are one and the same float, to JavaScript, jq and others: which was meant nobody can tell.
INEXACT: Final = 2**53

_USER: Final = re.compile(r"u?(-?)0*([0-9]{1,19})", re.ASCII)

# A % that begins no escape: whoever wrote it meant another text than the one that comes of it.
_NO_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def whole_to_int(value: object) -> object:
    """``20.0`` is the integer 20: some clients know one kind of number. What is no whole float is left as it is.

    Raises ValueError for a whole float that may stand for several integers.
    """
    if not isinstance(value, float) or not value.is_integer():
        return value
    if abs(value) >= INEXACT:
        raise ValueError("must be written as an integer: with a point or an exponent it is exact only below 2^53")
    return int(value)


def _read(value: object) -> int | str:
    value = whole_to_int(value)
    if isinstance(value, str):
        return text_or_refusal(value)
    if isinstance(value, bool) or not isinstance(value, int) or not INT64[0] <= value <= INT64[-1]:
        raise ValueError("must be a 64-bit integer, or text")
    return value


def text_or_refusal(text: str) -> str:
    """A text as it is. Raises ValueError where `hexbite.ids.text_fault` finds a fault."""
    if fault := text_fault(text):
        raise ValueError(fault)
    return text


def _require_texts(texts: list[bytes]) -> list[bytes]:
    if b"\0" in b"".join(texts):
        raise ValueError("one holds a NUL character")
    return texts


def _read_each(ids: object) -> list[int] | list[bytes]:
    if not isinstance(ids, list | tuple):
        raise ValueError("must be an array of ids")  # noqa: TRY004 - of which pydantic would make no error of a field
    if len(ids) > MAX_CANDIDATES_ASKED:
        raise ValueError(f"must hold at most {MAX_CANDIDATES_ASKED:,} ids, not {len(ids):,}")
    read: list[int | str] = []
    for place, written in enumerate(ids):
        try:
            id_ = _read(written)
            if isinstance(id_, str) != isinstance((read or [id_])[0], str):
                form = "an integer" if isinstance(id_, str) else "text"
                raise ValueError(f"must be {form}, as those before it: a list is of integers or of text")
        except ValueError as error:
            said = PydanticCustomError("id", "{said}", {"said": str(error)})
            wrong = InitErrorDetails(type=said, loc=(place,), input=written)
            raise ValidationError.from_exception_data("ids", [wrong]) from error
        read.append(id_)
    return form_of(read)


def form_of(ids: Sequence[int | str]) -> list[int] | list[bytes]:
    """Candidates that are all integers or all text, as a request holds them."""
    texts = [id_.encode() for id_ in ids if isinstance(id_, str)]
    return texts or [id_ for id_ in ids if isinstance(id_, int)]


_INT64_SCHEMA: Final[dict[str, Any]] = {
    "type": "integer",
    "format": "int64",
    "minimum": INT64[0],
    "maximum": INT64[-1],
}
_TEXT_SCHEMA: Final[dict[str, Any]] = {"type": "string", "minLength": 1, "maxLength": MAX_TEXT_BYTES}

# Nineteen digits are promised up to 8,999,999,999,999,999,999, or eighteen, for the sake of a pattern that can be read;
# a few more are 64-bit ids, and taken.
_USER_SCHEMA: Final[dict[str, Any]] = {
    "type": "string",
    "pattern": "^u?-?0*[0-8]?[0-9]{1,18}$",
    "maxLength": MAX_TEXT_BYTES,
}
_DECIMAL_SCHEMA: Final[dict[str, Any]] = {"type": "string", "pattern": "^-?[0-9]{1,18}$"}


def _lists(*forms: dict[str, Any]) -> dict[str, Any]:
    lists = [{"type": "array", "maxItems": MAX_CANDIDATES_ASKED, "items": form} for form in forms]
    return lists[0] if len(lists) == 1 else {"anyOf": lists}


_Integer = Annotated[int, Field(strict=True, ge=INT64[0], le=INT64[-1])]
_Utf8 = Annotated[bytes, Field(min_length=1, max_length=MAX_TEXT_BYTES)]

#: An id as it was written: what it stands for depends on the model that answers.
AnyId = Annotated[int | str, PlainValidator(_read), WithJsonSchema({"anyOf": [_INT64_SCHEMA, _TEXT_SCHEMA]})]

#: Candidates, all integers or all text: in UTF-8, which is what is hashed, and read in half the time. As the parser
#: reads them, where it can; else each is looked at, which takes ten times as long, and says what is wrong.
RestaurantIds = Annotated[
    Annotated[list[_Integer], Field(max_length=MAX_CANDIDATES_ASKED, fail_fast=True)]
    | Annotated[list[_Utf8], Field(max_length=MAX_CANDIDATES_ASKED, fail_fast=True), AfterValidator(_require_texts)]
    | Annotated[list[int] | list[bytes], PlainValidator(_read_each)],
    Field(union_mode="left_to_right"),
    WithJsonSchema(_lists(_INT64_SCHEMA, _TEXT_SCHEMA)),
]

#: What pydantic calls the first two ways, in an error of them: what counts is what the last says.
QUICK_WAYS: Final = frozenset({"list[constrained-int]", "function-after[_require_texts(), list[constrained-bytes]]"})


def path_to_user_id(segment: bytes) -> str:
    """The text of a part of a path as it was sent, ``%2F`` and all. Raises InvalidRequestError where it is no id."""
    if _NO_ESCAPE.search(segment):
        raise InvalidRequestError("user_id in the path holds a % that begins no escape: write it as %25", "user_id")
    try:
        text = unquote_to_bytes(segment).decode()
    except UnicodeDecodeError as error:
        raise InvalidRequestError("user_id in the path is no UTF-8", "user_id") from error
    if fault := text_fault(text):
        raise InvalidRequestError(f"user_id in the path {fault}", "user_id")
    return text


def user_to_id(in_path: str | None, in_body: int | str | None, kind: IdKind) -> int:
    """The 64-bit id of the user that a request names, in the path, the body or both.

    Raises InvalidRequestError where it names none, or two, or one that is not of the kind.
    """
    if in_path is None:
        if in_body is None:
            raise InvalidRequestError("user_id is required, in the path or in the body", "user_id")
        return _user_to_id(in_body, kind, "user_id:", "user_id")
    user_id = _user_to_id(in_path, kind, "user_id in the path", "user_id")
    if in_body is not None and _user_to_id(in_body, kind, "user_id:", "user_id") != user_id:
        raise InvalidRequestError("user_id in the body is not the one in the path", "user_id")
    return user_id


def _user_to_id(written: int | str, kind: IdKind, where: str, field: str) -> int:
    if kind == "text":
        if isinstance(written, str):
            return text_to_id(written)
        raise InvalidRequestError(f'{where} must be text such as "U1077": user ids are text here', field)
    if isinstance(written, str):
        found = _USER.fullmatch(written)
        written = int(found[1] + found[2]) if found else INT64.stop
    if written not in INT64:
        raise InvalidRequestError(f'{where} must be a 64-bit id such as 7, "7" or "u00007"', field)
    return written


def told_users_to_ids(written: Sequence[int | str], kind: IdKind) -> list[int]:
    """The 64-bit ids of the users of events, in their order. Raises InvalidRequestError as `user_to_id` does."""
    if kind == "text" and _are_texts(written):
        return _texts_to_ids(written)
    return [_user_to_id(id_, kind, f"events.{place}.user_id:", "events") for place, id_ in enumerate(written)]


def told_restaurants_to_ids(written: Sequence[int | str], kind: IdKind) -> list[int]:
    """The 64-bit ids of the restaurants of events, in their order.

    Raises InvalidRequestError, with the place of the first that is not of the kind.
    """
    if kind == "text" and _are_texts(written):
        return _texts_to_ids(written)
    return [_restaurant_to_id(id_, kind, f"events.{place}.restaurant_id:") for place, id_ in enumerate(written)]


def _are_texts(written: Sequence[int | str]) -> TypeGuard[Sequence[str]]:
    return all(isinstance(id_, str) for id_ in written)


def _texts_to_ids(texts: Sequence[str]) -> list[int]:
    """Of all at once, where nothing is wrong."""
    found: list[int] = texts_to_ids(texts).tolist()
    return found


def _restaurant_to_id(written: int | str, kind: IdKind, where: str) -> int:
    if kind == "text":
        if isinstance(written, str):
            return text_to_id(written)
        raise InvalidRequestError(f'{where} must be text such as "R1077": restaurant ids are text here', "events")
    if isinstance(written, int):
        return written
    if _is_decimal(written.encode()):
        return int(written)
    raise InvalidRequestError(f'{where} must be a 64-bit integer such as 1077, or "1077"', "events")


def candidates_to_ids(written: list[int] | list[bytes], kind: IdKind) -> list[int] | Ids:
    """The 64-bit ids of N candidates in their order: an array ``(N,)`` where they are text.

    Raises InvalidRequestError, with the place of the first that is not of the kind.
    """
    if is_text(written):
        return utf8_to_ids(written) if kind == "text" else _decimals_to_ids(written)
    if kind == "text" and written:
        raise _wrong_candidate(0, 'must be text such as "R1077": restaurant ids are text here')
    return cast("list[int]", written)


def is_text(candidates: list[int] | list[bytes]) -> TypeGuard[list[bytes]]:
    """Whether candidates were written as text."""
    return bool(candidates) and isinstance(candidates[0], bytes)


def _decimals_to_ids(texts: list[bytes]) -> Ids:
    try:
        if not b"".join(texts).translate(None, b"-0123456789"):  # of all at once, where nothing is wrong
            return np.array(list(map(int, texts)), dtype=np.int64)
    except (ValueError, OverflowError):
        pass
    place = next(place for place, text in enumerate(texts) if not _is_decimal(text))
    said = 'must be a 64-bit integer, or one as text such as "7": restaurant ids are integers here'
    raise _wrong_candidate(place, said)


def _is_decimal(text: bytes) -> bool:
    return re.fullmatch(rb"-?[0-9]+", text) is not None and int(text) in INT64


def _wrong_candidate(place: int, said: str) -> InvalidRequestError:
    return InvalidRequestError(f"candidate_restaurant_ids.{place}: {said}", "candidate_restaurant_ids")


def user_id_schemas(kind: IdKind) -> tuple[dict[str, Any], dict[str, Any]]:
    """JSON Schemas of a user's id in a path and in a body."""
    if kind == "text":
        return _TEXT_SCHEMA, _TEXT_SCHEMA
    return _USER_SCHEMA, {"anyOf": [_INT64_SCHEMA, _USER_SCHEMA]}


def told_id_schema(field: str, kind: IdKind) -> dict[str, Any]:
    """JSON Schema of the id of a user or a restaurant in an event."""
    if kind == "text":
        return _TEXT_SCHEMA
    return {"anyOf": [_INT64_SCHEMA, _USER_SCHEMA if field == "user_id" else _DECIMAL_SCHEMA]}


def restaurant_ids_schema(kind: IdKind) -> dict[str, Any]:
    """JSON Schema of a list of candidates."""
    return _lists(_TEXT_SCHEMA) if kind == "text" else _lists(_INT64_SCHEMA, _DECIMAL_SCHEMA)


def restaurant_id_schema(kind: IdKind) -> dict[str, Any]:
    """JSON Schema of a restaurant's id in an answer."""
    return (
        _TEXT_SCHEMA if kind == "text" else {"anyOf": [_INT64_SCHEMA, {"type": "string", "pattern": "^-?[0-9]{1,19}$"}]}
    )
