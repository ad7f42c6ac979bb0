"""What a worker's server makes of an offer to speak another protocol, which clients attach to requests like any other.

Java's own client and ``curl --http2`` offer HTTP/2 so (``Upgrade: h2c``). Whoever does not take an offer answers the
request as if it were not there (RFC 9110, 7.8). uvicorn does not: its parser is then past the body, or in the midst of
it, which it takes for the next request.
"""

from __future__ import annotations

from array import array
from typing import Any, Final

from httptools import HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol  # see `bento.process.private`

# What makes the offer; a token of the Connection header does too.
_OFFER: Final = (b"upgrade", b"http2-settings")


class Protocol(HttpToolsProtocol):
    """uvicorn's HTTP, for which there are no offers."""

    parser: _Parser

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.parser = _Parser(self)

    def on_headers_complete(self) -> None:
        """The head was read; that of an offer is about to be read again."""
        if not self.parser.is_offer():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body was read."""
        if not self.parser.is_offer():
            super().on_message_complete()


class _Parser(HttpRequestParser):
    """Stops at the end of the head of a request with an offer, and begins that request anew, without the offer."""

    def __init__(self, protocol: HttpToolsProtocol) -> None:
        self._protocol = protocol
        self._begin()

    def _begin(self) -> None:
        super().__init__(self._protocol)
        self.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's

    def is_offer(self) -> bool:
        """Whether what is read now is the head of a request with an offer."""
        return self.should_upgrade() and self.get_method() != b"CONNECT"

    def feed_data(self, data: bytes | bytearray | memoryview | array[int]) -> None:
        """Read on."""
        rest = memoryview(data)
        while True:
            try:
                super().feed_data(rest)
            except HttpParserUpgrade as offer:
                if not self.is_offer():
                    raise
                rest, head = rest[offer.args[0] :], self._head()
                self._begin()  # whatever the request says of the connection's end
                super().feed_data(head)
            else:
                return

    def _head(self) -> bytes:
        """The head that was just read, without the offer."""
        protocol = self._protocol
        lines = [b"%s %s HTTP/%s" % (self.get_method(), protocol.url, self.get_http_version().encode())]
        for name, value in protocol.headers:
            if name == b"connection":
                tokens = [token for token in value.split(b",") if token.strip().lower() not in _OFFER]
                lines.append(b"connection: " + b",".join(tokens))
            elif name not in _OFFER:
                lines.append(name + b": " + value)
        return b"\r\n".join([*lines, b"", b""])
