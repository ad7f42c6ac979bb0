"""What a careless or hostile client may send, over real HTTP: each is answered by name, and the service goes on."""

import json
import socket
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, seed, settings

import hexbite
from bento.contract.openapi import document
from tests.e2e.conftest import Line, serve
from tests.fuzz import draw
from tests.fuzz.wire import JSON, Answer, Request, Wire, judge, read

HERE = {"latitude": "13.87", "longitude": "100.58"}
LARGE = 50_000_000


@pytest.fixture(scope="module")
def wire(url: str) -> Iterator[Wire]:
    wire = Wire(url)
    yield wire
    wire.close()


@pytest.fixture(scope="module")
def hasty(line: Line) -> Iterator[Wire]:
    """To a service that gives a request one second in all."""
    with serve({**line.environment, "HEXBITE_REQUEST_TIMEOUT_S": "1"}) as url:
        yield Wire(url)


def body(**fields: str) -> bytes:
    """A body whose values stand in it as they are given."""
    return ("{" + ", ".join(f'"{name}": {value}' for name, value in (HERE | fields).items()) + "}").encode()


def ask(
    wire: Wire, body: bytes, target: bytes = b"/recommend/7", headers: tuple[tuple[bytes, bytes], ...] = JSON
) -> Answer:
    request = Request(target, body, headers)
    answer = wire.ask(request)
    judge(answer)
    return answer


def restaurants(answer: Answer) -> list[dict[str, float]]:
    assert answer.status == 200, answer
    return json.loads(answer.body)["restaurants"]


def assert_well(wire: Wire) -> None:
    """The service answers as ever, on a connection of its own."""
    assert restaurants(ask(Wire(f"http://{wire.host}:{wire.port}"), body()))


def test_minus_zero_is_zero(wire: Wire) -> None:
    at_zero = restaurants(ask(wire, body(max_dist="0")))
    assert restaurants(ask(wire, body(max_dist="-0.0"))) == at_zero
    assert restaurants(ask(wire, body(latitude="-0.0", longitude="-0.0"))) == []
    assert ask(wire, body(user_id="-0"), b"/recommend/0").status == 200


def test_of_a_field_that_is_there_twice_the_last_counts(wire: Wire) -> None:
    twice = b'{"latitude": 99, "size": 3, "latitude": 13.87, "longitude": 100.58, "size": 2}'
    assert restaurants(ask(wire, twice)) == restaurants(ask(wire, body(size="2")))
    assert ask(wire, b'{"latitude": 13.87, "longitude": 100.58, "latitude": 99}').error["field"] == "latitude"
    # The same name, written with an escape.
    assert ask(wire, b'{"latitude": 13.87, "longitude": 100.58, "l\\u0061titude": 99}').error["field"] == "latitude"


@pytest.mark.parametrize("value", ["-1e400", "Infinity", "-Infinity", "NaN", "1" + "0" * 400])
@pytest.mark.parametrize("field", ["latitude", "longitude", "max_dist", "size", "user_id"])
def test_what_is_no_finite_number_is_refused_by_field(wire: Wire, field: str, value: str) -> None:
    answer = ask(wire, body(**{field: value}))
    assert (answer.status, answer.error["field"]) == (400, field)


@pytest.mark.parametrize("value", [-(2**63) - 1, 2**64, 10**400])
def test_ids_past_63_bits_are_refused(wire: Wire, value: int) -> None:
    for fields in ({"user_id": f"{value}"}, {"user_id": f'"{value}"'}, {"candidate_restaurant_ids": f"[1, {value}]"}):
        answer = ask(wire, body(**fields))
        assert (answer.status, answer.error["field"]) == (400, next(iter(fields)))
    assert ask(wire, body(), f"/recommend/{value}".encode()).error["field"] == "user_id"


def test_ids_of_63_bits_are_taken(wire: Wire) -> None:
    for value in (2**63 - 1, -(2**63)):
        ids = f"[{value}]"
        assert restaurants(ask(wire, body(candidate_restaurant_ids=ids), f"/recommend/{value}".encode())) == []


@pytest.mark.parametrize("depth", [201, 10_000, 100_000])
def test_deep_nesting_is_refused(wire: Wire, depth: int) -> None:
    deep = "[" * depth + "]" * depth
    for sent in (deep.encode(), b"[" * depth, b'{"a":' * depth, body(candidate_restaurant_ids=deep), body(colour=deep)):
        assert ask(wire, sent).status == 400


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("candidate_restaurant_ids", "[[[[1]]]]"),
        ("latitude", '{"latitude": 13.87}'),
        ("size", "[20]"),
        ("user_id", '"\u0667"'),
        ("user_id", '"7\\u0000"'),
        ("user_id", '"7\\n"'),
        ("user_id", '"' + "7" * 500_000 + '"'),
        ("\\u0000", "1"),
    ],
    ids=lambda value: value[:20],
)
def test_a_value_of_the_wrong_kind_is_refused_by_field(wire: Wire, field: str, value: str) -> None:
    answer = ask(wire, body(**{field: value}))
    assert (answer.status, answer.error["field"]) == (400, json.loads(f'"{field}"'))


@pytest.mark.parametrize(
    "sent",
    [
        body(user_id='"\\ud800"'),
        body(**{"\\udc00": "1"}),
        b"\xef\xbb\xbf" + body(),
        body().decode().encode("utf-16"),
        body().decode().encode("utf-32"),
        body()[:-1] + b', "\xc0\xaf": 1}',
        body()[:-1] + b', "\xed\xa0\x80": 1}',
        body() + b"\x00",
        body() + body(),
        body()[:-1],
        b"\x00",
        b"null",
        b"7",
    ],
    ids=lambda sent: repr(sent[-20:]),
)
def test_a_body_that_is_no_json_object_in_utf_8_is_refused(wire: Wire, sent: bytes) -> None:
    answer = ask(wire, sent)
    assert (answer.status, answer.error["field"]) == (400, None)


def test_other_content_types_are_refused_and_json_is_taken_however_it_is_written(wire: Wire) -> None:
    for refused in (b"", b"text/json", b"application/jsonx", b"application/json, text/plain", b"\xff", b"*/*"):
        assert ask(wire, body(), headers=((b"content-type", refused),)).status == 415
    for taken in (b"APPLICATION/JSON", b"application/json; charset=utf-8", b" application/json\t;x=y"):
        assert ask(wire, body(), headers=((b"content-type", taken),)).status == 200
    assert ask(wire, body(), headers=()).status == 200


@pytest.mark.parametrize(
    ("segment", "status"),
    [
        ("%37", 200),
        ("u%30%37", 200),
        ("7?user_id=8", 200),
        ("7%2F8", 404),
        ("7/", 404),
        ("../livez", 404),
        ("%00", 400),
        ("7%00", 400),
        ("7%0A", 400),
        ("%207", 400),
        ("%FF", 400),
        ("%", 400),
        ("%zz", 400),
        ("%257", 400),
        ("%D9%A7", 400),
        ("%EF%BC%97", 400),
        ("..", 400),
        ("7" * 5_000, 400),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_path_is_decoded_once_and_is_a_user_or_refused(wire: Wire, segment: str, status: int) -> None:
    answer = ask(wire, body(), f"/recommend/{segment}".encode())
    assert answer.status == status
    if status == 400:
        assert answer.error["field"] == "user_id"


def test_a_long_name_comes_back_only_in_part(wire: Wire) -> None:
    answer = wire.ask(Request(body=body(**{"x" * 500_000: "1"})))
    assert answer.status == 400
    assert len(answer.body) < 1_000


@pytest.mark.parametrize("is_chunked", [False, True])
def test_fifty_megabytes_are_refused_and_the_connection_serves_on(wire: Wire, is_chunked: bool) -> None:
    large = Request(body=b" " * LARGE, chunks=800 if is_chunked else None)
    with wire.connect() as connection:
        connection.sendall(large.raw())
        answer, closes = read(connection, "POST", time.perf_counter())
        judge(answer)
        assert answer.status == 413
        if not closes:
            connection.sendall(Request(body=body()).raw())
            assert restaurants(read(connection, "POST", time.perf_counter())[0])
    assert_well(wire)


def test_a_body_that_drips_is_given_up_within_the_budget(hasty: Wire) -> None:
    with hasty.connect() as connection:
        started = time.perf_counter()
        connection.sendall(Request(body=body()).raw()[: -len(body())])
        connection.settimeout(0.05)
        first = b""
        for byte in body():
            try:
                first = connection.recv(1, socket.MSG_PEEK)
                break
            except TimeoutError:
                connection.sendall(bytes([byte]))
        assert first, "no answer while it dripped"
        took_s = time.perf_counter() - started
        connection.settimeout(5)
        answer, closes = read(connection, "POST", started)
    judge(answer)
    assert answer.status == 408
    assert closes
    assert took_s < 1.5  # the budget, and what a busy machine adds to it
    assert_well(hasty)


@pytest.mark.parametrize("chunks", [None, 1])
def test_a_body_that_a_request_for_an_upgrade_took_away_is_named(wire: Wire, chunks: int | None) -> None:
    # Java's own client asks so, as long as it is not told to speak HTTP/1.1.
    upgrade = ((b"connection", b"Upgrade, HTTP2-Settings"), (b"upgrade", b"h2c"), (b"http2-settings", b"AAMAAABk"))
    with wire.connect() as connection:
        connection.sendall(Request(body=body(), headers=JSON + upgrade, chunks=chunks).raw())
        answer, _ = read(connection, "POST", time.perf_counter())
    judge(answer)
    assert answer.status == 400
    assert "upgrade" in str(answer.error["message"])


def faults(wire: Wire) -> list[bytes]:
    """What the service has counted of answers from 500 on."""
    lines = wire.ask(Request(b"/metrics", method="GET")).body.splitlines()
    counts = [line for line in lines if line.startswith(b"hexbite_recommend_seconds_count{")]
    assert counts
    return [line for line in counts if b'status="5' in line]


def test_a_client_that_goes_away_half_way_is_no_fault(wire: Wire) -> None:
    assert_well(wire)
    before = faults(wire)
    whole = Request(body=body()).raw()
    for cut in (1, 20, len(whole) // 2, len(whole) - 1, len(whole)):
        for _ in range(4):
            with wire.connect() as connection:
                connection.sendall(whole[:cut])
                # A reset, not a farewell.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    assert_well(wire)
    assert faults(wire) == before


@pytest.mark.parametrize(
    "sent",
    [b"\x00" * 100, b"GET\r\n\r\n", b"BREW /recommend/7 HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01"],
    ids=repr,
)
def test_what_is_no_http_is_refused_beneath_us_and_tells_nothing(wire: Wire, sent: bytes) -> None:
    with wire.connect() as connection:
        connection.sendall(sent)
        answer, closes = read(connection, "GET", time.perf_counter())
    assert (answer.status, answer.body, closes) == (400, b"Invalid HTTP request received.", True)
    assert_well(wire)


@pytest.mark.parametrize("path", [b"/livez", b"/readyz", b"/metrics", b"/docs.json"])
def test_a_method_that_a_route_does_not_take_is_told_which_it_does(wire: Wire, path: bytes) -> None:
    answer = wire.ask(Request(path, method="TRACE"))
    judge(answer)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


def test_the_document_that_is_served_is_drawn_from_the_models(wire: Wire) -> None:
    answer = wire.ask(Request(b"/docs.json", method="GET"))
    assert json.loads(answer.body) == document(version=hexbite.__version__)


def test_whatever_else_is_sent_the_answer_is_in_the_contract(wire: Wire) -> None:
    @seed(7)
    @settings(max_examples=300, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(draw.REQUESTS)
    def ask_anything(request: Request) -> None:
        judge(wire.ask(request), request.method)

    ask_anything()
