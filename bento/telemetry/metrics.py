"""What the service counts, on the framework's `/metrics`. No label takes a value from a client."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import psutil
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from bento.telemetry import files

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_STAGE_SECONDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
_RESTAURANTS: Final = (0, 1, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)
_PENDING: Final = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)
_REFRESH_SECONDS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_AGES_S: Final = (
    60,
    300,
    900,
    3_600,
    3 * 3_600,
    6 * 3_600,
    12 * 3_600,
    *(day * 86_400 for day in (1, 2, 3, 7, 14, 30)),
)
_SHARES: Final = (0.0, 0.001, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)

_RECOMMEND_S: Final = Histogram(
    "hexbite_recommend_seconds",
    "Time from the head of a request for /recommend to the last byte of its answer, by status and model.",
    labelnames=["status", "model"],
    buckets=_SECONDS,
)
_EVENTS_S: Final = Histogram(
    "hexbite_events_seconds",
    "Time from the head of a request for /events to the last byte of its answer, by status and model.",
    labelnames=["status", "model"],
    buckets=_SECONDS,
)
_STAGE_S: Final = Histogram(
    "hexbite_stage_seconds", "Time of each stage of an answer.", labelnames=["stage"], buckets=_STAGE_SECONDS
)
_REFUSALS: Final = Counter("hexbite_refusals", "Requests that were refused, by code.", labelnames=["reason"])
_EVENT_REFUSALS: Final = Counter(
    "hexbite_event_refusals", "Requests to tell events that were refused as a whole, by code.", labelnames=["reason"]
)
_EVENTS: Final = Counter("hexbite_events", "Events that were told, by what became of them.", labelnames=["outcome"])
_FEATURE_AGE_S: Final = Histogram(
    "hexbite_feature_age_seconds",
    "Age of what an answer rests on: the user's row, the oldest restaurant's row in the answer.",
    labelnames=["entity"],
    buckets=_AGES_S,
)
_STALE_ROWS: Final = Counter(
    "hexbite_stale_rows", "Rows that counted as missing because they were too old.", labelnames=["entity"]
)
_ROWS_LEFT_OUT: Final = Counter(
    "hexbite_rows_left_out",
    "Restaurants that were left out of an answer because their row lacks what it needs, by the column that says it.",
    labelnames=["lacks"],
)
_CONNECTIONS: Final = Gauge(
    "hexbite_connections",
    "Connections to Postgres of all workers: open, lent to a request, most that there may be.",
    labelnames=["state"],
    multiprocess_mode="livesum",
)
_MODEL_INFO: Final = Gauge(
    "hexbite_model_info",
    "1 for each worker that serves a model in a role.",
    labelnames=["model", "fingerprint", "role"],
    multiprocess_mode="livesum",
)
_SHADOW: Final = Counter(
    "hexbite_shadow", "Answers that a shadow model was to score, by outcome.", labelnames=["outcome"]
)

candidates_asked: Final = Histogram(
    "hexbite_candidates_asked", "Candidates that a request named.", buckets=_RESTAURANTS
)
candidates_in_range: Final = Histogram(
    "hexbite_candidates_in_range",
    "Restaurants in range of a request, of its candidates where it named some.",
    buckets=_RESTAURANTS,
)
cold_starts: Final = Counter("hexbite_cold_starts", "Answers for a user without a row that counts.")
truncated: Final = Counter("hexbite_truncated", "Answers that left restaurants in range unscored.")
in_flight: Final = Gauge("hexbite_in_flight", "Requests at work, of all workers.", multiprocess_mode="livesum")
in_flight_limit: Final = Gauge(
    "hexbite_in_flight_limit", "Requests that may be at work at once, of all workers.", multiprocess_mode="livesum"
)
ready: Final = Gauge("hexbite_ready", "Whether the worst worker is ready: 1 or 0.", multiprocess_mode="livemin")
shadow_score_difference: Final = Histogram(
    "hexbite_shadow_score_difference",
    "How far the shadow model's click probability lies from the answer's, for each restaurant in it.",
    buckets=_SHARES,
)
shadow_overlap: Final = Histogram(
    "hexbite_shadow_overlap",
    "Share of an answer's first ten that the shadow model would have put among its first ten of them.",
    buckets=_SHARES,
)
refresh_seconds: Final = Histogram(
    "hexbite_refresh_seconds", "Time of a refresh of what is known of places.", buckets=_REFRESH_SECONDS
)
refreshed_events: Final = Counter("hexbite_refreshed_events", "Events that a refresh moved into what is known.")
refresh_failures: Final = Counter("hexbite_refresh_failures", "Refreshes that failed, and may not be made at all.")
refresh_lag_seconds: Final = Gauge(
    "hexbite_refresh_lag_seconds",
    "Time since what is known of places was last refreshed, of the model that is furthest behind.",
    multiprocess_mode="livemax",
)
pending_events: Final = Histogram(
    "hexbite_pending_events",
    "Events of the person who asks that no refresh has moved yet, by answer of a model with counters.",
    buckets=_PENDING,
)
deploy_failures: Final = Counter("hexbite_deploy_failures", "Models that were deployed and could not be served.")

# The library looks a label up under a lock at every call.
stage_seconds: Final = cache(_STAGE_S.labels)
feature_age_seconds: Final = cache(_FEATURE_AGE_S.labels)
stale_rows: Final = cache(_STALE_ROWS.labels)
rows_left_out: Final = cache(_ROWS_LEFT_OUT.labels)
connections: Final = cache(_CONNECTIONS.labels)
events: Final = cache(_EVENTS.labels)
shadow: Final = cache(_SHADOW.labels)


class RouteMetrics(NamedTuple):
    """What is told of a route: ``seconds`` by status and model, ``refusals`` by code."""

    seconds: Callable[[str, str], Histogram]
    refusals: Callable[[str], Counter]


RECOMMEND: Final = RouteMetrics(cache(_RECOMMEND_S.labels), cache(_REFUSALS.labels))
EVENTS: Final = RouteMetrics(cache(_EVENTS_S.labels), cache(_EVENT_REFUSALS.labels))

# A series that is not there before its first event makes that event invisible to `rate`.
for _entity in ("user", "restaurant"):
    stale_rows(_entity)
for _column in ("time_zone", "restaurant_key"):
    rows_left_out(_column)
for _outcome in ("scored", "dropped", "failed"):
    shadow(_outcome)
for _outcome in ("taken", "known", "too_late", "in_the_future", "before_retention"):
    events(_outcome)


def serves(model: str, fingerprint: str, role: str, *, whether: bool) -> None:
    """This worker serves a model in a role from now on, or does not any more."""
    _MODEL_INFO.labels(model, fingerprint, role).set(1 if whether else 0)


def forget_the_dead() -> None:
    """Take killed workers out of the gauges: nobody else does, and what they were doing would count for ever."""
    for pid in _pids():
        if not psutil.pid_exists(pid):
            mark_process_dead(pid)  # type: ignore[no-untyped-call]  # the library has no types here


def _pids() -> Iterator[int]:
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    found = Path(folder).glob("gauge_live*_*.db") if folder else ()
    yield from {int(file.stem.rpartition("_")[2]) for file in found}


def text() -> bytes:
    """All metrics of all workers, in Prometheus's text form."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder is None:  # in process, where the framework started no workers
        return generate_latest(REGISTRY)
    files.restore(Path(folder), (worker.pid for worker in psutil.Process(os.getppid()).children()))
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # nor here
    return generate_latest(registry)
