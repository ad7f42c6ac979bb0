"""The whole line in one command: draw a past, import and load it, train, serve, ask, order something, and ask again."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import httpx
import polars as pl
import typer
from rich.console import Console
from rich.table import Table

from db.embedded import EmbeddedServer
from db.settings import StoreSettings, home
from hexbite import console
from hexbite.errors import DemoError
from hexbite.folder import REQUESTS

_ROOT: Final = Path(__file__).resolve().parent.parent
_DATA: Final = _ROOT / "data" / "demo"
_DRAWN: Final = _ROOT / "data" / "demo-log"
_SIZES: Final = ("--people", "400", "--places", "240", "--visits", "10000", "--days", "60")
# What the log came from, and what the import made of it: a model of the same two needs no training again.
_SOURCES: Final = (_DRAWN / "visits.json", _DATA / "source.json")
_TRAINED: Final = _DATA / "trained.json"
_LOG: Final = _DATA / "serve.log"
_HOST: Final = "127.0.0.1"
_SHOWN: Final = 10
_RANKED: Final = 100

# From where on something new is ordered, and the counter that says what is new.
_ORDERED_RANK: Final = 7
_OWN_VISITS: Final = "own_visits"
_STOPPING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_out = Console(soft_wrap=True)


def demo(
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Where to serve, on 127.0.0.1.")] = 3000,
    once: Annotated[bool, typer.Option("--once", help="End after the answer.")] = False,
) -> None:
    """See Hexbite work: from a drawn past to an answer over HTTP that changes with an order."""
    started = time.monotonic()
    _require_free(port)
    # Ctrl-C too: a shell starts what it puts into the background with that ignored.
    for received in _STOPPING:
        signal.signal(received, signal.default_int_handler)
    environment = dict(os.environ, BENTOML_DO_NOT_TRACK="True")
    environment.pop("DATABASE_PASSWORD_FILE", None)
    if environment.pop("DATABASE_URL", None):
        _out.print("DATABASE_URL is set; the demo leaves it alone and uses the embedded Postgres")
    try:
        tag = _prepare(environment)
        with _serving(port, environment | {"HEXBITE_MODEL": tag}):
            _ask_order_ask(port)
            _out.print(f"answered {time.monotonic() - started:.0f} s after the start")
            if not once:
                _out.print(
                    f"serving on http://{_HOST}:{port} (log: {_LOG.relative_to(_ROOT)}); Ctrl-C stops everything"
                )
                signal.pause()
    except KeyboardInterrupt:
        _out.print("stopped")
    finally:
        _ignore_signals()
        EmbeddedServer(home(StoreSettings.from_environment())).stop(only_if_unused=True)


def _prepare(environment: Mapping[str, str]) -> str:
    """Data, tables and a model, each reused where it is there already; the model's tag."""
    _run("db", "upgrade", environment=environment)
    if not all(source.exists() for source in _SOURCES):
        # Up to now: what is counted fades.
        today = datetime.now(UTC).date().isoformat()
        _run("data", "visits", "data/demo-log", *_SIZES, "--until", today, environment=environment)
        _run("data", "log", "data/demo-log/map.toml", "data/demo", environment=environment)
    # What somebody changed in the store since the last time is theirs.
    _run("db", "load", "data/demo", "--mode", "fill", environment=environment)
    _run("db", "events", "data/demo/events", environment=environment)
    world = hashlib.sha256(b"".join(source.read_bytes() for source in _SOURCES)).hexdigest()
    if _TRAINED.exists():
        trained = json.loads(_TRAINED.read_text())
        if trained["world"] == world and _is_stored(trained["model"], environment):
            _out.print(f"model {trained['model']} is there already")
            return str(trained["model"])
    tag = _run("training", "train", "--data", "data/demo", environment=environment)
    _TRAINED.write_text(json.dumps({"world": world, "model": tag}))
    return tag


def _run(module: str, *arguments: str, environment: Mapping[str, str]) -> str:
    """One of the project's commands, as a person would type it, printing as it goes; the last line that it printed."""
    _out.print(f"$ python -m {shlex.join([module, *arguments])}", style="bold", highlight=False)
    last = ""
    with subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", module, *arguments], cwd=_ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as command:
        assert command.stdout is not None
        try:
            for line in command.stdout:
                last = line.strip()
                sys.stdout.write(line)
                sys.stdout.flush()
        except KeyboardInterrupt:
            # Ctrl-C reaches the command by itself, another signal does not.
            command.terminate()
            raise
    if command.returncode:
        raise DemoError(f"python -m {module} ended with status {command.returncode}; its message is above")
    return last


def _is_stored(tag: str, environment: Mapping[str, str]) -> bool:
    found = subprocess.run(  # noqa: S603 - our own environment's bentoml
        [sys.executable, "-m", "bentoml", "models", "get", tag], env=environment, capture_output=True, check=False
    )
    return found.returncode == 0


@contextmanager
def _serving(port: int, environment: Mapping[str, str]) -> Iterator[None]:
    """``bentoml serve``, ready; stopped at the end whatever happens."""
    command = ["bentoml", "serve", "--host", _HOST, "--port", str(port), "--timeout-keep-alive", "75"]
    _out.print(f"$ HEXBITE_MODEL={environment['HEXBITE_MODEL']} {shlex.join(command)}", style="bold", highlight=False)
    with _LOG.open("wb") as log:
        # A session of its own: Ctrl-C reaches this process alone, which then stops the server in order.
        server = subprocess.Popen(  # noqa: S603 - our own environment's bentoml
            [sys.executable, "-m", *command],
            cwd=_ROOT,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _wait_until_ready(server, port)
        yield
    finally:
        _ignore_signals()
        _stop(server)


def _wait_until_ready(server: subprocess.Popen[bytes], port: int, patience_s: float = 60.0) -> None:
    deadline = time.monotonic() + patience_s
    with console.progress("waiting for the service") as advance:
        while server.poll() is None and time.monotonic() < deadline:
            try:
                if httpx.get(f"http://{_HOST}:{port}/readyz", timeout=2).status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass  # it does not listen yet
            time.sleep(0.1)
            advance()
    tail = "\n".join(_LOG.read_text(errors="replace").splitlines()[-15:])
    raise DemoError(f"the service did not become ready; the end of {_LOG.relative_to(_ROOT)}:\n{tail}")


def _stop(server: subprocess.Popen[bytes], patience_s: float = 10.0) -> None:
    """Ask the server's whole process group to end, then make it."""
    for sent in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, sent)
            server.wait(patience_s)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def _ask_order_ask(port: int) -> None:
    """One request of the drawn past and its answer as a table; an order, and what it moved."""
    request = pl.scan_parquet(_DATA / REQUESTS).head(1).collect().row(0, named=True)
    body: dict[str, Any] = {
        "latitude": round(request["latitude"], 6),
        "longitude": round(request["longitude"], 6),
        "size": _RANKED,
        "max_dist": request["max_dist"],
        "explain": True,
    }
    path = f"/recommend/u{request['user_id']:05d}"
    answer = _post(port, path, body)
    before = answer.json()["restaurants"]
    _show(request["user_id"], before)
    _out.print(f"model {answer.headers['x-hexbite-model']}, request {answer.headers['x-request-id']}")
    new = (place for place, one in enumerate(before) if one["features"]["context"][_OWN_VISITS] == 0)
    place = next((place for place in new if place >= _ORDERED_RANK - 1), None)
    if place is None:
        _out.print(f"nothing from rank {_ORDERED_RANK} on is new to user {request['user_id']}")
        return
    ordered = before[place]["id"]
    event = {
        "event_id": f"demo-{time.time_ns()}",
        "user_id": request["user_id"],
        "restaurant_id": ordered,
        "event": "visit",
        "event_ts": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "request_id": answer.headers["x-request-id"],
        "position": place + 1,
    }
    _post(port, "/events", {"events": [event]})
    after = _post(port, path, body).json()["restaurants"]
    _out.print(_moved(before, after, ordered))


def _post(port: int, path: str, body: Mapping[str, Any]) -> httpx.Response:
    """A request as a person would type it, and its answer."""
    _out.print(
        f"$ curl http://{_HOST}:{port}{path} -H 'Content-Type: application/json' -d '{json.dumps(body)}'",
        style="bold",
        highlight=False,
    )
    answer = httpx.post(f"http://{_HOST}:{port}{path}", json=body, timeout=30)
    if answer.status_code != httpx.codes.OK:
        raise DemoError(f"the service answered {answer.status_code}: {answer.text}")
    return answer


def _show(user_id: int, restaurants: Sequence[Mapping[str, Any]]) -> None:
    shown = restaurants[:_SHOWN]
    table = Table(title=f"{len(shown)} restaurants for user {user_id}, best first")
    for heading in ("rank", "restaurant", "score", "distance", "own visits"):
        table.add_column(heading, justify="right")
    for rank, restaurant in enumerate(shown, start=1):
        table.add_row(
            str(rank),
            str(restaurant["id"]),
            f"{restaurant['score']:.4f}",
            f"{restaurant['displacement']:,.0f} m",
            # The counter is the log of one more.
            f"{math.expm1(restaurant['features']['context'][_OWN_VISITS]):.0f}",
        )
    Console().print(table)


def _moved(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]], restaurant_id: int) -> str:
    """What an order moved, and why, in a line."""
    (rank, were), (rank_now, are) = (
        next(
            (rank, one["features"]["context"]) for rank, one in enumerate(answer, start=1) if one["id"] == restaurant_id
        )
        for answer in (before, after)
    )
    told = [(name, f"{value:.2f}", f"{are[name]:.2f}") for name, value in were.items()]
    changed = ", ".join(f"{name} {was} -> {is_now}" for name, was, is_now in told if was != is_now)
    return f"ordered at restaurant {restaurant_id}: rank {rank} -> {rank_now}, because {changed}"


def _require_free(port: int) -> None:
    """Before any work: an address in use would be found out last."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the server itself will: a port in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
            probe.listen()
        except OSError as error:
            raise DemoError(f"port {port} on {_HOST} cannot be had ({error.strerror}); try PORT={port + 1}") from error


def _ignore_signals() -> None:
    """Cleaning up is not to be interrupted half-way."""
    for received in _STOPPING:
        signal.signal(received, signal.SIG_IGN)


if __name__ == "__main__":
    console.run(lambda: typer.run(demo))
