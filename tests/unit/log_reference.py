"""The rules of an imported log once more, one event at a time in plain Python: what the fast way is held against."""

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

from data.log.rules import Outcome


class Event(NamedTuple):
    """``says`` is ``shown``, ``chosen`` or ``both``; times are seconds."""

    user: str
    restaurant: str
    time: int
    says: str
    list: str | None


@dataclass
class Reference:
    """``lists`` by person and name: the time, and of each restaurant whether it was clicked; ``counts`` by outcome."""

    lists: dict[tuple[str, object], tuple[int, dict[str, bool]]]
    counts: Counter[Outcome]


def rule(events: list[Event], *, join_s: int, split_s: int, keep_unchosen: bool = False) -> Reference:
    """What becomes of events whose users and restaurants all have a row."""
    counts: Counter[Outcome] = Counter()
    single = list(dict.fromkeys(events))
    counts[Outcome.REPEATED] = len(events) - len(single)
    shown = [event for event in single if event.says != "chosen"]

    def name(event: Event) -> object:
        return event.list if event.list is not None else ("moment", event.time)

    grouped: dict[tuple[str, object], list[Event]] = {}
    for event in shown:
        grouped.setdefault((event.user, name(event)), []).append(event)
    choices: dict[tuple[str, object], list[Event]] = {}
    for event in single:
        if event.says != "chosen":
            continue
        place: object = event.list
        if place is None:
            before = [
                other
                for other in shown
                if (other.user, other.restaurant) == (event.user, event.restaurant)
                and 0 <= event.time - other.time <= join_s
            ]
            if not before:
                counts[Outcome.NOT_SHOWN] += 1
                continue
            latest = max(other.time for other in before)
            found = {name(other) for other in before if other.time == latest}
            assert len(found) == 1, "the rule leaves this open"
            (place,) = found
        choices.setdefault((event.user, place), []).append(event)

    lists = {}
    for key in grouped | choices:
        rows, chosen = grouped.get(key, []), choices.get(key, [])
        first: dict[str, int] = {}
        clicked = {event.restaurant for event in rows if event.says == "both"}
        for event in rows:
            first[event.restaurant] = min(event.time, first.get(event.restaurant, event.time))
        counts[Outcome.SHOWN_TWICE] += len(rows) - len(first)
        seen = set()
        for event in sorted(chosen, key=lambda event: event.time):
            if event.restaurant not in first:
                counts[Outcome.NOT_SHOWN] += 1
            elif event.restaurant in seen:
                counts[Outcome.CHOSEN_AGAIN] += 1
            elif event.time < first[event.restaurant]:
                counts[Outcome.CHOICE_BEFORE_SHOWN] += 1
            elif len(first) == 1:
                counts[Outcome.CHOSEN_IN_SINGLE] += 1
            else:
                counts[Outcome.CHOICE] += 1
            seen.add(event.restaurant)
        clicked |= seen & set(first)
        if not first:
            continue
        time = min(first.values())
        if len(first) == 1:
            counts[Outcome.SINGLE] += 1
        elif not clicked and not keep_unchosen:
            counts[Outcome.UNCHOSEN] += len(first)
        else:
            counts[Outcome.TEST if time >= split_s else Outcome.TRAIN] += len(first)
            lists[key] = (time, {restaurant: restaurant in clicked for restaurant in first})
    return Reference(lists, +counts)
