"""The service: what opens at start-up, when it is ready, and the endpoint."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Final

import bentoml
import numpy as np
import torch
import yaml
from bentoml.models import BentoModel
from pydantic import ValidationError
from starlette.responses import Response

from bento.edge import ROUTE, EdgeInstaller, passage
from bento.errors import refuse_error
from bento.models import RecommendRequest, RecommendResponse, parse_user_id, unknown_fields
from bento.recommend import Recommender
from bento.settings import Settings
from db.online import FeatureStore
from db.settings import StoreSettings, store_dsn
from hexbite.artifact import Artifact
from hexbite.errors import HexbiteError, InvalidRequestError, StoreUnavailable

# A child of the framework's logger: the same handlers, the same form.
_log = logging.getLogger("bentoml.hexbite")
_settings: Final = Settings()

#: On every answer; the model's tag is added when it is loaded.
_answer_headers: Final[dict[str, str]] = {}


def _built_with() -> str | None:
    """The model's tag in the built bento that this file is part of, None at the root: a build freezes its model."""
    description = Path(__file__).resolve().parents[2] / "bento.yaml"
    if not description.exists():
        return None
    services = yaml.safe_load(description.read_text())["services"]
    return next((str(model["tag"]) for service in services for model in service["models"]), None)


class _ClientsMistakes(logging.Filter):
    """Keeps the framework from logging a traceback for every body that fails validation."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], ValidationError))


@bentoml.service(name="hexbite", traffic={"timeout": _settings.request_timeout_s})
class Hexbite:
    """Ranks the restaurants near a person by features that it reads from Postgres for every request."""

    model = BentoModel(_settings.model or _built_with() or "hexbite:latest")

    def __init__(self) -> None:
        # One request is too small to share among threads; workers are the way to use more cores.
        torch.set_num_threads(1)
        logging.getLogger("bentoml._internal.server.http_app").addFilter(_ClientsMistakes())
        self._tag = str(self.model.tag)
        self._artifact = Artifact.load(Path(self.model.path))
        _answer_headers["x-hexbite-model"] = self._tag
        self._store: FeatureStore | None = None
        self._recommender: Recommender | None = None
        self._unready_reason = "not checked yet"
        self._refilled: tuple[str, ...] = ()

    @bentoml.on_startup
    async def start(self) -> None:
        """Open this worker's pool, and say in the log where the store cannot serve the model."""
        await self.__is_ready__()

    async def _open_store(self) -> FeatureStore:
        dsn = await asyncio.to_thread(store_dsn, StoreSettings())
        store = await FeatureStore.open(
            dsn,
            self._artifact.schema,
            connections=_settings.connections,
            timeout_s=_settings.request_timeout_s,
        )
        self._store = store
        self._recommender = Recommender(self._tag, self._artifact, store, _settings.max_candidates)
        return store

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
        request_id, path_user_id = passage.get()
        try:
            headers = _check_fields(request)
            user_id = _user_id(request, path_user_id)
            if self._recommender is None:
                raise StoreUnavailable(self._unready_reason)
            answer = await self._recommender.answer(request, user_id)
        except Exception as error:  # noqa: BLE001 - one table answers for all of them, and logs what is ours
            return refuse_error(error, request_id)
        if answer.cut:
            in_range = _settings.max_candidates + answer.cut
            headers["x-hexbite-truncated"] = f"{_settings.max_candidates} of {in_range}"
        body = answer.response.model_dump_json(exclude_none=not request.explain)
        return Response(body, media_type="application/json", headers=headers)


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


def _user_id(request: RecommendRequest, path_user_id: str | None) -> int:
    """The user, from the path or the body. Raises InvalidRequestError where neither or both name one."""
    if path_user_id is None:
        if request.user_id is None:
            raise InvalidRequestError("user_id is required, in the path or in the body", "user_id")
        return request.user_id
    try:
        user_id = parse_user_id(path_user_id)
    except ValueError as error:
        raise InvalidRequestError(f"user_id in the path {error}", "user_id") from error
    if request.user_id not in (None, user_id):
        raise InvalidRequestError("user_id in the body is not the one in the path", "user_id")
    return user_id


Hexbite.add_asgi_middleware(  # type: ignore[attr-defined]  # the decorator returns a Service, and is typed as if not
    EdgeInstaller,
    max_body_bytes=_settings.max_body_bytes,
    body_timeout_s=_settings.request_timeout_s,
    answer_headers=_answer_headers,
)
