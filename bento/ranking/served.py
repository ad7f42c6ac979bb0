"""A model that answers: its artifact, the store of its schema's rows, and whether both are at hand."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import bentoml
import numpy as np

from bento.ranking.deployment import full_tag
from bento.ranking.recommend import Recommender
from bento.settings import Settings
from db.access.connections import Connections
from db.reading.online import FeatureStore
from hexbite.artifact import Artifact
from hexbite.errors import HexbiteError
from hexbite.zones import local_times

# A child of the framework's logger: the same handlers, the same form.
_log = logging.getLogger("bentoml.hexbite")


def refresh_interval_s(lag_s: float, settings: Settings) -> float | None:
    """Every how many seconds what is known of places is refreshed, of a model trained with a lag; None for never."""
    if settings.refresh_s == "off":
        return None
    return lag_s if settings.refresh_s is None else settings.refresh_s


class Served:
    """A model by its full tag, reading over connections that it shares with other models."""

    def __init__(self, tag: str, artifact: Artifact, connections: Connections, settings: Settings) -> None:
        self.tag = tag
        self.fingerprint = artifact.schema.fingerprint
        self.ids = artifact.schema.ids
        #: Every how many seconds what it knows of places is refreshed; None where that is never, or nothing is counted.
        self.refresh_s = (
            refresh_interval_s(artifact.schema.counters.lag_s, settings) if artifact.schema.counters else None
        )
        self._schema = artifact.schema
        self._store = FeatureStore(connections, artifact.schema)
        self.recommender = Recommender(
            tag,
            artifact,
            self._store,
            settings.max_candidates,
            settings.max_feature_age_s,
            always_text=settings.ids == "text",
            refresh_s=self.refresh_s,
        )
        self._rehearsals = connections.most
        self._is_warm = False
        self._unready_reason = "not checked yet"
        self._refilled: tuple[str, ...] = ()

    @classmethod
    def load(cls, tag: str, connections: Connections, settings: Settings) -> Self:
        """The model with a tag of the model store. Raises ModelStoreError, ArtifactError."""
        model = bentoml.models.get(full_tag(tag))
        return cls(str(model.tag), Artifact.load(Path(model.path)), connections, settings)

    async def unready_reason(self, probe: Connections, *, log: bool = True) -> str:
        """Why it cannot answer, asked over connections of its own; empty where it can. A change is logged."""
        try:
            # Raises where a request cannot tell a feature.
            self._schema.context_rows(np.empty(0), local_times(np.empty(0, dtype=np.float32), 0.0))
            reason, refilled = "", await self._store.check(probe)
            await self._warm()
            if refilled and refilled != self._refilled:
                _log.warning("%s: loaded with other fills than it was trained with: %s", self.tag, ", ".join(refilled))
            self._refilled = refilled
        except HexbiteError as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - raised, it would hang the framework's probe for its whole timeout
            _log.exception("%s: the readiness check failed", self.tag)
            reason = repr(error)
        if log and reason != self._unready_reason:
            self._unready_reason = reason
            if reason:
                _log.error("not ready: %s", reason)
            else:
                _log.info("ready: model %s, schema %s", self.tag, self.fingerprint[:12])
        return reason

    def lag_s(self) -> float | None:
        """Seconds since what it knows of places was refreshed, as of the last check; None where it counts nothing."""
        refreshed_at = self._store.refreshed_at
        if refreshed_at is None or not self._schema.counters:
            return None
        return (datetime.now(UTC) - refreshed_at).total_seconds()

    async def _warm(self) -> None:
        """Take every way of a request once, on every connection, so that the first is as fast as the next."""
        if not self._is_warm:
            await asyncio.gather(*(self.recommender.rehearse() for _ in range(self._rehearsals)))
            self._is_warm = True
