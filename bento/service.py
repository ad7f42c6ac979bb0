"""The service: what opens at start-up, when it is ready, and the endpoint."""

from __future__ import annotations

import asyncio
import gc
import logging
from pathlib import Path
from typing import Final

import bentoml
import numpy as np
import torch
import yaml
from bentoml.models import BentoModel
from pydantic_core import to_json
from starlette.responses import Response

from bento.edge import ROUTE, EdgeInstaller, Lane, Limits
from bento.models import RecommendRequest, RecommendResponse, unknown_fields
from bento.recommend import Recommender
from bento.settings import Settings
from db.online import FeatureStore
from db.settings import StoreSettings, store_dsn
from hexbite.artifact import Artifact
from hexbite.errors import HexbiteError, InvalidRequestError, StoreUnavailable

# A child of the framework's logger: the same handlers, the same form.
_log = logging.getLogger("bentoml.hexbite")
_settings: Final = Settings()

_lane: Final = Lane()


def _built_with() -> str | None:
    """The model's tag in the built bento that this file is part of, None at the root: a build freezes its model."""
    description = Path(__file__).resolve().parents[2] / "bento.yaml"
    if not description.exists():
        return None
    services = yaml.safe_load(description.read_text())["services"]
    return next((str(model["tag"]) for service in services for model in service["models"]), None)


@bentoml.service(name="hexbite", traffic={"timeout": _settings.request_timeout_s})
class Hexbite:
    """Ranks the restaurants near a person by features that it reads from Postgres for every request."""

    model = BentoModel(_settings.model or _built_with() or "hexbite:latest")

    def __init__(self) -> None:
        # One request is too small to share among threads; workers are the way to use more cores.
        torch.set_num_threads(1)
        self._tag = str(self.model.tag)
        self._artifact = Artifact.load(Path(self.model.path))
        _lane.headers.append((b"x-hexbite-model", self._tag.encode()))
        self._store: FeatureStore | None = None
        self._recommender: Recommender | None = None
        self._is_warm = False
        self._unready_reason = "not checked yet"
        self._refilled: tuple[str, ...] = ()

    @bentoml.on_startup
    async def start(self) -> None:
        """Open this worker's pool, and say in the log where the store cannot serve the model."""
        _lane.recommend = self._answer
        await self.__is_ready__()

    async def _open_store(self) -> FeatureStore:
        dsn = await asyncio.to_thread(store_dsn, StoreSettings())
        store = FeatureStore(
            dsn, self._artifact.schema, connections=_settings.connections, timeout_s=_settings.request_timeout_s
        )
        self._store = store
        self._recommender = Recommender(self._tag, self._artifact, store, _settings.max_candidates)
        return store

    async def _warm(self) -> None:
        """Take every way of a request once, on every connection, so that the first is as fast as the next."""
        if self._recommender is not None and not self._is_warm:
            await asyncio.gather(*(self._recommender.rehearse() for _ in range(_settings.connections)))
            # What was made until here stays: no collection needs to look at it again.
            gc.collect()
            gc.freeze()
            self._is_warm = True

    @bentoml.on_shutdown
    async def close_store(self) -> None:
        """Close the pool when the last request is answered."""
        if self._store is not None:
            await self._store.close()

    async def __is_ready__(self) -> bool:
        """Whether every feature of the schema is at hand: in a store that can be reached, or in a request."""
        try:
            store = self._store or await self._open_store()
            self._artifact.schema.context_rows(np.empty(0))  # raises where a request cannot tell one
            reason, refilled = "", await store.check()
            await self._warm()
            if refilled and refilled != self._refilled:
                _log.warning("loaded with other fills than the model was trained with: %s", ", ".join(refilled))
            self._refilled = refilled
        except HexbiteError as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - raised, it would hang the framework's probe for its whole timeout
            _log.exception("the readiness check failed")
            reason = repr(error)
        if reason != self._unready_reason:
            self._unready_reason = reason
            if reason:
                _log.error("not ready: %s", reason)
            else:
                _log.info("ready: model %s, schema %s", self._tag, self._artifact.schema.fingerprint[:12])
        return not reason

    @bentoml.api(route=ROUTE, output_spec=RecommendResponse)
    async def recommend(self, request: RecommendRequest, /) -> Response:
        """Rank the restaurants near a person, best first."""
        # What the framework shows of the endpoint, and calls in process; over HTTP `bento.edge` asks at once.
        if request.user_id is None:
            raise InvalidRequestError("user_id is required", "user_id")
        return await self._answer(request, request.user_id)

    async def _answer(self, request: RecommendRequest, user_id: int) -> Response:
        headers = _check_fields(request)
        if self._recommender is None:
            raise StoreUnavailable(self._unready_reason)
        answer = await self._recommender.answer(request, user_id)
        if answer.truncated:
            headers["x-hexbite-truncated"] = f"nearest {_settings.max_candidates}"
        return Response(to_json(answer.response), media_type="application/json", headers=headers)


def _check_fields(request: RecommendRequest) -> dict[str, str]:
    """Headers that warn of unknown fields, or InvalidRequestError that names the first."""
    unknown = unknown_fields(request)
    if not unknown:
        return {}
    # A field's name is the client's own text: what a header cannot carry is escaped.
    named = ", ".join(name.encode("unicode_escape").decode() for name in unknown)[:200]
    if _settings.unknown_fields == "refuse":
        raise InvalidRequestError(f"unknown field {unknown[0]!r}", unknown[0])
    return {"x-hexbite-warning": f"unknown fields ignored: {named}"}


Hexbite.add_asgi_middleware(  # type: ignore[attr-defined]  # the decorator returns a Service, and is typed as if not
    EdgeInstaller,
    lane=_lane,
    limits=Limits(_settings.request_timeout_s, _settings.max_body_bytes),
)
