"""OpenTelemetry spans of an answer, where a collector is configured by OpenTelemetry's own environment variables.

A span is made after the answer has left, from times that were taken anyway: what is not traced costs nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, Self

from bento.telemetry.laps import Lap

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_ASKED_FOR_BY: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")

# What the stage of a read is called where traces are looked at.
_SPANS: Final = {"store": "sql"}

_NS: Final = 1_000_000_000


class Traces:
    """Makes the spans of each answer: one for the request, and below it one for each stage (``sql``, ``score``, …)."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("hexbite")
        self._propagator = TraceContextTextMapPropagator()

    @classmethod
    def from_environment(cls) -> Self | None:
        """None where no collector is named; else as OTEL_EXPORTER_OTLP_*, OTEL_TRACES_SAMPLER, … have it."""
        if not any(os.environ.get(name) for name in _ASKED_FOR_BY):
            return None
        # Not at the top: a fifth of a second that most services need not wait for.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        name = os.environ.get("OTEL_SERVICE_NAME", "hexbite")
        provider = TracerProvider(resource=Resource.create({"service.name": name}))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        return cls(provider)

    def close(self) -> None:
        """Send what has not been sent yet: the server's end by a signal leaves no time for that."""
        self._provider.shutdown()

    def record(
        self,
        route: str,
        headers: dict[bytes, bytes],
        started: float,
        started_ns: int,
        took_s: float,
        status: int,
        model: str,
        laps: list[Lap],
    ) -> str | None:
        """Make the spans of one answer of a route, below the caller's where ``traceparent`` names it; its trace id.

        ``started`` is on the clock of the laps, ``started_ns`` the same moment since 1970. None where none is sampled.
        """
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        carrier = {
            name: headers[name.encode()].decode("latin-1")
            for name in ("traceparent", "tracestate")
            if name.encode() in headers
        }
        request = self._tracer.start_span(
            f"POST {route}",
            self._propagator.extract(carrier),
            SpanKind.SERVER,
            {"http.response.status_code": status, "http.route": route, "hexbite.model": model},
            start_time=started_ns,
        )
        context = set_span_in_context(request)
        for stage, begun, ended in laps:
            span = self._tracer.start_span(
                _SPANS.get(stage, stage),
                context,
                attributes={"db.system.name": "postgresql"} if stage == "store" else {},
                start_time=started_ns + round((begun - started) * _NS),
            )
            span.end(started_ns + round((ended - started) * _NS))
        if status >= 500:
            request.set_status(Status(StatusCode.ERROR))
        request.end(started_ns + round(took_s * _NS))
        told = request.get_span_context()
        return format(told.trace_id, "032x") if told.trace_flags.sampled else None
