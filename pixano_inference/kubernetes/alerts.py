"""Alerts on the gateway's metrics, each with what it means and what to do."""

from __future__ import annotations

from dataclasses import dataclass

from pixano_inference.model_sets import ModelSet, ResolvedModel

from .metrics import JOBS, QUEUE_SECONDS, REQUEST_SECONDS, REQUESTS_IN_FLIGHT, REQUESTS_TOTAL, RUNNER_RESTARTS_TOTAL
from .metrics import RUNNER_UP as UP
from .options import RenderOptions


@dataclass(frozen=True)
class Alert:
    """One alert.

    Attributes:
        name: Its name in CamelCase.
        expression: PromQL that has a result while something is wrong.
        wait: How long it must be wrong.
        severity: ``critical``: annotators cannot work; ``warning``: soon, or worse than promised.
        summary: What happens, for whom.
        action: Where to look first.
    """

    name: str
    expression: str
    wait: str
    severity: str
    summary: str
    action: str


def alerts(model_set: ModelSet, options: RenderOptions) -> list[Alert]:
    """Return the alerts of a model set; thresholds come from each model's deployment."""
    scope = f'namespace="{options.namespace}"'
    always_up = "|".join(m.name.replace(".", "\\\\.") for m in model_set.models if m.deployment.min_replicas > 0)
    found = [
        Alert(
            "PixanoGatewayAbsent",
            f"absent({UP}{{{scope}}})",
            "5m",
            "critical",
            "No gateway exports metrics: nobody can annotate with a model.",
            "kubectl -n NAMESPACE get pods; then the logs of the gateway.",
        ),
        Alert(
            "PixanoServerErrors",
            f'sum by (model) (rate({REQUESTS_TOTAL}{{{scope},status=~"500|502|504"}}[5m])) '
            f"/ sum by (model) (rate({REQUESTS_TOTAL}{{{scope}}}[5m])) > 0.05",
            "10m",
            "critical",
            "More than 5 % of the requests for {{ $labels.model }} fail.",
            "The log of the runner has the reason under the request id that the answer names.",
        ),
        Alert(
            "PixanoRefusedRequests",
            f'sum by (model) (rate({REQUESTS_TOTAL}{{{scope},status="429"}}[5m])) > 0.1',
            "10m",
            "warning",
            "Requests for {{ $labels.model }} are refused because its queue is full.",
            "Raise max_replicas, or see why the scaler does not add replicas.",
        ),
        Alert(
            "PixanoRunnerRestarts",
            f"sum by (model) (increase({RUNNER_RESTARTS_TOTAL}{{{scope}}}[30m])) > 3",
            "1m",
            "warning",
            "Runners of {{ $labels.model }} were lost more than three times in half an hour.",
            "kubectl describe pod: OOMKilled means memory_mb is too small; otherwise kubectl logs --previous.",
        ),
        Alert(
            "PixanoJobsWaiting",
            f'sum({JOBS}{{{scope},state="queued"}}) > 20',
            "15m",
            "warning",
            "More than 20 tracking jobs wait for a quarter of an hour.",
            "Tracking takes a replica for minutes: raise max_replicas of the tracking model.",
        ),
    ]
    if always_up:
        found.insert(
            1,
            Alert(
                "PixanoModelDown",
                f'max by (model) ({UP}{{{scope},model=~"{always_up}"}}) == 0',
                "5m",
                "critical",
                "No replica of {{ $labels.model }} answers.",
                "/ready of the gateway tells the reason; then the runner's pods and logs.",
            ),
        )
    for model in model_set.models:
        found += _alerts_of(model, scope)
    return found


def _alerts_of(model: ResolvedModel, scope: str) -> list[Alert]:
    deployment, chosen = model.deployment, f'{scope},model="{model.name}"'
    name = "".join(part.capitalize() for part in "".join(c if c.isalnum() else " " for c in model.name).split())
    capacity = deployment.max_replicas * deployment.target_num_ongoing_requests_per_replica
    # the answer must come while a person still waits for it, and well before the time limit cuts it off
    slow_s = f"{min(deployment.timeout_s / 2, 30):g}"
    return [
        Alert(
            f"PixanoSaturated{name}",
            f"sum({REQUESTS_IN_FLIGHT}{{{chosen}}}) > {2 * capacity}",
            "10m",
            "warning",
            f"{model.name} has twice the requests in flight that {deployment.max_replicas} replicas are meant for.",
            "Raise max_replicas; more GPUs may be needed.",
        ),
        Alert(
            f"PixanoSlow{name}",
            f"histogram_quantile(0.95, sum by (le) (rate({QUEUE_SECONDS}_bucket{{{chosen}}}[10m]))) > 5 or "
            f"histogram_quantile(0.5, sum by (le) (rate({REQUEST_SECONDS}_bucket{{{chosen}}}[10m]))) > {slow_s}",
            "15m",
            "warning",
            f"Requests for {model.name} wait more than 5 s in the queue, or half of them take more than {slow_s} s.",
            "Compare queue and model time on the dashboard: the queue asks for replicas, the model for a better GPU.",
        ),
    ]
