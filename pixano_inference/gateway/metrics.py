"""The metrics of the gateway: one catalogue, from which docs, dashboards and alerts are held to what is exported."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

REGISTRY = CollectorRegistry(auto_describe=True)

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_SIZES = (1, 2, 4, 8, 16, 32, 64)

REQUESTS = Counter(
    "pixano_requests",
    "Requests answered, by route template; model and capability are empty where a request named no deployed model",
    ["route", "model", "capability", "status"],
    registry=REGISTRY,
)
REQUEST_SECONDS = Histogram(
    "pixano_request_seconds", "Time from request to answer", ["route", "model"], buckets=_SECONDS, registry=REGISTRY
)
IN_FLIGHT = Gauge(
    "pixano_requests_in_flight",
    "Requests that a model has not answered yet, those that wait for a runner to wake included; runners scale on it",
    ["model"],
    registry=REGISTRY,
)
QUEUE_SECONDS = Histogram(
    "pixano_queue_seconds",
    "Time that a request waited in its runner's queue; tracking jobs do not count",
    ["model"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
MODEL_SECONDS = Histogram(
    "pixano_model_seconds",
    "Time that the model worked on a request's batch, or was held by a stream; tracking jobs do not count",
    ["model"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
BATCH_SIZE = Histogram(
    "pixano_batch_size",
    "Requests that shared a batch; a stream has the model for itself",
    ["model"],
    buckets=_SIZES,
    registry=REGISTRY,
)
CACHE_EVENTS = Gauge(
    "pixano_cache_events",
    "Events of the embedding caches of a model's replicas since they started: hits, misses, evictions, bytes",
    ["model", "replica", "event"],
    registry=REGISTRY,
)
GPU_MEMORY = Gauge(
    "pixano_gpu_memory_bytes",
    "Memory of the GPUs that a model's replicas work on, as the GPU tells it: what other processes use is in it",
    ["model", "replica", "gpu", "kind"],
    registry=REGISTRY,
)
RUNNER_UP = Gauge("pixano_runner_up", "Replicas of a model that are ready", ["model"], registry=REGISTRY)
RUNNER_RESTARTS = Counter(
    "pixano_runner_restarts", "How often a runner of a model was lost", ["model"], registry=REGISTRY
)
JOBS = Gauge("pixano_jobs", "Tracking jobs by state", ["state"], registry=REGISTRY)

CATALOGUE = (
    REQUESTS,
    REQUEST_SECONDS,
    IN_FLIGHT,
    QUEUE_SECONDS,
    MODEL_SECONDS,
    BATCH_SIZE,
    CACHE_EVENTS,
    GPU_MEMORY,
    RUNNER_UP,
    RUNNER_RESTARTS,
    JOBS,
)


def exposition() -> bytes:
    """Return all metrics in Prometheus' text format."""
    return generate_latest(REGISTRY)
