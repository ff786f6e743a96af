"""The Grafana dashboard of the gateway's metrics."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from .metrics import (
    BATCH_SIZE,
    CACHE_EVENTS,
    GPU_MEMORY,
    JOBS,
    MODEL_SECONDS,
    QUEUE_SECONDS,
    REQUEST_SECONDS,
    REQUESTS_IN_FLIGHT,
    REQUESTS_TOTAL,
    RUNNER_RESTARTS_TOTAL,
    RUNNER_UP,
)

# chosen at the top of the dashboard
_SCOPE = 'namespace="$namespace",model=~"$model"'
_WIDTH, _HEIGHT, _COLUMNS = 8, 8, 3


@dataclass(frozen=True)
class Panel:
    """One graph: title, unit as Grafana names it, what it tells, and (query, legend) pairs."""

    title: str
    unit: str
    description: str
    queries: tuple[tuple[str, str], ...]


def _quantile(quantile: float, metric: str) -> str:
    return f"histogram_quantile({quantile}, sum by (le, model) (rate({metric}_bucket{{{_SCOPE}}}[$__rate_interval])))"


PANELS = (
    Panel(
        "Requests",
        "reqps",
        "Requests answered, by model and status.",
        ((f"sum by (model, status) (rate({REQUESTS_TOTAL}{{{_SCOPE}}}[$__rate_interval]))", "{{model}} {{status}}"),),
    ),
    Panel(
        "In flight",
        "short",
        "Requests not answered yet: what runners scale on.",
        ((f"sum by (model) ({REQUESTS_IN_FLIGHT}{{{_SCOPE}}})", "{{model}}"),),
    ),
    Panel(
        "Replicas ready",
        "short",
        "Replicas of each model that the gateway can use.",
        ((f"max by (model) ({RUNNER_UP}{{{_SCOPE}}})", "{{model}}"),),
    ),
    Panel(
        "Time to answer",
        "s",
        "From request to answer, fetching and waiting included.",
        ((_quantile(0.5, REQUEST_SECONDS), "{{model}} p50"), (_quantile(0.95, REQUEST_SECONDS), "{{model}} p95")),
    ),
    Panel(
        "Time in the queue",
        "s",
        "Rising: more replicas are needed.",
        ((_quantile(0.5, QUEUE_SECONDS), "{{model}} p50"), (_quantile(0.95, QUEUE_SECONDS), "{{model}} p95")),
    ),
    Panel(
        "Time in the model",
        "s",
        "Rising: larger images, larger batches or a busy device.",
        ((_quantile(0.5, MODEL_SECONDS), "{{model}} p50"), (_quantile(0.95, MODEL_SECONDS), "{{model}} p95")),
    ),
    Panel(
        "Batch size",
        "short",
        "Requests that go through a model together, on average.",
        (
            (
                f"sum by (model) (rate({BATCH_SIZE}_sum{{{_SCOPE}}}[$__rate_interval])) / "
                f"sum by (model) (rate({BATCH_SIZE}_count{{{_SCOPE}}}[$__rate_interval]))",
                "{{model}}",
            ),
        ),
    ),
    Panel(
        "Embedding cache hits",
        "percentunit",
        "Share of images whose embedding was there already: all clicks but the first on each image.",
        (
            (
                f'sum by (model) ({CACHE_EVENTS}{{{_SCOPE},event="hits"}}) / '
                f'sum by (model) ({CACHE_EVENTS}{{{_SCOPE},event=~"hits|misses"}})',
                "{{model}}",
            ),
        ),
    ),
    Panel(
        "Embedding cache size",
        "bytes",
        "Memory that the caches hold, by replica.",
        ((f'sum by (model, replica) ({CACHE_EVENTS}{{{_SCOPE},event="bytes"}})', "{{model}} {{replica}}"),),
    ),
    Panel(
        "GPU memory",
        "bytes",
        "Memory in use on the GPUs of each replica, other processes' included, and what they have.",
        (
            (
                f'max by (model, replica, gpu) ({GPU_MEMORY}{{{_SCOPE},kind="used"}})',
                "{{model}} {{replica}} GPU {{gpu}}",
            ),
            (f'max by (model) ({GPU_MEMORY}{{{_SCOPE},kind="total"}})', "{{model}} of"),
        ),
    ),
    Panel(
        "Runners lost",
        "short",
        "How often a runner went away within an hour.",
        ((f"sum by (model) (increase({RUNNER_RESTARTS_TOTAL}{{{_SCOPE}}}[1h]))", "{{model}}"),),
    ),
    Panel(
        "Tracking jobs",
        "short",
        "Jobs by state.",
        ((f'sum by (state) ({JOBS}{{namespace="$namespace"}})', "{{state}}"),),
    ),
    Panel(
        "Refused",
        "reqps",
        "429: the queue of a model is full. 503: no replica is up, or one is waking.",
        (
            (
                f'sum by (model, status) (rate({REQUESTS_TOTAL}{{{_SCOPE},status=~"429|503"}}[$__rate_interval]))',
                "{{model}} {{status}}",
            ),
        ),
    ),
)


def dashboard() -> str:
    """Return the dashboard as JSON, as Grafana imports it."""
    return json.dumps(
        {
            "uid": "pixano-inference",
            "title": "Pixano Inference",
            "tags": ["pixano"],
            "schemaVersion": 39,
            "version": 1,
            "timezone": "browser",
            "refresh": "30s",
            "time": {"from": "now-3h", "to": "now"},
            "templating": {"list": _variables()},
            "panels": [_panel(index, panel) for index, panel in enumerate(PANELS)],
        },
        indent=2,
    )


def _variables() -> list[dict[str, Any]]:
    source = {"type": "prometheus", "uid": "${datasource}"}
    return [
        {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"},
        {
            "name": "namespace",
            "type": "query",
            "datasource": source,
            "query": f"label_values({RUNNER_UP}, namespace)",
            "refresh": 2,
        },
        {
            "name": "model",
            "type": "query",
            "datasource": source,
            "query": f'label_values({RUNNER_UP}{{namespace="$namespace"}}, model)',
            "refresh": 2,
            "multi": True,
            "includeAll": True,
        },
    ]


def _panel(index: int, panel: Panel) -> dict[str, Any]:
    row, column = divmod(index, _COLUMNS)
    return {
        "id": index + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.description,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "gridPos": {"x": column * _WIDTH, "y": row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + position), "expr": query, "legendFormat": legend}
            for position, (query, legend) in enumerate(panel.queries)
        ],
    }
