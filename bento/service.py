"""The service: what opens at start-up, when it is ready, which model answers whom, and the endpoint."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import bentoml
from bentoml.exceptions import BentoMLConfigException, NotFound
from bentoml.models import BentoModel
from pydantic_core import to_json
from starlette.responses import Response

from bento.contract.events import EventsRequest, unknown_event_fields
from bento.contract.ids import user_to_id
from bento.contract.models import ROUTE, RecommendRequest, RecommendResponse, unknown_fields
from bento.edge.admission import Admission
from bento.edge.app import EdgeInstaller
from bento.edge.lane import Answered, Lane
from bento.process import run, supervisor, worker
from bento.ranking.deployment import Tags, built_with, chosen, deployed, full_tag, settle, settled
from bento.settings import Settings
from bento.telemetry import logs, metrics
from bento.telling.bounds import Bounds
from bento.telling.refreshing import Refreshing
from bento.telling.tell import Teller
from db.access.connections import Connections
from db.access.driver import as_loader
from db.access.session import TELLS
from db.memory.refresh import Refreshed, refresh
from db.settings import StoreSettings, require_address, store_dsn
from db.telling import EventStore
from hexbite.errors import HexbiteError, InvalidRequestError, ModelStoreError, SettingsError, StoreUnavailable

if TYPE_CHECKING:
    from bento.ranking.answering import Answering
    from bento.ranking.recommend import Answer

# A child of the framework's logger: the same handlers, the same form.
_log = logging.getLogger("bentoml.hexbite")
try:
    _settings: Final = Settings.from_environment()
except SettingsError as error:
    raise BentoMLConfigException(str(error)) from None  # which the framework's commands print as one line

# While a store stands still, so many requests at a time find out whether it still does.
_LEAST_IN_FLIGHT: Final = 4

_WATCH_S: Final = 1.0

_FLUSH_S: Final = 2.0

# Looks between two checks of a store that nobody else asks about, and until a model that failed is tried again.
_LOOKS_BETWEEN_CHECKS: Final = 5
_LOOKS_UNTIL_RETRY: Final = 15

_lane: Final = Lane()
_admission: Final = Admission(least=_LEAST_IN_FLIGHT, most=_settings.max_in_flight, crowded_s=_settings.crowded_s)

# None where this process is no worker: it is their supervisor, builds a bento, or calls the service itself.
_run: Final = run.folder()
_tags: Final = chosen(_settings) if _run is None else settled(_run)
if _run is not None:
    worker.pass_over_offers()

# A model that is named, or frozen into a bento, stays for as long as the service runs.
_follows_deployments: Final = _settings.model is None and built_with() is None

logs.configure(_settings.log_format)


def _at_hand(tag: str) -> str:
    """The tag of a model. Raises NotFound, one line in the framework's commands, where the model store lacks it."""
    if built_with() is None:
        try:
            full_tag(tag)
        except ModelStoreError as error:
            raise NotFound(str(error)) from None
    return tag


# The framework's own request metrics know neither `/recommend` nor what a path is made of.
@bentoml.service(name="hexbite", traffic={"timeout": _settings.request_timeout_s}, metrics={"enabled": False})
class Hexbite:
    """Ranks the restaurants near a person by features that it reads from Postgres for every request."""

    model = BentoModel(_at_hand(_tags.primary))
    # Named here so that a build puts them into the image too.
    if _tags.split is not None:
        split_model = BentoModel(_at_hand(_tags.split))
    if _tags.shadow is not None:
        shadow_model = BentoModel(_at_hand(_tags.shadow))

    def __init__(self) -> None:
        metrics.forget_the_dead()
        self._connections: Connections | None = None
        self._probe: Connections | None = None
        self._told: Connections | None = None
        self._store: tuple[str, str] | None = None
        self._teller: Teller | None = None
        self._answering: Answering | None = None
        self._refreshing = Refreshing(self._refresh)
        self._unready_reason = "not checked yet"
        self._fault: HexbiteError = StoreUnavailable(self._unready_reason)
        self._tasks: list[asyncio.Task[None]] = []
        _lane.model = str(self.model.tag)

    @bentoml.on_deployment
    @staticmethod
    def supervise() -> None:
        """In the supervisor of the workers, before it starts them: what they share, and how they are looked after."""
        folder = run.make_folder()
        try:
            require_address(StoreSettings.from_environment())
            full = Tags(full_tag(_tags.primary), *(tag and full_tag(tag) for tag in (_tags.split, _tags.shadow)))
            settle(full, folder)
            supervisor.install(_settings.drain_s, folder)
        except HexbiteError as error:
            raise BentoMLConfigException(str(error)) from None

    @bentoml.on_startup
    async def start(self) -> None:
        """Open this worker's connections, and say in the log where the store cannot serve the model."""
        _lane.recommend, _lane.tell = self._answer, self._tell_events
        await self.__is_ready__()
        await self._follow()  # what was deployed since it was settled
        # What was made until here stays: no collection needs to look at it again.
        gc.collect()
        gc.freeze()
        self._tell()
        tasks = self._look_after(), self._refreshing.keep(self._refresh_interval_s)
        self._tasks = [asyncio.create_task(task) for task in tasks]
        worker.drain_at_sigterm(_settings.drain_s, self._begin_to_drain)

    def _begin_to_drain(self) -> None:
        _lane.draining = True

    @bentoml.on_shutdown
    async def close(self) -> None:
        """Close the connections when the last request is answered."""
        for task in self._tasks:
            task.cancel()
        for connections in (self._connections, self._probe, self._told):
            if connections is not None:
                await connections.close()
        if _lane.traces is not None:
            with suppress(TimeoutError):  # a collector that is away may not hold back the end
                await asyncio.wait_for(asyncio.to_thread(_lane.traces.close), _FLUSH_S)

    async def __is_ready__(self) -> bool:
        """Whether every feature of each model is at hand: in a store that can be reached, or in a request."""
        self._unready_reason = "draining" if _lane.draining else await self._unready()
        metrics.ready.set(0 if self._unready_reason else 1)
        return not self._unready_reason

    async def _unready(self) -> str:
        try:
            answering, probe = await self._open()
        except HexbiteError as error:
            if str(error) != self._unready_reason:
                _log.error("not ready: %s", error)
            self._fault = error
            return str(error)
        reasons = [await served.unready_reason(probe) for served in answering.roles().values()]
        return next((reason for reason in reasons if reason), "")

    async def _open(self) -> tuple[Answering, Connections]:
        """The models that answer, opened where they are not open yet, and what to ask about them by.

        Raises StoreError and its kin.
        """
        if self._connections is None or self._probe is None:
            # A server that is started for this may take its time; the loop goes on.
            store = StoreSettings.from_environment()
            dsn = await asyncio.to_thread(store_dsn, store)
            timeout_s, schema = _settings.store_timeout_s, store.store_schema
            self._probe = Connections(dsn, most=1, timeout_s=timeout_s, schema=schema)
            self._connections = Connections(dsn, most=_settings.connections, timeout_s=timeout_s, schema=schema)
            self._store = as_loader(dsn), schema
            most = _settings.event_connections
            self._told = Connections(dsn, most=most, timeout_s=timeout_s, schema=schema, role=TELLS)
            max_age_s = None if _settings.max_event_age_s == "none" else _settings.max_event_age_s
            self._teller = Teller(EventStore(self._told), Bounds(max_age_s, _settings.max_event_ahead_s))
        if self._answering is None:
            # Not above: the supervisor imports this file too, and does without torch, its 190 MiB and its seconds.
            from bento.ranking.answering import Answering

            self._answering = Answering.load(_tags, self._connections, _settings)
            _lane.model, _lane.ids = self._answering.primary.tag, self._answering.primary.ids
        return self._answering, self._probe

    def _tell(self) -> None:
        """How busy this worker is, and with what."""
        metrics.in_flight.set(_admission.in_flight)
        metrics.in_flight_limit.set(int(_admission.limit))
        if self._connections is not None:
            metrics.connections("open").set(self._connections.opened)
            metrics.connections("lent").set(self._connections.lent)
            metrics.connections("most").set(self._connections.most)
        if self._answering is not None:
            for role, served in self._answering.roles().items():
                metrics.serves(served.tag, served.fingerprint, role, whether=True)
            lags_s = [lag_s for served in self._answering.roles().values() if (lag_s := served.lag_s()) is not None]
            metrics.refresh_lag_seconds.set(max(lags_s, default=0.0))

    def _refresh_interval_s(self) -> float | None:
        """How often what is known of places is refreshed: as the model wants it that wants it most often."""
        served = () if self._answering is None else self._answering.roles().values()
        return min((one.refresh_s for one in served if one.refresh_s is not None), default=None)

    async def _look_after(self) -> None:
        """Every second: tell how busy this worker is and, now and then, how it is; follow what is deployed."""
        looks_until_retry = 0
        for look in itertools.count(1):
            await asyncio.sleep(_WATCH_S)
            try:
                if look % _LOOKS_BETWEEN_CHECKS == 0:
                    await self.__is_ready__()
                self._tell()
                looks_until_retry -= 1
                if looks_until_retry < 0 and not await self._follow():
                    looks_until_retry = _LOOKS_UNTIL_RETRY
            except Exception:  # noqa: BLE001 - logged; raised, it would end every look to come
                _log.exception("looking after this worker failed")

    async def _follow(self) -> bool:
        """Answer by the model that is deployed; whether there is nothing left to do for it."""
        tag = deployed() if _follows_deployments else None
        if tag is None or self._answering is None or tag == self._answering.primary.tag:
            return True
        assert self._connections is not None and self._probe is not None
        before = self._answering.primary
        try:
            answering = await asyncio.to_thread(self._answering.with_primary, tag, self._connections, _settings)
            reason = await answering.primary.unready_reason(self._probe, log=False)
            if _run is not None and not reason and deployed() == tag:
                # Whoever starts in place of a worker that dies answers by it too.
                settle(_tags._replace(primary=answering.primary.tag), _run)
        except (HexbiteError, OSError) as error:
            reason = str(error)
        if reason:
            metrics.deploy_failures.inc()
            _log.error("%s was deployed and cannot be served, %s goes on: %s", tag, before.tag, reason)
            return False
        self._answering = answering
        _lane.model, _lane.ids = answering.primary.tag, answering.primary.ids
        metrics.serves(before.tag, before.fingerprint, "primary", whether=False)
        self._tell()
        _log.info("model %s answers in place of %s", _lane.model, before.tag)
        return True

    @bentoml.api(route=ROUTE, output_spec=RecommendResponse)
    async def recommend(self, request: RecommendRequest, /) -> Response:
        """Rank the restaurants near a person, best first."""
        # What the framework shows of the endpoint, and calls in process; over HTTP `bento.edge.app` asks at once.
        answered = await self._answer(request, None)
        headers = {name.decode(): value.decode() for name, value in answered.headers}
        return Response(answered.body, media_type="application/json", headers=headers)

    async def _answer(self, request: RecommendRequest, user_in_path: str | None) -> Answered:
        headers = _check_fields(unknown_fields(request))
        answering = self._answering  # whatever is deployed meanwhile
        if answering is None:
            raise self._fault.with_traceback(None)
        user_id = user_to_id(user_in_path, request.user_id, answering.primary.ids.user)
        served = answering.whose(user_id)
        answer = await served.recommender.answer(request, user_id)
        _count(request, answer)
        if answer.truncated:
            headers.append((b"x-hexbite-truncated", f"nearest {_settings.max_candidates}".encode()))
        if answering.shadow is not None:
            answering.shadow.offer(request, user_in_path, answer)
        return Answered(to_json(answer.response), headers, served.tag, answer.laps)

    async def _tell_events(self, request: EventsRequest) -> Answered:
        headers = _check_fields(unknown_event_fields(request))
        answering, teller = self._answering, self._teller  # whatever is deployed meanwhile
        if answering is None or teller is None:
            raise self._fault.with_traceback(None)
        telling = await teller.tell(request.events, answering.primary.ids)
        for outcome, events in telling.outcomes.items():
            metrics.events(outcome).inc(events)
        if (telling.outcomes["taken"] or telling.outcomes["known"]) and self._refresh_interval_s() == 0:
            await self._refreshing.settle()
        return Answered(to_json(telling.response), headers, answering.primary.tag, [])

    def _refresh(self, waits: bool) -> Refreshed | None:
        return None if self._store is None else refresh(self._store[0], schema=self._store[1], wait=waits)


def _count(request: RecommendRequest, answer: Answer) -> None:
    for stage, begun, ended in answer.laps:
        metrics.stage_seconds(stage).observe(ended - begun)
    if request.candidate_restaurant_ids is not None:
        metrics.candidates_asked.observe(len(request.candidate_restaurant_ids))
    metrics.candidates_in_range.observe(answer.in_range)
    if answer.truncated:
        metrics.truncated.inc()
    if answer.cold_start:
        metrics.cold_starts.inc()
    if answer.pending is not None:
        metrics.pending_events.observe(answer.pending)
    for column, rows in (("time_zone", answer.unplaced), ("restaurant_key", answer.unnamed)):
        if rows:
            metrics.rows_left_out(column).inc(rows)
    fresh = answer.freshness
    for entity, age_s in (("user", fresh.user_age_s), ("restaurant", fresh.oldest_age_s)):
        if age_s is not None:
            metrics.feature_age_seconds(entity).observe(age_s)
    for entity, stale in (("user", int(fresh.is_user_stale)), ("restaurant", fresh.stale_restaurants)):
        if stale:
            metrics.stale_rows(entity).inc(stale)


def _check_fields(unknown: list[str]) -> list[tuple[bytes, bytes]]:
    """Headers that warn of unknown fields, or InvalidRequestError that names the first."""
    if not unknown:
        return []
    # A field's name is the client's own text: what a header cannot carry is escaped.
    named = ", ".join(name.encode("unicode_escape").decode() for name in unknown)[:200]
    if _settings.unknown_fields == "refuse":
        field = "events" if unknown[0].startswith("events.") else unknown[0]
        raise InvalidRequestError(f"unknown field {unknown[0]!r}", field)
    return [(b"x-hexbite-warning", f"unknown fields ignored: {named}".encode())]


Hexbite.add_asgi_middleware(  # type: ignore[attr-defined]  # the decorator returns a Service, and is typed as if not
    EdgeInstaller, lane=_lane, admission=_admission, settings=_settings
)
