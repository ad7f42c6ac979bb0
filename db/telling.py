"""Events into the store, for a request: one transaction, and an id counts once whoever tells it how often."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from db.access.connections import Connections
from db.statements import SQL
from hexbite.errors import StoreError

# As tell_events() raises it, with the bound as DETAIL.
_GONE: Final = "HX001"


class ToldEvents(NamedTuple):
    """M events, a list ``(M,)`` for each column of `events`: None where an event does not say."""

    event_ids: Sequence[UUID]
    user_ids: Sequence[int]
    restaurant_ids: Sequence[int]
    kinds: Sequence[str]
    times: Sequence[datetime]
    latitudes: Sequence[float | None]
    longitudes: Sequence[float | None]
    request_ids: Sequence[str | None]
    positions: Sequence[int | None]
    values: Sequence[float | None]


class EventsGone(StoreError):
    """Some of the events are from before ``bound``: what happened then is not kept any more."""

    def __init__(self, bound: datetime) -> None:
        super().__init__(f"events before {bound:%Y-%m-%d %H:%M:%S %Z} are not kept any more")
        self.bound = bound


class EventStore:
    """Tells the store events over ``connections``, which step down to who may tell and do nothing else."""

    def __init__(self, connections: Connections) -> None:
        self.connections = connections

    async def tell(self, events: ToldEvents) -> frozenset[UUID]:
        """Take them all or none; the ids of those that were not known yet.

        Raises EventsGone where one is from before the store's retention, StoreMisconfigured where this user may not
        tell, StoreUnavailable or StoreTimeout where the store is away.
        """
        try:
            async with self.connections.lend() as connection:
                rows = await connection.fetch(SQL["tell"], *events)
        except StoreError as error:
            refused: Any = error.__cause__
            if getattr(refused, "sqlstate", None) != _GONE:
                raise
            raise EventsGone(datetime.fromisoformat(refused.detail)) from error
        return frozenset(row[0] for row in rows)
