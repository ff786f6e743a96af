"""How gateway and runners are, read from Deployments, pods and scalers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import naming
from .manifest import Manifest
from .resources import GPU_RESOURCE

_COLUMNS = ("MODEL", "READY", "WANTED", "GPUS", "SCALER", "RESTARTS", "STATE", "IMAGE")


@dataclass(frozen=True)
class Workload:
    """The gateway or one model's runner.

    Attributes:
        name: Name of the Deployment.
        model: Name of the model; empty for the gateway.
        ready: Replicas that are ready.
        wanted: Replicas that there should be.
        updated: Replicas of the newest revision.
        scaler: Bounds of the scaler, or empty.
        gpus: GPUs of each replica.
        image: Image of its newest revision.
        restarts: Restarts of its containers.
        state: ``running``, ``asleep``, or why replicas are missing.
        current: Whether the controller has seen the newest revision.
    """

    name: str
    model: str
    ready: int
    wanted: int
    updated: int
    scaler: str
    gpus: str
    image: str
    restarts: int
    state: str
    current: bool

    @property
    def complete(self) -> bool:
        """Whether every wanted replica is ready and of the newest revision."""
        return self.current and self.ready >= self.wanted and self.updated >= self.wanted


def workload(deployment: Manifest, pods: Sequence[Manifest], scalers: Sequence[Manifest]) -> Workload:
    """Return a Deployment's state.

    Args:
        deployment: The Deployment.
        pods: All pods of the namespace.
        scalers: All HPAs and ScaledObjects of the namespace.
    """
    metadata, status = deployment["metadata"], deployment.get("status") or {}
    chosen = deployment["spec"]["selector"]["matchLabels"]
    own = [pod for pod in pods if chosen.items() <= (pod["metadata"].get("labels") or {}).items()]
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    wanted, ready = deployment["spec"].get("replicas", 1), status.get("readyReplicas") or 0
    return Workload(
        name=metadata["name"],
        model=(metadata.get("annotations") or {}).get(naming.MODEL_ANNOTATION, ""),
        ready=ready,
        wanted=wanted,
        updated=status.get("updatedReplicas") or 0,
        scaler=_bounds(metadata["name"], scalers),
        gpus=str((container.get("resources") or {}).get("limits", {}).get(GPU_RESOURCE, "")),
        image=container["image"],
        restarts=sum(entry.get("restartCount", 0) for pod in own for entry in _containers(pod)),
        state=_state(ready, wanted, own),
        current=(status.get("observedGeneration") or 0) >= (metadata.get("generation") or 0),
    )


def table(workloads: Sequence[Workload]) -> str:
    """Return one line per workload, the gateway first."""
    ordered = sorted(workloads, key=lambda entry: (entry.model != "", entry.model))
    rows = [
        (
            entry.model or "(gateway)",
            str(entry.ready),
            str(entry.wanted),
            entry.gpus or "-",
            entry.scaler or "-",
            str(entry.restarts),
            entry.state,
            entry.image.rpartition("/")[2],
        )
        for entry in ordered
    ]
    widths = [max(len(row[column]) for row in (_COLUMNS, *rows)) for column in range(len(_COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (_COLUMNS, *rows)]
    return "\n".join(line.rstrip() for line in lines)


def _bounds(name: str, scalers: Sequence[Manifest]) -> str:
    for scaler in scalers:
        spec = scaler["spec"]
        if spec.get("scaleTargetRef", {}).get("name") == name:
            if scaler["kind"] == "ScaledObject":
                return f"KEDA {spec.get('minReplicaCount', 0)}-{spec.get('maxReplicaCount', 100)}"
            return f"HPA {spec.get('minReplicas', 1)}-{spec['maxReplicas']}"
    return ""


def _state(ready: int, wanted: int, pods: Sequence[Manifest]) -> str:
    if wanted == 0:
        return "asleep"
    if ready >= wanted:
        return "running"
    for pod in pods:
        for container in _containers(pod):
            waiting = (container.get("state") or {}).get("waiting")
            last = (container.get("lastState") or {}).get("terminated")
            if waiting:
                ended = f" (ended before: {last.get('reason')}, exit {last.get('exitCode')})" if last else ""
                return f"{waiting.get('reason', 'waiting')}{ended}"
    for pod in pods:
        for condition in (pod.get("status") or {}).get("conditions") or []:
            if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
                return f"{condition.get('reason', 'Unschedulable')}: {condition.get('message', '')}"[:160]
    return "starting: the model is being loaded" if pods else "no pods yet"


def _containers(pod: Manifest) -> list[Manifest]:
    entries: list[Manifest] = (pod.get("status") or {}).get("containerStatuses") or []
    return entries
