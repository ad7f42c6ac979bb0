"""One request to tell events, from its validated body to its answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from bento.contract.events import Event
from bento.contract.ids import told_restaurants_to_ids, told_users_to_ids
from bento.telling.bounds import Bounds, Refusal
from db.telling import EventsGone, EventStore, ToldEvents
from hexbite.ids import IdKinds, event_id_to_uuid


class Telling(NamedTuple):
    """The response, in the form of `bento.contract.events.EventsResponse`, and how many events came to what: of those
    that were refused, by the reason.
    """

    response: dict[str, Any]
    outcomes: Counter[str]


class Teller:
    """Takes events into a store, within bounds."""

    def __init__(self, store: EventStore, bounds: Bounds) -> None:
        self._store = store
        self._bounds = bounds

    async def tell(self, events: Sequence[Event], kinds: IdKinds) -> Telling:
        """Take what can be taken, in one transaction, and say of each event what became of it.

        Raises InvalidRequestError where an id is not of its kind, and what `EventStore.tell` raises.
        """
        user_ids = told_users_to_ids([event.user_id for event in events], kinds.user)
        restaurant_ids = told_restaurants_to_ids([event.restaurant_id for event in events], kinds.restaurant)
        ids = [event_id_to_uuid(str(event.event_id)) for event in events]
        now = datetime.now(UTC)
        while True:
            refusals = [self._bounds.refusal(event.event_ts, now) for event in events]
            taken = [place for place, refusal in enumerate(refusals) if refusal is None]
            try:
                new = set(
                    await self._store.tell(_columns(events, ids, user_ids, restaurant_ids, taken)) if taken else ()
                )
            except EventsGone as gone:
                # Nothing was taken: the others are, once it is known which cannot be.
                self._bounds.kept_since = gone.bound
            else:
                break
        told = [self._told(event, id_, refusal, new) for event, id_, refusal in zip(events, ids, refusals, strict=True)]
        outcomes = Counter(one.get("reason", one["outcome"]) for one in told)
        counts = Counter(one["outcome"] for one in told)
        return Telling({"events": told} | {name: counts[name] for name in ("taken", "known", "refused")}, outcomes)

    def _told(self, event: Event, id_: UUID, refusal: Refusal | None, new: set[UUID]) -> dict[str, Any]:
        if refusal is not None:
            return {"event_id": event.event_id, "outcome": "refused", **refusal._asdict()}
        # Of an id that is told twice at once the first is taken.
        outcome = "taken" if id_ in new else "known"
        new.discard(id_)
        return {"event_id": event.event_id, "outcome": outcome}


def _columns(
    events: Sequence[Event], ids: list[UUID], user_ids: list[int], restaurant_ids: list[int], taken: list[int]
) -> ToldEvents:
    chosen = [events[place] for place in taken]
    return ToldEvents(
        [ids[place] for place in taken],
        [user_ids[place] for place in taken],
        [restaurant_ids[place] for place in taken],
        [event.event for event in chosen],
        [event.event_ts for event in chosen],
        [event.latitude for event in chosen],
        [event.longitude for event in chosen],
        [event.request_id for event in chosen],
        [event.position for event in chosen],
        [event.value for event in chosen],
    )
