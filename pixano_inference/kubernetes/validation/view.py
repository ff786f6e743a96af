"""The parts of manifests that rules look at, whatever kind holds them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pixano_inference.kubernetes.manifest import Manifest

from .problem import where

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job")


@dataclass(frozen=True)
class Pod:
    """A pod that some object makes.

    Attributes:
        where: ``Kind/name`` of that object.
        kind: Its kind.
        namespace: Its namespace.
        labels: Labels of the pod.
        spec: The pod's spec; for an InferenceService its container is merged from service and runtime.
    """

    where: str
    kind: str
    namespace: str
    labels: dict[str, str]
    spec: dict[str, Any]

    @property
    def containers(self) -> list[dict[str, Any]]:
        """All containers, those that run at the start included."""
        return [*self.spec.get("initContainers", []), *self.spec.get("containers", [])]


def namespace_of(manifest: Manifest) -> str:
    """Return the namespace of an object; empty where it has none."""
    return str(manifest.get("metadata", {}).get("namespace", ""))


def name_of(manifest: Manifest) -> str:
    """Return the name of an object."""
    return str(manifest.get("metadata", {}).get("name", ""))


def of_kind(manifests: list[Manifest], *kinds: str) -> Iterator[Manifest]:
    """Return the objects of some kinds."""
    return (manifest for manifest in manifests if manifest.get("kind") in kinds)


def pods(manifests: list[Manifest]) -> list[Pod]:
    """Return the pods that workloads and InferenceServices make."""
    found = []
    for manifest in of_kind(manifests, *WORKLOADS):
        template = manifest.get("spec", {}).get("template", {})
        labels = template.get("metadata", {}).get("labels", {})
        found.append(Pod(where(manifest), manifest["kind"], namespace_of(manifest), labels, template.get("spec", {})))
    runtimes = {name_of(runtime): runtime for runtime in of_kind(manifests, "ClusterServingRuntime")}
    for manifest in of_kind(manifests, "InferenceService"):
        predictor = manifest.get("spec", {}).get("predictor", {})
        runtime = runtimes.get(predictor.get("model", {}).get("runtime", ""), {})
        container = _merged(predictor.get("model", {}), runtime)
        spec = {key: value for key, value in predictor.items() if key != "model"} | {"containers": [container]}
        found.append(Pod(where(manifest), manifest["kind"], namespace_of(manifest), predictor.get("labels", {}), spec))
    return found


def selects(selector: dict[str, Any] | None, labels: dict[str, str]) -> bool:
    """Return whether a label selector with ``matchLabels`` selects these labels; an empty one selects everything."""
    wanted = (selector or {}).get("matchLabels", {})
    return all(labels.get(key) == value for key, value in wanted.items())


def _merged(model: dict[str, Any], runtime: Manifest) -> dict[str, Any]:
    containers = runtime.get("spec", {}).get("containers", [{}])
    own = {key: value for key, value in model.items() if key not in ("modelFormat", "runtime", "args")}
    arguments = [*containers[0].get("args", []), *model.get("args", [])]
    return {**containers[0], **own, "args": arguments}
