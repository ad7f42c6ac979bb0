"""What the service puts in place for the edge, and how an answer leaves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from starlette.types import Message, Send

from bento.contract.events import EventsRequest
from bento.contract.models import RecommendRequest
from bento.telemetry.laps import Lap
from bento.telemetry.traces import Traces
from hexbite.ids import IdKinds

_CLOSE: Final = (b"connection", b"close")

# What ids are until a model is loaded.
_INTEGERS: Final = IdKinds()


class Answered(NamedTuple):
    """An answer as it leaves: JSON, headers of its own, the model that spoke, and how long each stage took."""

    body: bytes
    headers: list[tuple[bytes, bytes]]
    model: str
    laps: list[Lap]


@dataclass
class Lane:
    """What the service puts in place when it starts, and the edge looks at for each request.

    ``recommend`` answers a request of the user in its path, where it has one, ``tell`` one that tells events; ``model``
    speaks where none was asked for and has such ``ids``, ``draining`` says that this worker is about to end. ``traces``
    is what the edge writes to, for the service to close.
    """

    recommend: Callable[[RecommendRequest, str | None], Awaitable[Answered]] | None = None
    tell: Callable[[EventsRequest], Awaitable[Answered]] | None = None
    model: str = ""
    ids: IdKinds = _INTEGERS
    draining: bool = False
    traces: Traces | None = None


class Reply:
    """Sends one answer, with the headers that every answer carries."""

    def __init__(self, send: Send, lane: Lane, request_id: bytes, *, closes: bool) -> None:
        self._send = send
        self._lane = lane
        self._request_id = request_id
        self.model = lane.model
        self.closes = closes
        self.has_begun = False

    async def __call__(self, message: Message) -> None:
        """Send a part of it."""
        if message["type"] == "http.response.start":
            self.has_begun = True
            head = [*message["headers"], (b"x-request-id", self._request_id), (b"x-hexbite-model", self.model.encode())]
            # Who keeps a connection to a worker that is about to end learns it with an answer, and not by losing a
            # request.
            if (self.closes or self._lane.draining) and _CLOSE not in head:
                head.append(_CLOSE)
            message = dict(message, headers=head)
        await self._send(message)
