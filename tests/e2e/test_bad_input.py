"""What a careless or hostile client may send, over real HTTP: each is answered by name, and the service goes on."""

import json
import socket
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, seed, settings

import hexbite
from bento.contract.events import EventsResponse
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
    """To a service that gives a request one second in all, and shows no documents."""
    with serve({**line.environment, "HEXBITE_REQUEST_TIMEOUT_S": "1", "HEXBITE_DOCS": "false"}) as url:
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


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_a_byte_order_mark_is_named(wire: Wire, encoding: str) -> None:
    for sent in (body().decode(), "", "nonsense"):
        answer = ask(wire, f"\ufeff{sent}".encode(encoding))
        assert (answer.status, answer.error["field"]) == (400, None)
        assert f"byte order mark ({encoding[:6].upper().rstrip('-')}" in str(answer.error["message"])


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
        ("7%2F8", 400),
        ("7%2f", 400),
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


# As Java's own client and `curl --http2` offer HTTP/2, and others.
OFFERS = {
    "http/2": ((b"connection", b"Upgrade, HTTP2-Settings"), (b"upgrade", b"h2c"), (b"http2-settings", b"AAMAAABk")),
    "websocket": ((b"connection", b"Upgrade"), (b"upgrade", b"websocket"), (b"sec-websocket-key", b"eA==")),
    "tls": ((b"upgrade", b"TLS/1.0"), (b"connection", b"keep-alive"), (b"connection", b"upgrade")),
    "unheard of": ((b"CONNECTION", b"x-hop,UPGRADE"), (b"UPGRADE", b"foo/2, bar")),
}


@pytest.mark.parametrize("chunks", [None, 7], ids=["length", "chunked"])
@pytest.mark.parametrize("blanks", [0, 300_000], ids=["small", "large"])
@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
def test_an_offer_to_speak_another_protocol_changes_nothing(
    wire: Wire, offer: tuple[tuple[bytes, bytes], ...], blanks: int, chunks: int | None
) -> None:
    sent = body(size="2")[:-1] + b" " * blanks + b"}"
    offering = Request(body=sent, headers=JSON + offer, chunks=chunks).raw()
    expected = restaurants(ask(wire, body(size="2")))
    with wire.connect() as connection:
        for parts in ([offering], [offering[:60], offering[60:-20], offering[-20:]]):  # over one connection
            for part in parts:
                connection.sendall(part)
                time.sleep(0.02)
            answer, closes = read(connection, "POST", time.perf_counter())
            judge(answer)
            assert restaurants(answer) == expected
            assert not closes
        connection.sendall(Request(body=body(size="2")).raw())
        assert restaurants(read(connection, "POST", time.perf_counter())[0]) == expected


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
def test_offers_in_a_row_are_answered_in_a_row(wire: Wire, offer: tuple[tuple[bytes, bytes], ...]) -> None:
    requests = [
        Request(b"/livez", method="GET", headers=offer),
        Request(body=body(size="1"), headers=JSON + offer),
        Request(b"/nothing", method="GET", headers=offer),
        Request(body=body(size="2"), headers=JSON + offer, chunks=3),
        Request(body=body(size="3"), headers=(*JSON, *offer, (b"connection", b"close"))),
    ]
    with wire.connect() as connection, connection.makefile("rb") as stream:
        connection.sendall(b"".join(request.raw() for request in requests))
        answers = stream.read().split(b"HTTP/1.1 ")[1:]  # until it is closed, as the last one asks
    assert [answer[:3] for answer in answers] == [b"200", b"200", b"404", b"200", b"200"]
    assert [answer.count(b'"id"') for answer in answers] == [0, 1, 0, 2, 3]


def test_what_follows_a_connect_is_no_request(wire: Wire) -> None:
    with wire.connect() as connection:
        connection.sendall(b"CONNECT /recommend HTTP/1.1\r\nHost: x\r\n\r\n")
        answer, closes = read(connection, "POST", time.perf_counter())
    judge(answer)
    assert (answer.status, closes) == (405, True)


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", b"/recommend/7", ((b"content-type", b"text/plain"),), 415),
        ("PUT", b"/recommend/7", JSON, 405),
        ("POST", b"/recommend/7/8", JSON, 404),
        ("POST", b"/metrics", JSON, 405),
        ("POST", b"/docs.json", JSON, 405),
        ("POST", b"/", JSON, 405),
        ("POST", b"/livez", JSON, 405),
        ("DELETE", b"/schema.json", JSON, 405),
        ("POST", b"/nothing", JSON, 404),
    ],
)
def test_who_would_send_a_body_and_is_refused_before_finds_the_connection_closed(
    wire: Wire, method: str, path: bytes, headers: tuple[tuple[bytes, bytes], ...], status: int
) -> None:
    waiting = Request(path, body(), (*headers, (b"expect", b"100-continue")), method).raw()
    with wire.connect() as connection:
        connection.sendall(waiting[: -len(body())])
        answer, closes = read(connection, method, time.perf_counter())
        judge(answer)
        assert (answer.status, closes) == (status, True)
        assert answer.headers["connection"] == "close"


def test_who_would_send_a_body_and_is_welcome_keeps_the_connection(wire: Wire) -> None:
    waiting = Request(body=body(), headers=(*JSON, (b"expect", b"100-continue"))).raw()
    with wire.connect() as connection:
        for _ in range(2):
            connection.sendall(waiting[: -len(body())])
            assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(body())
            answer, closes = read(connection, "POST", time.perf_counter())
            assert restaurants(answer)
            assert not closes


@pytest.mark.parametrize("coding", [b"gzip, chunked", b"deflate, chunked"])
def test_a_body_that_is_encoded_on_its_way_is_refused(wire: Wire, coding: bytes) -> None:
    chunked = Request(body=body(), chunks=1).raw().replace(b"chunked", coding)
    with wire.connect() as connection:
        connection.sendall(chunked)
        answer, _ = read(connection, "POST", time.perf_counter())
    judge(answer)
    assert answer.status == 415


@pytest.mark.parametrize(
    "path", [b"/", b"/docs.json", b"/schema.json", b"/static_content/index.css", b"/docs", b"/recommend/7/docs.json"]
)
def test_where_the_documents_are_closed_nothing_tells_of_the_contract(hasty: Wire, path: bytes) -> None:
    for method in ("GET", "HEAD", "POST"):
        answer = hasty.ask(Request(path, method=method))
        judge(answer, method)
        assert answer.status == 404
    for path_that_stays in (b"/livez", b"/readyz", b"/healthz", b"/metrics"):
        assert hasty.ask(Request(path_that_stays, method="GET")).status == 200
    assert restaurants(ask(hasty, body()))


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


def test_whatever_is_told_the_answer_is_in_the_contract(wire: Wire) -> None:
    @seed(7)
    @settings(max_examples=300, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(draw.TELLING)
    def tell_anything(request: Request) -> None:
        judge(wire.ask(request), request.method, EventsResponse)

    tell_anything()
