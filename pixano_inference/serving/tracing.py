"""Sending traces to a collector, where one is configured."""

from __future__ import annotations

import logging

from pixano_inference.configs.server_settings import server_settings
from pixano_inference.protocol import tracing

logger = logging.getLogger(__name__)


def configure_tracing(process: str) -> None:
    """Send this process's spans to the OTLP endpoint of the settings; without one, record none.

    Spans leave in batches from a thread of their own; a collector that is away costs spans, never requests.
    """
    endpoint = server_settings().otlp_endpoint
    if endpoint is None:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        logger.error("no traces are sent: install them with `pip install 'pixano-inference[tracing]'`")
        return
    provider = TracerProvider(resource=Resource.create({"service.name": f"pixano-inference-{process}"}))
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
    # the provider flushes what is left when the process ends
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracing.install(provider.get_tracer("pixano_inference"))
    logger.info("traces are sent to %s", endpoint)
