"""The models that answer, all of them or none: the primary, one for a share of the users, one in the shadow."""

from __future__ import annotations

import hashlib
from typing import NamedTuple, Self

import torch

from bento.ranking.deployment import Tags
from bento.ranking.served import Served
from bento.ranking.shadow import Shadow
from bento.settings import Settings
from db.access.connections import Connections


class Answering(NamedTuple):
    """``split`` answers a ``split_share`` 0..1 of the users in place of ``primary``."""

    primary: Served
    split: Served | None
    split_share: float
    shadow: Shadow | None

    @classmethod
    def load(cls, tags: Tags, connections: Connections, settings: Settings) -> Self:
        """Raises ModelStoreError or ArtifactError where one of them cannot be loaded: an experiment that cannot be is
        said, and not replaced by what it was to be compared with.
        """
        # One request is too small to share among threads; workers are the way to use more cores.
        torch.set_num_threads(1)
        primary = Served.load(tags.primary, connections, settings)
        split = Served.load(tags.split, connections, settings) if tags.split else None
        shadow = Shadow(Served.load(tags.shadow, connections, settings)) if tags.shadow else None
        return cls(primary, split, settings.split_share, shadow)

    def with_primary(self, tag: str, connections: Connections, settings: Settings) -> Self:
        """The same with another primary. Raises as `load` does."""
        return self._replace(primary=Served.load(tag, connections, settings))

    def roles(self) -> dict[str, Served]:
        """Each model that is loaded, by what it does."""
        found = {"primary": self.primary}
        if self.split is not None:
            found["split"] = self.split
        if self.shadow is not None:
            found["shadow"] = self.shadow.served
        return found

    def whose(self, user_id: int) -> Served:
        """The model that answers a user: always the same one, for as long as the same two are served."""
        if self.split is None:
            return self.primary
        digest = hashlib.blake2b(f"{self.split.tag} {user_id}".encode(), digest_size=8).digest()
        return self.split if int.from_bytes(digest, "big") < self.split_share * 2**64 else self.primary
