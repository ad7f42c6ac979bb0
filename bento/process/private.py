"""What is not public of BentoML, circus and uvicorn, and needed all the same: each piece, what for, when it can go.

Whoever upgrades one of the three reads this first. tests/unit/test_private.py holds each to its place, tests/faults to
what it is for; a service that does not find one refuses to start.
"""

from __future__ import annotations

from importlib.metadata import version
from pkgutil import resolve_name
from typing import Final

from hexbite.errors import SettingsError

#: By their addresses.
PIECES: Final = {
    "bentoml._internal.utils.circus:Arbiter": "what `bentoml serve` makes its supervisor of; until one can be chosen",
    "bentoml._internal.utils.circus:Arbiter.initialize": "not to listen yet; until a socket can be bound without it",
    "bentoml._internal.utils.circus:Arbiter.manage_watchers": "replaces the dead at once; until circus does",
    "bentoml._internal.utils.circus:Arbiter.stop": "waits for its turn; until circus forgets no command meanwhile",
    "bentoml._internal.utils.circus:Arbiter._stop_watchers": "ends listening in time; until circus does",
    "circus.process:DEAD_OR_ZOMBIE": "which workers are dead; goes with manage_watchers",
    "circus.process:UNEXISTING": "which workers are dead; goes with manage_watchers",
    "uvicorn.config:HTTP_PROTOCOLS": "to read HTTP in our way; until `bentoml serve` passes uvicorn's `http` on",
    "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol": "… which adds to it; until its issue 2722 is mended",
}


#: What an arbiter has of its own: the command that it is at, and whether it is about to end; goes with stop.
ATTRIBUTES: Final = ("_exclusive_running_command", "_stopping")


def require() -> None:
    """Raises SettingsError where a piece is not where it was."""
    for piece in PIECES:
        try:
            resolve_name(piece)
        except (ImportError, AttributeError) as error:
            package = piece.partition(".")[0]
            installed = version("kantoku" if package == "circus" else package)  # BentoML's fork brings the package
            raise SettingsError(
                f"{package} {installed} has no {piece}, which Hexbite needs; install what requirements/service.txt pins"
            ) from error
