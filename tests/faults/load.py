"""Steady load on a service, in the background, that counts what becomes of every request."""

import asyncio
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple
from urllib.parse import urlsplit

#: What became of a request that got no answer: nobody listened, so it was never sent; the connection was cut off
#: before the answer was whole; nothing came for far too long.
REFUSED, CUT_OFF, HUNG = "refused", "cut off", "hung"

_PATIENCE_S = 10.0


class Request(NamedTuple):
    user: int
    body: dict[str, Any]

    def to_bytes(self, host: str) -> bytes:
        body = json.dumps(self.body).encode()
        head = f"POST /recommend/{self.user} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Outcome(NamedTuple):
    """One request: which, over which connection, when it was sent, how long it took, its status or its other end."""

    request: int
    connection: int
    sent: float
    took_s: float
    status: int | str
    headers: dict[str, str]
    body: bytes


class Load:
    """``clients`` that each send ``per_s`` requests a second over a connection that they keep, as an app does."""

    def __init__(self, url: str, requests: Sequence[Request], clients: int, per_s: float) -> None:
        where = urlsplit(url)
        assert where.hostname is not None and where.port is not None
        self._host, self._port = where.hostname, where.port
        self._requests = [request.to_bytes(where.netloc) for request in requests]
        self._clients = clients
        self._interval_s = 1 / per_s
        self._ended = False
        self._connections = 0
        self.outcomes: list[Outcome] = []

    def run(self) -> None:
        """Until `end`."""
        asyncio.run(self._run())

    def end(self) -> None:
        """No more requests."""
        self._ended = True

    def since(self, moment: float) -> list[Outcome]:
        """What was sent from a moment of `time.monotonic` on."""
        return [outcome for outcome in list(self.outcomes) if outcome.sent >= moment]

    def statuses(self) -> Counter[int | str]:
        """How many requests ended how."""
        return Counter(outcome.status for outcome in list(self.outcomes))

    def slowest_s(self) -> float:
        """The longest that anybody waited for an answer."""
        return max((outcome.took_s for outcome in list(self.outcomes) if isinstance(outcome.status, int)), default=0.0)

    async def _run(self) -> None:
        await asyncio.gather(*(self._client(number) for number in range(self._clients)))

    async def _client(self, number: int) -> None:
        await asyncio.sleep(self._interval_s * number / self._clients)
        due = time.monotonic()
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        connection, at = -1, number
        while not self._ended:
            due = max(due + self._interval_s, time.monotonic() - self._interval_s)
            at = (at + self._clients) % len(self._requests)
            sent = time.monotonic()
            status: int | str = REFUSED
            headers: dict[str, str] = {}
            body = b""
            try:
                if streams is None:
                    streams = await asyncio.open_connection(self._host, self._port)
                    self._connections += 1
                    connection = self._connections
                status = CUT_OFF
                async with asyncio.timeout(_PATIENCE_S):
                    streams[1].write(self._requests[at])
                    status, headers, body = await _answer(streams[0])
            except TimeoutError:
                status = HUNG
            except (OSError, EOFError, ValueError):
                pass  # the status says which
            self.outcomes.append(Outcome(at, connection, sent, time.monotonic() - sent, status, headers, body))
            if streams is not None and (isinstance(status, str) or headers.get("connection") == "close"):
                streams[1].close()
                streams = None
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        if streams is not None:
            streams[1].close()
            with suppress(OSError):
                await streams[1].wait_closed()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    return int(head[0].split()[1]), headers, await reader.readexactly(int(headers["content-length"]))


@contextmanager
def load(url: str, requests: Sequence[Request], *, clients: int = 8, per_s: float = 5.0) -> Iterator[Load]:
    """Load for as long as the block runs; every request that was sent has ended when it is left."""
    generated = Load(url, requests, clients, per_s)
    thread = threading.Thread(target=generated.run)
    thread.start()
    try:
        yield generated
    finally:
        generated.end()
        thread.join(2 * _PATIENCE_S)


@contextmanager
def visitors(url: str, request: Request, *, per_s: float) -> Iterator[Counter[int | str]]:
    """So many new connections a second, each with one request, whatever becomes of it: what became of how many."""
    where = urlsplit(url)
    sent = request.to_bytes(where.netloc)
    seen: Counter[int | str] = Counter()
    ended = False

    async def visit() -> None:
        status: int | str = REFUSED
        try:
            reader, writer = await asyncio.open_connection(where.hostname, where.port)
            status = CUT_OFF
            async with asyncio.timeout(_PATIENCE_S):
                writer.write(sent)
                status, _, _ = await _answer(reader)
            writer.close()
        except TimeoutError:
            status = HUNG
        except ConnectionRefusedError:
            pass
        except (OSError, EOFError, ValueError, KeyError):
            status = CUT_OFF
        seen[status] += 1

    async def come() -> None:
        began = time.monotonic()
        async with asyncio.TaskGroup() as visits:
            for number in itertools.count():
                if ended:
                    return
                visits.create_task(visit())
                await asyncio.sleep(max(0.0, began + (number + 1) / per_s - time.monotonic()))

    thread = threading.Thread(target=lambda: asyncio.run(come()))
    thread.start()
    try:
        yield seen
    finally:
        ended = True
        thread.join(2 * _PATIENCE_S)
