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
from hexbite.errors import SchemaError


class Answering(NamedTuple):
    """``split`` answers a ``split_share`` 0..1 of the users in place of ``primary``."""

    primary: Served
    split: Served | None
    split_share: float
    shadow: Shadow | None

    @classmethod
    def load(cls, tags: Tags, connections: Connections, settings: Settings) -> Self:
        """Raises ModelStoreError or ArtifactError where one of them cannot be loaded, SchemaError where two that share
        the users have ids of different kinds: an experiment that cannot be is said, and not replaced by what it was to
        be compared with.
        """
        # One request is too small to share among threads; workers are the way to use more cores.
        torch.set_num_threads(1)
        primary = Served.load(tags.primary, connections, settings)
        split = Served.load(tags.split, connections, settings) if tags.split else None
        shadow = Shadow(Served.load(tags.shadow, connections, settings)) if tags.shadow else None
        return cls(primary, _beside(primary, split), settings.split_share, shadow)

    def with_primary(self, tag: str, connections: Connections, settings: Settings) -> Self:
        """The same with another primary. Raises as `load` does."""
        primary = Served.load(tag, connections, settings)
        return self._replace(primary=primary, split=_beside(primary, self.split))

    def roles(self) -> dict[str, Served]:
        """Each model that is loaded, by what it does."""
        found = {"primary": self.primary}
        if self.split is not None:
            found["split"] = self.split
        if self.shadow is not None:
            found["shadow"] = self.shadow.served
        return found

    def whose(self, user_id: int) -> Served:
        """The model that answers a user, by the 64-bit id: always the same one, while the same two are served."""
        if self.split is None:
            return self.primary
        digest = hashlib.blake2b(f"{self.split.tag} {user_id}".encode(), digest_size=8).digest()
        return self.split if int.from_bytes(digest, "big") < self.split_share * 2**64 else self.primary


def _beside(primary: Served, split: Served | None) -> Served | None:
    """A model that may answer users in the primary's place. Raises SchemaError where its ids are of other kinds."""
    if split is not None and split.ids != primary.ids:
        ours, theirs = (
            f"{kinds.user} for users and {kinds.restaurant} for restaurants" for kinds in (split.ids, primary.ids)
        )
        raise SchemaError(
            f"{split.tag} cannot share the users with {primary.tag}: its ids are {ours}, those of the other {theirs}, "
            "and no client could tell which to send; set HEXBITE_SPLIT_MODEL to a model with the same kinds, or to none"
        )
    return split
