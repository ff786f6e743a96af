"""Writes the pages under docs/operators/ that are made from the code; a test fails when they are stale."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from prometheus_client.metrics import MetricWrapperBase

from pixano_inference.configs.server_settings import ServerSettings
from pixano_inference.gateway import metrics

ROOT = Path(__file__).resolve().parents[1]
_NOTE = "<!-- written by scripts/render_docs.py -->\n\n"

_SECRETS = {"api_keys", "api_keys_file", "runner_secret"}
_LABELS = {
    "capability": "`segmentation`, `detection`, `tracking` or `vlm`",
    "event": "`hits`, `misses`, `evictions`, `bytes`",
    "gpu": "GPU of a runner, as `CUDA_VISIBLE_DEVICES` names it",
    "kind": "`used`, `total`",
    "model": "name of a deployed model, or empty",
    "replica": "address of a runner; `local-0` and so on for those beside the gateway",
    "route": "template of a route, such as `/inference/segmentation/`; `(none)` for unknown paths",
    "state": "state of a job",
    "status": "HTTP status; 499 for a caller that went away",
}


def settings_page() -> str:
    """Describe the environment variables."""
    rows = []
    for name, field in ServerSettings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        shown = "none" if default in (None, [], "") else str(default).lower() if isinstance(default, bool) else default
        secret = "; a secret" if name in _SECRETS else ""
        rows.append(f"| `PIXANO_{name.upper()}` | {shown} | {_text(field.description)}{secret} |")
    return (
        "# Settings of the server\n\n"
        + _NOTE
        + "Environment variables, read at start. What concerns one model (queue, batch, time limit, replicas) is in\n"
        "its `DeploymentConfig` instead. A bound that is passed is answered with 413 or 422,\n"
        "and says which one it was.\n\n"
        "| variable | default | meaning |\n| --- | --- | --- |\n" + "\n".join(rows) + "\n"
    )


def metrics_page() -> str:
    """Describe the metrics."""
    rows = []
    labels: set[str] = set()
    for metric in metrics.CATALOGUE:
        family = next(iter(metric.describe()))
        name = f"{family.name}_total" if family.type == "counter" else family.name
        names = _label_names(metric)
        labels |= set(names)
        cells = (f"`{name}`", family.type, ", ".join(f"`{label}`" for label in names), _text(family.documentation))
        rows.append(f"| {' | '.join(cells)} |")
    explained = "\n".join(f"| `{label}` | {_LABELS[label]} |" for label in sorted(labels))
    return (
        "# Metrics\n\n"
        + _NOTE
        + "`GET /metrics` of the gateway, in Prometheus' text format. Labels are bounded: routes are templates, and\n"
        "models are deployed ones, so that no caller can make new series. Histograms have `_bucket`,\n"
        "`_sum` and `_count`.\n\n"
        "| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n" + "\n".join(rows) + "\n\n"
        "| label | values |\n| --- | --- |\n" + explained + "\n"
    )


def _label_names(metric: MetricWrapperBase) -> tuple[str, ...]:
    names: Any = getattr(metric, "_labelnames", ())
    return tuple(names)


def _text(text: str | None) -> str:
    return re.sub(r"\s+", " ", (text or "").replace("|", "\\|").replace("<", "&lt;"))


PAGES = {"settings.md": settings_page, "metrics.md": metrics_page}

if __name__ == "__main__":
    for page, render in PAGES.items():
        (ROOT / "docs" / "operators" / page).write_text(render(), encoding="utf-8")
        print(f"docs/operators/{page}")
