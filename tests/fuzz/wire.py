"""Requests as bytes on a connection, which no client library would send, and what every answer to them must be."""

from __future__ import annotations

import base64
import json
import re
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import NamedTuple
from urllib.parse import urlsplit

from pydantic import BaseModel

from bento.contract.errors import TABLE
from bento.contract.models import ErrorResponse, RecommendResponse

TIMEOUT_S = 5.0
JSON = ((b"content-type", b"application/json"),)

# What a message to a client must not tell: our insides, our paths, our hosts.
_INTERNAL = re.compile(
    r"traceback|pydantic|asyncpg|psycopg|torch|bentoml|uvicorn|starlette|site-packages|\.py\b|0x[0-9a-f]{8}"
    r"|\bselect\b.*\bfrom\b|postgres|/home/|/usr/|/tmp/|localhost|127\.0\.0\.1|" + re.escape(socket.gethostname()),
    re.IGNORECASE,
)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_LONGEST_ERROR = 4_000


@dataclass(frozen=True)
class Request:
    """One request; with ``chunks`` its body goes in about so many, without a length."""

    target: bytes = b"/recommend/7"
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = JSON
    method: str = "POST"
    chunks: int | None = None

    def raw(self) -> bytes:
        lines = [b"%s %s HTTP/1.1" % (self.method.encode(), self.target), b"host: fuzz"]
        lines += [b"%s: %s" % header for header in self.headers]
        if self.chunks is None:
            return b"\r\n".join([*lines, b"content-length: %d" % len(self.body), b"", self.body])
        size = max(1, len(self.body) // self.chunks)
        parts = [self.body[i : i + size] for i in range(0, len(self.body), size)]
        chunks = [b"%x\r\n%s\r\n" % (len(part), part) for part in [*parts, b""]]
        return b"\r\n".join([*lines, b"transfer-encoding: chunked", b"", b"".join(chunks)])

    def command(self, host: str, port: int) -> str:
        """A shell command that sends the very same bytes."""
        return f"printf %s {base64.b64encode(self.raw()).decode()} | base64 -d | nc -q 5 {host} {port}"


class Answer(NamedTuple):
    """What came back; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float

    @property
    def error(self) -> dict[str, str | None]:
        return json.loads(self.body)["error"]


class Wire:
    """A connection that is kept, and opened anew where the service has closed it."""

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self.host, self.port = parts.hostname, parts.port
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None

    def ask(self, request: Request) -> Answer:
        """Send and read. Raises TimeoutError, ConnectionError and HTTPException where no whole answer comes."""
        if self._socket is not None:
            try:
                return self._exchange(self._socket, request)
            except (ConnectionError, HTTPException):
                self.close()  # an idle connection may be closed at any time: only a new one tells
        self._socket = self.connect()
        return self._exchange(self._socket, request)

    def connect(self) -> socket.socket:
        connection = socket.create_connection((self.host, self.port), self._timeout_s)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _exchange(self, connection: socket.socket, request: Request) -> Answer:
        started = time.perf_counter()
        # Refused before it was sent whole, the answer may be there all the same.
        with suppress(ConnectionError):
            connection.sendall(request.raw())
        answer, closes = read(connection, request.method, started)
        if closes:
            self.close()
        return answer


def read(connection: socket.socket, method: str, started: float) -> tuple[Answer, bool]:
    """The answer on a connection, and whether the connection ends with it."""
    response = HTTPResponse(connection, method=method)
    try:
        response.begin()
        body = response.read()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, body, time.perf_counter() - started), response.will_close
    finally:
        response.close()


def judge(answer: Answer, method: str = "POST", good: type[BaseModel] = RecommendResponse) -> None:
    """Raise AssertionError where an answer is not what the contract allows to any request at all."""
    shown = f"{answer.status} {answer.body[:300]!r}"
    assert _REQUEST_ID.fullmatch(answer.headers.get("x-request-id", "")), f"no X-Request-Id: {shown}"
    assert "x-hexbite-model" in answer.headers, f"no X-Hexbite-Model: {shown}"
    assert answer.status < 500, f"a fault of the service: {shown}"
    if method == "HEAD":
        assert answer.body == b"", f"HEAD with a body: {shown}"
        return
    assert answer.headers.get("content-type") == "application/json", f"{answer.headers}: {shown}"
    if answer.status == 200:
        good.model_validate_json(answer.body, strict=True)
        return
    assert answer.status in TABLE, f"not in the table: {shown}"
    error = ErrorResponse.model_validate_json(answer.body, strict=True).error
    assert list(json.loads(answer.body)) == ["error"], shown
    assert list(answer.error) == ["code", "message", "field"], shown
    assert error.code == TABLE[answer.status].code, shown
    assert error.message, shown
    assert not _INTERNAL.search(error.message), f"tells of our insides: {shown}"
    assert len(answer.body) <= _LONGEST_ERROR, f"an error of {len(answer.body)} bytes: {shown}"
    assert answer.status != 405 or answer.headers.get("allow"), f"405 without Allow: {shown}"
