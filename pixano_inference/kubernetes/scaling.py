"""How runners and gateway get more and fewer replicas.

Runners scale on the requests in flight that the gateway counts for them, never on CPU: a runner whose GPU is full may
have an idle CPU. Only the gateway scales on CPU.
"""

from __future__ import annotations

import math
from typing import Any

from kubernetes import client as k8s

from pixano_inference.configs import DeploymentConfig
from pixano_inference.errors import ConfigError
from pixano_inference.model_sets import ModelSet, ResolvedModel

from . import naming, pods
from .manifest import Manifest
from .metrics import REQUESTS_IN_FLIGHT, REQUESTS_TOTAL
from .options import RenderOptions

_LONGEST_STABILIZATION_S = 3600
_GATEWAY_CPU_PERCENT = 70
HA_REPLICAS = (2, 6)
"""Fewest and most gateways of the ha overlay."""


def fixed_replicas(model: ResolvedModel) -> int | None:
    """Return the replicas of a runner that nothing scales; None where a scaler decides."""
    deployment = model.deployment
    return None if _fewest(deployment) < deployment.max_replicas else deployment.max_replicas


def runner_autoscaler(
    model: ResolvedModel, model_set: ModelSet, options: RenderOptions
) -> k8s.V2HorizontalPodAutoscaler | None:
    """Return the HPA of a runner; None where the number of replicas is fixed.

    An HPA does not scale to zero: ``min_replicas=0`` is one replica here, and zero with the keda overlay.

    Raises:
        ConfigError: A delay is longer than an HPA can wait.
    """
    if fixed_replicas(model) is not None:
        return None
    name, deployment = naming.runner_name(model), model.deployment
    return k8s.V2HorizontalPodAutoscaler(
        api_version="autoscaling/v2",
        kind="HorizontalPodAutoscaler",
        metadata=pods.metadata(name, model_set, "runner", options, model=model),
        spec=k8s.V2HorizontalPodAutoscalerSpec(
            scale_target_ref=k8s.V2CrossVersionObjectReference(api_version="apps/v1", kind="Deployment", name=name),
            min_replicas=_fewest(deployment),
            max_replicas=deployment.max_replicas,
            metrics=[
                k8s.V2MetricSpec(
                    type="Object",
                    object=k8s.V2ObjectMetricSource(
                        described_object=k8s.V2CrossVersionObjectReference(
                            api_version="v1", kind="Service", name=naming.GATEWAY
                        ),
                        metric=k8s.V2MetricIdentifier(
                            name=REQUESTS_IN_FLIGHT,
                            selector=k8s.V1LabelSelector(match_labels={"model": model.name}),
                        ),
                        # AverageValue divides by the replicas: so many requests for each
                        target=k8s.V2MetricTarget(
                            type="AverageValue",
                            average_value=str(deployment.target_num_ongoing_requests_per_replica),
                        ),
                    ),
                )
            ],
            behavior=behavior(model),
        ),
    )


def behavior(model: ResolvedModel) -> k8s.V2HorizontalPodAutoscalerBehavior:
    """Return the delays of a model as stabilization windows.

    Raises:
        ConfigError: A delay is longer than an HPA can wait.
    """
    deployment = model.deployment
    return k8s.V2HorizontalPodAutoscalerBehavior(
        scale_up=k8s.V2HPAScalingRules(
            stabilization_window_seconds=_window_s(model, "upscale_delay_s"),
            policies=[
                k8s.V2HPAScalingPolicy(type="Pods", value=max(1, deployment.max_replicas // 4), period_seconds=15),
                k8s.V2HPAScalingPolicy(type="Percent", value=100, period_seconds=15),
            ],
            select_policy="Max",
        ),
        scale_down=k8s.V2HPAScalingRules(
            stabilization_window_seconds=_window_s(model, "downscale_delay_s"),
            policies=[k8s.V2HPAScalingPolicy(type="Percent", value=50, period_seconds=60)],
            select_policy="Max",
        ),
    )


def gateway_autoscaler(model_set: ModelSet, options: RenderOptions) -> k8s.V2HorizontalPodAutoscaler:
    """Return the HPA of the gateway, which works on CPU alone."""
    fewest, most = HA_REPLICAS
    return k8s.V2HorizontalPodAutoscaler(
        api_version="autoscaling/v2",
        kind="HorizontalPodAutoscaler",
        metadata=pods.metadata(naming.GATEWAY, model_set, "gateway", options),
        spec=k8s.V2HorizontalPodAutoscalerSpec(
            scale_target_ref=k8s.V2CrossVersionObjectReference(
                api_version="apps/v1", kind="Deployment", name=naming.GATEWAY
            ),
            min_replicas=fewest,
            max_replicas=most,
            metrics=[
                k8s.V2MetricSpec(
                    type="Resource",
                    resource=k8s.V2ResourceMetricSource(
                        name="cpu",
                        target=k8s.V2MetricTarget(type="Utilization", average_utilization=_GATEWAY_CPU_PERCENT),
                    ),
                )
            ],
        ),
    )


def demand_query(model: ResolvedModel, options: RenderOptions) -> str:
    """Return the Prometheus query that wakes and scales a runner.

    Requests in flight, and those refused in the last minute because no replica was up: they are gone at once and would
    otherwise never wake anybody.
    """
    chosen = f'namespace="{options.namespace}",model="{model.name}"'
    return (
        f"(sum({REQUESTS_IN_FLIGHT}{{{chosen}}}) or vector(0)) + "
        f'(sum(increase({REQUESTS_TOTAL}{{{chosen},status="503"}}[1m])) or vector(0))'
    )


def scaled_object(model: ResolvedModel, model_set: ModelSet, options: RenderOptions, scaled: Any) -> Manifest:
    """Return the KEDA ScaledObject of a runner.

    Args:
        model: The model.
        model_set: Its set.
        options: Namespace and address of Prometheus.
        scaled: The HPA behavior as plain values.
    """
    deployment, name = model.deployment, naming.runner_name(model)
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {
            "name": name,
            "namespace": options.namespace,
            "labels": naming.labels(model_set, "runner", model),
        },
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicaCount": deployment.min_replicas,
            "maxReplicaCount": deployment.max_replicas,
            "pollingInterval": 5,
            # from one replica to none; between more than that the behavior's window counts
            "cooldownPeriod": math.ceil(deployment.downscale_delay_s),
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": scaled}},
            "triggers": [
                {
                    "type": "prometheus",
                    "metricType": "AverageValue",
                    "metadata": {
                        "serverAddress": options.prometheus,
                        "query": demand_query(model, options),
                        "threshold": str(deployment.target_num_ongoing_requests_per_replica),
                        "activationThreshold": "0",
                    },
                }
            ],
        },
    }


def _fewest(deployment: DeploymentConfig) -> int:
    return max(1, deployment.min_replicas)


def _window_s(model: ResolvedModel, field: str) -> int:
    delay_s: float = getattr(model.deployment, field)
    seconds = math.ceil(delay_s)
    if seconds > _LONGEST_STABILIZATION_S:
        raise ConfigError(
            f"model {model.name!r}: {field}={seconds} cannot be deployed: a Kubernetes autoscaler waits at most "
            f"{_LONGEST_STABILIZATION_S} seconds"
        )
    return seconds
