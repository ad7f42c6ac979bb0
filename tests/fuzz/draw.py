"""What requests are drawn from: anything at all, and what is nearly right.

Strategies are made once, at the top: to make one in the midst of a draw takes longer than all that is drawn from it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.wire import JSON, Request

_Pairs = list[tuple[str, str]]
_Headers = tuple[tuple[bytes, bytes], ...]


def _words(text: str) -> list[str]:
    return text.split()


# Values as they stand in the text: many are no JSON.
_FIELDS = {
    "user_id": ("7", '"u7"', "null"),
    "latitude": ("13.87", "-33", "90"),
    "longitude": ("100.58", "-180", "0"),
    "candidate_restaurant_ids": ("null", "[]", "[1,2,3]", '["1","-9223372036854775808"]'),
    "at": ("null", '"2026-03-29T01:30:00+01:00"'),
    "size": ("1", "20", "1000"),
    "max_dist": ("0", "5000", "50000.0"),
    "sort_dist": ("true", "false"),
    "explain": ("true", "false"),
}
_EVENT_FIELDS = {
    "event_id": ('"a"', "5", '"é"'),
    "user_id": ("7", '"u7"'),
    "restaurant_id": ("1", '"-9223372036854775808"'),
    "event": ('"order"', '"a kind"'),
    "event_ts": ('"2026-03-29T01:30:00+01:00"', '"2999-01-01T00:00:00Z"', '"0001-01-01T00:00:00+23:59"'),
    "latitude": ("13.87", "null"),
    "longitude": ("100.58", "null"),
    "request_id": ('"abc-1"', "null"),
    "position": ("7", "0", "null"),
    "value": ("1.5", "-0.0", "null"),
}
_ODD_FIELDS = ["", "Latitude", "latitude ", "lat", "\\u006catitude", "__proto__", "\\u0000", "\\ud800", "model_config"]
_NUMBERS = _words(
    "1e400 -1e400 1e-400 NaN -NaN nan Infinity -Infinity -0.0 -0 0 01 +1 .5 1. 0x10 1_000 1e5 1E+2 2.5 5.0 90.0000001"
    " 180.1 -180.1 1000 1001 50000.01"
)
_NUMBERS += [str(n) for n in (2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64, 10**400, -(10**400))]
_NUMBERS += ["1" + "0" * 4_300, "0." + "0" * 5_000 + "1"]
_TEXTS = [
    f'"{text}"' for text in ("7", "u7", "u-7", " 7", "+7", "u00007", "U7", "1e3", "NaN", "", "7\\n", "7\n", "\ufeff7")
]
_TEXTS += [
    f'"{text}"' for text in ("\\ud800", "\\udc00\\ud800", "\\u0000", "\\x00", "\x00", "\\u000", "\u0667", "u\uff17")
]
_TEXTS += [
    '"U1077"',
    '["R1"]',
    '["1",2]',
    '"2026-02-30T00:00:00Z"',
    '"2026-03-29T01:30:00"',
    '"0001-01-01T00:00:00+23:59"',
]
_TEXTS += _words("true false null True undefined [] {} [[]] [null] '7' /**/ ,")

_DEPTHS = [10, 100, 199, 200, 201, 202, 1_000, 10_000, 100_000]
_COUNTS = [0, 1, 2, 999, 9_999, 10_000, 10_001, 20_000]
_ENCODINGS = ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "utf-7"]
_BYTES = [b"\x00", b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xef\xbb\xbf", b'"', b"\\", b"{", b"]", b",", b"e", b"-"]

_METHODS = _words("GET HEAD PUT DELETE PATCH OPTIONS TRACE PROPFIND")
_SEGMENTS = _words(
    "7 u00007 -7 u-7 %37 u%37 999999 9223372036854775807 9223372036854775808 x7 u U7 --7 +7 %00 7%00 %2F 7%2F8 %2e%2e"
    " .. . % %z %FF %D9%A7 %EF%BC%97 7%0A %257 7%20 %E2%80%AE7 {user_id} 7?user_id=8 7#8 7;a=b 7/8 7/ 7//"
)
_SEGMENTS += ["", "7" * 300, "0" * 3_000 + "7", "%00" * 1_000]
_CONTENT_TYPES = [b"application/json", b"application/json; charset=utf-8", b"APPLICATION/JSON", b"application/json;"]
_CONTENT_TYPES += [b"text/plain", b"application/jsonx", b"application/json, text/plain", b"*/*", b"", b";", b"\xff\xfe"]
_CONTENT_TYPES += [
    b"application/x-www-form-urlencoded",
    b"multipart/form-data; boundary=x",
    b"application/vnd.bentoml+pickle",
]
# No `upgrade`: the server's parser takes the connection away from whatever we could answer.
_OTHER_HEADERS = [
    (b"x-request-id", b"abc"),
    (b"x-request-id", b"a b"),
    (b"x-request-id", b"\xff" * 10),
    (b"x-request-id", b"x" * 200),
    (b"content-encoding", b"gzip"),
    (b"accept", b"text/html"),
    (b"accept-encoding", b"gzip, br"),
    (b"expect", b"100-continue"),
    (b"authorization", b"Bearer \xff"),
    (b"connection", b"close"),
    (b"traceparent", b"00-zz-zz-zz"),
    (b"x-forwarded-for", b"\xff, ::1"),
    (b"cookie", b"a=b; " * 1_000),
]


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _near(base: tuple[str, ...], missing: str | None, odd: _Pairs, at: int) -> str:
    """A request with fields that are wrong, doubled, unknown or missing."""
    return _object(_FIELDS, base, missing, odd, at)


def _near_event(base: tuple[str, ...], missing: str | None, odd: _Pairs, at: int) -> str:
    """An event like that."""
    return _object(_EVENT_FIELDS, base, missing, odd, at)


def _object(fields: Iterable[str], base: tuple[str, ...], missing: str | None, odd: _Pairs, at: int) -> str:
    pairs = [pair for pair in zip(fields, base, strict=True) if pair[0] != missing]
    pairs[at:at] = odd
    return "{" + ",".join(f'"{name}":{value}' for name, value in pairs) + "}"


def _told(events: list[str], beside: _Pairs) -> str:
    """A request that tells events, with other fields beside them."""
    pairs = [("events", f"[{','.join(events)}]"), *beside]
    return "{" + ",".join(f'"{name}":{value}' for name, value in pairs) + "}"


def _many_events(count: int, kind: int) -> bytes:
    """Many events, and long texts in them, which are not worth drawing one by one."""
    one = {"event_id": "a", "user_id": 7, "restaurant_id": 1, "event": "order", "event_ts": "2026-03-29T01:30:00Z"}
    many: list[Callable[[], Any]] = [
        lambda: [one] * count,
        lambda: [one | {"event_id": f"{place}"} for place in range(count)],
        lambda: [one | {"event_id": "x" * count}],
        lambda: [one | {"event": "x" * count}],
        lambda: [one | {f"x{place}": 1 for place in range(count)}],
        lambda: [one] * (count % 1_000) + [{}],
        lambda: [[]] * count,
        lambda: {str(place): one for place in range(count)},
    ]
    return json.dumps({"events": many[kind]()}).encode()


def _mutated(body: bytes, edits: list[tuple[int, int, int, bytes]]) -> bytes:
    """A body with bytes taken out, put in, doubled, put in the place of others, or cut off."""
    for kind, at, length, new in edits:
        start = at % (len(body) + 1)
        end = start + length
        middle = [b"", new + body[start:end], body[start:end] * 2, new, None][kind]
        body = body[:start] if middle is None else body[:start] + middle + body[end:]
    return body


def _nested(depth: int, way: int) -> bytes:
    opens, closes = [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"latitude":', b"}]"), (b"[", b"")][way % 4]
    deep = opens * depth + (b"1" if way % 4 in (1, 2) else b"") + closes * depth
    if way < 4:
        return deep
    field = b"candidate_restaurant_ids" if way < 8 else b"x"
    return b'{"latitude":13.87,"longitude":100.58,"%s":%s}' % (field, deep)


def _long(count: int, kind: int) -> bytes:
    """Many ids, long texts and many fields, which are not worth drawing one by one."""
    many: list[Callable[[], dict[str, Any]]] = [
        lambda: {"candidate_restaurant_ids": list(range(count))},
        lambda: {"candidate_restaurant_ids": [7] * count},
        lambda: {"candidate_restaurant_ids": list(range(2**63 - count // 2, 2**63 + count // 2))},
        lambda: {"candidate_restaurant_ids": ["7"] * count},
        lambda: {"candidate_restaurant_ids": [[]] * count},
        lambda: {"candidate_restaurant_ids": {str(i): i for i in range(count)}},
        lambda: {"user_id": "7" * count},
        lambda: {"user_id": "0" * count + "7"},
        lambda: {"user_id": "\u0667" * count},
        lambda: {"latitude": "x" * count},
        lambda: {"x" * count: 1},
        lambda: {f"x{i}": 1 for i in range(count)},
    ]
    return json.dumps({"latitude": 13.87, "longitude": 100.58, **many[kind]()}).encode()


def _encoded(text: str, encoding: str) -> bytes:
    return text.encode(encoding, "surrogatepass" if encoding.startswith(("utf-16", "utf-32")) else "replace")


def _percent(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in _utf8(text))


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
_TOKENS = st.one_of(
    st.sampled_from(_NUMBERS),
    st.sampled_from(_TEXTS),
    st.integers().map(str),
    st.floats().map(repr),
    st.text(max_size=20).map(json.dumps),
    _ANYTHING.map(json.dumps),
)
_NEAR = st.builds(
    _near,
    st.sampled_from(list(itertools.product(*_FIELDS.values()))),
    st.sampled_from([None] * 12 + list(_FIELDS)),
    st.lists(st.tuples(st.sampled_from([*_FIELDS, *_FIELDS, *_ODD_FIELDS]), _TOKENS), max_size=2),
    st.sampled_from(range(len(_FIELDS) + 1)),
)
_NEAR_EVENT = st.builds(
    _near_event,
    st.builds(lambda *values: values, *(st.sampled_from(values) for values in _EVENT_FIELDS.values())),
    st.sampled_from([None] * 12 + list(_EVENT_FIELDS)),
    st.lists(st.tuples(st.sampled_from([*_EVENT_FIELDS, *_EVENT_FIELDS, *_ODD_FIELDS]), _TOKENS), max_size=2),
    st.sampled_from(range(len(_EVENT_FIELDS) + 1)),
)
_TOLD = st.builds(
    _told,
    st.lists(st.one_of(_NEAR_EVENT, _NEAR_EVENT, _TOKENS), max_size=3),
    st.lists(st.tuples(st.sampled_from(["events", *_ODD_FIELDS]), _TOKENS), max_size=1),
)
_EDITS = st.lists(
    st.tuples(
        st.sampled_from(range(5)),
        st.integers(0, 300),
        st.sampled_from(range(12)),
        st.sampled_from(_BYTES) | st.binary(max_size=6),
    ),
    min_size=1,
    max_size=3,
)

#: Bodies of every kind.
BODIES: st.SearchStrategy[bytes] = st.one_of(
    _NEAR.map(_utf8),
    _NEAR.map(_utf8),
    st.builds(_mutated, _NEAR.map(_utf8), _EDITS),
    st.builds(_mutated, _NEAR.map(_utf8), _EDITS),
    _ANYTHING.map(lambda value: _utf8(json.dumps(value, ensure_ascii=False))),
    _TOKENS.map(_utf8),
    st.binary(max_size=100),
    st.builds(_encoded, _NEAR, st.sampled_from(_ENCODINGS)),
    st.builds(_nested, st.sampled_from(_DEPTHS), st.sampled_from(range(12))),
    st.builds(_long, st.sampled_from(_COUNTS) | st.integers(0, 20_000), st.sampled_from(range(12))),
)

#: Bodies that tell events, of every kind.
EVENT_BODIES: st.SearchStrategy[bytes] = st.one_of(
    *(_TOLD.map(_utf8) for _ in range(3)),
    *(st.builds(_mutated, _TOLD.map(_utf8), _EDITS) for _ in range(2)),
    st.builds(_encoded, _TOLD, st.sampled_from(_ENCODINGS)),
    st.builds(_many_events, st.sampled_from(_COUNTS) | st.integers(0, 2_000), st.sampled_from(range(8))),
    BODIES,
)
_TARGETS = st.sampled_from([b"/recommend/7", b"/recommend/u00007", b"/recommend", b"/recommend/999999"])
_ODD_TARGETS = (st.sampled_from(_SEGMENTS) | st.text(max_size=6).map(_percent)).map(
    lambda segment: f"/recommend/{segment}".encode()
)
_HEADERS: st.SearchStrategy[_Headers] = st.builds(
    lambda types, others: (*((b"content-type", value) for value in types), *others),
    st.lists(st.sampled_from(_CONTENT_TYPES), max_size=2),
    st.lists(st.sampled_from(_OTHER_HEADERS), max_size=3),
)
_CHUNKS = st.sampled_from([None, None, None, 1, 3, 50])

_EVENTS = st.sampled_from([b"/events"] * 8 + [b"/events/", b"/events/7", b"/event", b"//events", b"/%65vents"])

#: Whole requests to tell events.
TELLING: st.SearchStrategy[Request] = st.one_of(
    *(st.builds(Request, st.just(b"/events"), EVENT_BODIES, st.just(JSON), st.just("POST"), _CHUNKS) for _ in range(6)),
    st.builds(Request, _EVENTS, EVENT_BODIES, _HEADERS, st.sampled_from(["POST", "POST", *_METHODS]), _CHUNKS),
)

#: Whole requests: mostly it is the body that is of interest, else the path, the headers or the method.
REQUESTS: st.SearchStrategy[Request] = st.one_of(
    # Each a strategy of its own: the same one would count once.
    *(st.builds(Request, _TARGETS, BODIES, st.just(JSON), st.just("POST"), _CHUNKS) for _ in range(6)),
    st.builds(Request, _ODD_TARGETS, _NEAR.map(_utf8)),
    st.builds(Request, _TARGETS, _NEAR.map(_utf8), _HEADERS, st.just("POST"), _CHUNKS),
    st.builds(Request, _TARGETS | _ODD_TARGETS, BODIES, _HEADERS, st.sampled_from(["POST", *_METHODS]), _CHUNKS),
)
