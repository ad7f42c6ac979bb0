"""``python -m bento``: put a model into service, make API keys."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Final

import httpx
import typer

from bento.edge.keys import new_key
from bento.ranking.deployment import deploy, deployed
from bento.ranking.served import Served
from bento.settings import Settings
from db.access.connections import Connections
from db.settings import StoreSettings, store_dsn
from hexbite.console import progress, run
from hexbite.errors import ModelStoreError

app = typer.Typer(no_args_is_help=True, add_completion=False, help="The service: deploy models, make API keys.")

# So many connections in a row that all workers are among those that answered them.
_AGREED: Final = 40
_PATIENCE_S: Final = 60.0


@app.command("deploy")
def deploy_model(
    tag: Annotated[str, typer.Argument(help="In the model store: hexbite:VERSION, or hexbite:latest.")],
    url: Annotated[
        str | None, typer.Option(help="The service's address: end when every worker of it speaks by the model.")
    ] = None,
) -> None:
    """Answer by a model from now on, without a restart; going back is the same with the older tag."""
    full = asyncio.run(_checked(tag))
    before = deployed()
    deploy(full)
    if url is not None:
        with progress("waiting for every worker"):
            _wait_for(full, url)
    print(f"deployed {full}" + ("" if before is None else f", before {before}"))


@app.command("deployed")
def show_deployed() -> None:
    """The model that was deployed last."""
    print(deployed() or "none: hexbite:latest is served")


@app.command("key")
def key() -> None:
    """A new API key, and the digest that HEXBITE_API_KEYS takes."""
    secret, digest = new_key()
    print(f"key     {secret}\ndigest  {digest}")


async def _checked(tag: str) -> str:
    """The full tag of a model that the store can serve. Raises HexbiteError where it cannot."""
    store = StoreSettings.from_environment()
    connections = Connections(store_dsn(store), most=1, timeout_s=10, schema=store.store_schema)
    try:
        served = Served.load(tag, connections, Settings.from_environment())
        reason = await served.unready_reason(connections, log=False)
    finally:
        await connections.close()
    if reason:
        raise ModelStoreError(f"{served.tag} cannot be served, and was not deployed: {reason}")
    return served.tag


def _wait_for(tag: str, url: str) -> None:
    agreed, deadline = 0, time.monotonic() + _PATIENCE_S
    speaks: str | None = None
    while agreed < _AGREED:
        if time.monotonic() > deadline:
            raise ModelStoreError(f"{url} still speaks by {speaks}; its log says why")
        try:
            # A new connection each: they spread over the workers.
            speaks = httpx.get(f"{url.rstrip('/')}/livez", timeout=5).headers.get("x-hexbite-model")
        except httpx.HTTPError as error:
            raise ModelStoreError(f"deployed, but {url} does not answer: {error}") from error
        agreed = agreed + 1 if speaks == tag else 0
        if not agreed:
            time.sleep(0.1)


if __name__ == "__main__":
    run(app)
