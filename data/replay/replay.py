"""Ask, then tell: a data folder's visits once more, in the order in which they happened."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from data.replay.baselines import OUT_OF_REACH, Baselines
from data.replay.figures import Replayed
from data.replay.journal import Asks, Journal, read_journal
from data.replay.service import SIZE, Service
from hexbite.console import progress
from hexbite.errors import DataError, ReplayError
from hexbite.folder import EVENTS

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Step(NamedTuple):
    """The events from one to before another happened before a visit is asked about, by its number; None at the end."""

    first: int
    last: int
    ask: int | None


def replay(folder: Path, service: Service, *, frozen: bool, limit: int | None) -> Replayed:
    """Ask for each visit what the service would rank, at its moment; then tell it, unless the past is ``frozen``.

    What happened before the split is taken to be in the store: `python -m db events DIR/events --before SPLIT`.
    Raises ReplayError where the service cannot be asked or told, or knows what it is told; and as `read_journal`.
    """
    journal = read_journal(folder, limit)
    asks, happened = journal.asks, journal.happened
    if not frozen and not len(happened.time_us):
        raise DataError("the schema has no counters, and so there is nothing to tell; ask alone: --frozen", path=folder)
    service.check()
    baselines = Baselines(journal.places)
    names = [str(name) for name in journal.places.names]
    ranks: list[npt.NDArray[np.int64]] = []
    new, in_reach, whose = [], [], []
    unseen = truncated = told = 0
    refresh_s: float | None = None
    with progress("replaying visits", len(asks.at_us), "visits") as advance:
        baselines.learn(happened, 0, journal.before_split, is_told=True)
        for step in steps(journal):
            baselines.learn(happened, step.first, step.last, is_told=not frozen)
            if not frozen:
                told += _tell(service, journal, step, folder)
            if step.ask is None:
                break
            # The first one says how places lag.
            is_first = not ranks
            answer = service.ask(to_body(asks, step.ask) | {"explain": is_first})
            advance(note=f"unanswered {service.failed.total():,}" if service.failed else "")
            if answer is None:
                continue
            if is_first:
                memory = answer.document["meta"].get("memory")
                refresh_s = None if memory is None else memory["refresh_s"]
            found = baselines.rank(asks, step.ask)
            rank = _rank(answer.ids, names[asks.visited[step.ask]])
            unseen += int(rank == OUT_OF_REACH and found.ranks[0] < OUT_OF_REACH)
            truncated += answer.is_truncated
            ranks.append(np.append(rank, found.ranks))
            new.append(found.is_new)
            in_reach.append(found.in_reach)
            whose.append(int(asks.user_ids[step.ask]))
    if not ranks:
        raise ReplayError(f"no visit was answered: {dict(service.failed)}")
    return Replayed(
        np.array(whose, dtype=np.int64),
        np.array(ranks, dtype=np.int64).T,
        np.array(new),
        np.array(in_reach),
        unseen,
        truncated,
        service.failed,
        journal.left_out,
        told,
        refresh_s,
        1e3 * np.array(service.asked_s),
        1e3 * np.array(service.told_s),
    )


def steps(journal: Journal) -> Iterator[Step]:
    """From the split on, the order of things: what happened strictly before a moment is known at it, nothing else is.

    At last comes what happened up to the last visit, and with it that visit.
    """
    time_us, at_us = journal.happened.time_us, journal.asks.at_us
    lasts = np.searchsorted(time_us, at_us)
    first = journal.before_split
    for ask, last in enumerate(lasts.tolist()):
        yield Step(first, last, ask)
        first = last
    yield Step(first, int(np.searchsorted(time_us, at_us[-1], side="right")), None)


def to_body(asks: Asks, number: int) -> dict[str, Any]:
    """The request of one visit: everything in reach, as many as can be had."""
    return {
        "user_id": asks.users[number],
        "latitude": float(asks.lats_deg[number]),
        "longitude": float(asks.lngs_deg[number]),
        "max_dist": float(asks.max_dist_m[number]),
        "size": SIZE,
        "at": us_to_text(int(asks.at_us[number])),
    }


def us_to_text(time_us: int) -> str:
    """A moment, microseconds since 1970, as RFC 3339 has it."""
    return (_EPOCH + timedelta(microseconds=time_us)).isoformat()


def _tell(service: Service, journal: Journal, step: Step, folder: Path) -> int:
    if step.first == step.last:
        return 0
    outcomes = service.tell(journal.happened.to_bodies(step.first, step.last))
    if outcomes["known"]:
        right = f"python -m db events {folder / EVENTS} --before {us_to_text(journal.split_us)}"
        raise ReplayError(
            f"the store knew {outcomes['known']:,} of the events that it was told, and so may know what it is asked; "
            f"replay into one that knows what came before alone: {right}"
        )
    return outcomes["taken"]


def _rank(ids: list[str], visited: str) -> int:
    """From 1; past every other where an answer does not have it."""
    try:
        return ids.index(visited) + 1
    except ValueError:
        return OUT_OF_REACH
