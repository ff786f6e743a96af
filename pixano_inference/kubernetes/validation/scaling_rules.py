"""Rules about autoscalers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pixano_inference.kubernetes.manifest import Manifest
from pixano_inference.kubernetes.naming import GATEWAY

from .problem import Problem, where
from .view import name_of, of_kind


def autoscaler_bounds(manifests: list[Manifest]) -> Iterator[Problem]:
    """Bounds are in order, and only KEDA scales to zero."""
    for scaler in of_kind(manifests, "HorizontalPodAutoscaler"):
        spec = scaler["spec"]
        fewest, most = spec.get("minReplicas", 1), spec.get("maxReplicas", 0)
        if fewest > most:
            yield Problem("bounds", where(scaler), f"minReplicas {fewest} exceeds maxReplicas {most}")
        if fewest < 1:
            yield Problem("bounds", where(scaler), "an HPA cannot scale to zero; use the keda overlay")
    for scaler in of_kind(manifests, "ScaledObject"):
        spec = scaler["spec"]
        if spec.get("minReplicaCount", 0) > spec.get("maxReplicaCount", 100):
            yield Problem("bounds", where(scaler), "minReplicaCount exceeds maxReplicaCount")
    for service in of_kind(manifests, "InferenceService"):
        predictor = service["spec"]["predictor"]
        if predictor.get("minReplicas", 1) > predictor.get("maxReplicas", 1):
            yield Problem("bounds", where(service), "minReplicas exceeds maxReplicas")


def autoscaler_targets(manifests: list[Manifest]) -> Iterator[Problem]:
    """A scaler's target exists, has one scaler only, and says no number of replicas of its own."""
    deployments = {name_of(manifest): manifest for manifest in of_kind(manifests, "Deployment")}
    seen: dict[str, str] = {}
    for scaler in of_kind(manifests, "HorizontalPodAutoscaler", "ScaledObject"):
        target = scaler["spec"].get("scaleTargetRef", {})
        name = target.get("name", "")
        if target.get("kind") != "Deployment" or name not in deployments:
            yield Problem("scale-target", where(scaler), f"there is no {target.get('kind')} {name!r}")
            continue
        if name in seen:
            yield Problem("two-scalers", where(scaler), f"{seen[name]} scales Deployment {name!r} too")
        seen[name] = where(scaler)
        if "replicas" in deployments[name]["spec"]:
            yield Problem(
                "replicas", where(scaler), f"Deployment {name!r} sets replicas, which every apply would reset"
            )


def runners_scale_on_requests(manifests: list[Manifest]) -> Iterator[Problem]:
    """Only the gateway scales on CPU or memory."""
    for scaler in of_kind(manifests, "HorizontalPodAutoscaler"):
        target = scaler["spec"].get("scaleTargetRef", {}).get("name")
        resources = [metric for metric in scaler["spec"].get("metrics", []) if metric.get("type") == "Resource"]
        if target != GATEWAY and (resources or not scaler["spec"].get("metrics")):
            yield Problem("cpu-scaling", where(scaler), "a runner scales on its requests in flight, not on CPU")
    for service in of_kind(manifests, "InferenceService"):
        annotations = service["metadata"].get("annotations", {})
        if annotations.get("serving.kserve.io/autoscalerClass") not in ("keda", "external", "none"):
            yield Problem(
                "cpu-scaling", where(service), "KServe's default autoscaler scales on CPU; name another class"
            )


def stabilization_windows(manifests: list[Manifest]) -> Iterator[Problem]:
    """An autoscaler waits at most an hour."""
    for scaler in of_kind(manifests, "HorizontalPodAutoscaler", "ScaledObject"):
        for direction, rules in _behavior(scaler).items():
            window = rules.get("stabilizationWindowSeconds", 0)
            if not 0 <= window <= 3600:
                yield Problem("window", where(scaler), f"{direction}: {window} s must be from 0 to 3600")


def _behavior(scaler: Manifest) -> dict[str, Any]:
    spec = scaler["spec"]
    if scaler["kind"] == "ScaledObject":
        spec = spec.get("advanced", {}).get("horizontalPodAutoscalerConfig", {})
    behavior: dict[str, Any] = spec.get("behavior", {})
    return behavior
