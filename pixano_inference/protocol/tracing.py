"""Traces of requests, from gateway to runner to the model's steps: OpenTelemetry, off until a tracer is installed.

The context travels in the ``traceparent`` header (W3C Trace Context), from callers that send one, and from the gateway
to its runners.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry.trace import Span, SpanKind, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_propagator = TraceContextTextMapPropagator()
_tracer: Tracer | None = None

Value = str | int | float


def install(tracer: Tracer | None) -> None:
    """Record spans with ``tracer`` from now on; null: none."""
    global _tracer
    _tracer = tracer


@contextmanager
def request_span(name: str, headers: Mapping[str, str]) -> Iterator[Span | None]:
    """Record the answering of a request, as part of the trace that its headers name."""
    if _tracer is None:
        yield None
        return
    context = _propagator.extract({name.lower(): value for name, value in headers.items()})
    with _tracer.start_as_current_span(name, context=context, kind=SpanKind.SERVER) as span:
        yield span


@contextmanager
def step_span(name: str) -> Iterator[None]:
    """Record a step of the current request."""
    if _tracer is None:
        yield
        return
    with _tracer.start_as_current_span(name):
        yield


def record_step(name: str, began: float, seconds: float, attributes: Mapping[str, Value] | None = None) -> None:
    """Record a step that is over.

    Args:
        name: Of the step.
        began: Value of :func:`time.monotonic` when it began.
        seconds: How long it took.
        attributes: Of the span.
    """
    if _tracer is None:
        return
    start_ns = time.time_ns() - int((time.monotonic() - began) * 1e9)
    span = _tracer.start_span(name, start_time=start_ns, attributes=dict(attributes or {}))
    span.end(end_time=start_ns + int(seconds * 1e9))


def trace_headers() -> dict[str, str]:
    """Return the headers that make a request to another process part of the current trace."""
    headers: dict[str, str] = {}
    if _tracer is not None:
        _propagator.inject(headers)
    return headers
