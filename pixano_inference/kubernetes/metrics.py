"""Names of the gateway's metrics that scaling, alerts and the dashboard read.

A test holds them to the gateway's catalogue; they are written here so that rendering needs no server packages.
"""

from __future__ import annotations

REQUESTS_TOTAL = "pixano_requests_total"
REQUEST_SECONDS = "pixano_request_seconds"
REQUESTS_IN_FLIGHT = "pixano_requests_in_flight"
QUEUE_SECONDS = "pixano_queue_seconds"
MODEL_SECONDS = "pixano_model_seconds"
BATCH_SIZE = "pixano_batch_size"
CACHE_EVENTS = "pixano_cache_events"
GPU_MEMORY = "pixano_gpu_memory_bytes"
RUNNER_UP = "pixano_runner_up"
RUNNER_RESTARTS_TOTAL = "pixano_runner_restarts_total"
JOBS = "pixano_jobs"
