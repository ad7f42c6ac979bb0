"""Logs as JSON, and a line an answer: both where the settings ask for them."""

from __future__ import annotations

import logging
from typing import Final, Literal

from pythonjsonlogger.json import JsonFormatter

# A child of the framework's logger: the same handlers, the same form.
_log = logging.getLogger("bentoml.hexbite.access")

_LOGGERS: Final = (None, "bentoml", "uvicorn.error", "circus")


def configure(log_format: Literal["text", "json"]) -> None:
    """Give the handlers that the framework set up the form that is asked for."""
    if log_format == "text":
        return
    formatter = JsonFormatter(
        "%(asctime)s %(levelname)s %(name)s %(process)d %(message)s",
        rename_fields={"asctime": "time", "levelname": "level", "name": "logger", "process": "pid"},
        datefmt="%Y-%m-%dT%H:%M:%S%z",
    )
    for name in _LOGGERS:
        for handler in logging.getLogger(name).handlers:
            # The framework's filter writes fields of its own over a record's, the request id among them.
            handler.filters.clear()
            handler.setFormatter(formatter)


def log_access(
    request_id: str, method: str, route: str, status: int, took_s: float, model: str, trace_id: str | None
) -> None:
    """One answer of a route, never the path itself: it names a user."""
    facts = {"request_id": request_id, "status": status, "seconds": round(took_s, 6), "model": model}
    if trace_id is not None:
        facts["trace_id"] = trace_id
    _log.info(
        "%s %s %d in %.1f ms, %s, request %s", method, route, status, took_s * 1e3, model, request_id, extra=facts
    )
