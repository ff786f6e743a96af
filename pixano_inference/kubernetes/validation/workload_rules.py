"""Rules about pods and the workloads that make them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pixano_inference.kubernetes.manifest import Manifest
from pixano_inference.kubernetes.naming import USER_ID

from .problem import Problem, where
from .view import Pod, of_kind, pods, selects

_PORT_NAME = re.compile(r"^(?!.*--)[a-z0-9]([a-z0-9-]*[a-z0-9])?$")
_LONGEST_PORT_NAME = 15
_PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
_QUANTITY = re.compile(r"^(\d+(?:\.\d+)?)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$")
_UNITS = {"m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
_UNITS |= {f"{unit}i": 1024.0**power for power, unit in enumerate("KMGTP", start=1)}


def selector_matches_template(manifests: list[Manifest]) -> Iterator[Problem]:
    """A workload's selector selects the pods of its own template."""
    for manifest in of_kind(manifests, "Deployment", "StatefulSet", "DaemonSet"):
        spec = manifest["spec"]
        labels = spec.get("template", {}).get("metadata", {}).get("labels", {})
        if not spec.get("selector", {}).get("matchLabels") or not selects(spec["selector"], labels):
            yield Problem("selector", where(manifest), "its selector does not select the pods of its own template")


def restricted_pods(manifests: list[Manifest]) -> Iterator[Problem]:
    """Every pod keeps to the Pod Security Standard "restricted", with a read-only root."""
    for pod in pods(manifests):
        security = pod.spec.get("securityContext", {})
        if pod.spec.get("automountServiceAccountToken") is not False:
            yield Problem("token", pod.where, "automountServiceAccountToken must be false")
        for field in ("hostNetwork", "hostPID", "hostIPC"):
            if pod.spec.get(field):
                yield Problem("host", pod.where, f"{field} must not be set")
        if security.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
            yield Problem("seccomp", pod.where, "securityContext.seccompProfile.type must be RuntimeDefault")
        if security.get("runAsUser", USER_ID) == 0:
            yield Problem("root", pod.where, "runAsUser must not be 0")
        for container in pod.containers:
            yield from _restricted_container(pod, security, container)


def resources_in_order(manifests: list[Manifest]) -> Iterator[Problem]:
    """Requests do not exceed limits, GPUs are whole and requested as limited, memory is requested."""
    for pod in pods(manifests):
        for container in pod.containers:
            resources = container.get("resources", {})
            requests, limits = resources.get("requests", {}), resources.get("limits", {})
            place = f"container {container.get('name')!r}"
            if "memory" not in requests or "cpu" not in requests:
                yield Problem("requests", pod.where, f"{place} must request cpu and memory")
            for name in requests.keys() | limits.keys():
                requested, limit = _amount(requests.get(name)), _amount(limits.get(name))
                extended = "/" in name
                if extended and requests.get(name) != limits.get(name):
                    yield Problem("gpu", pod.where, f"{place}: request and limit of {name} must be the same")
                elif extended and limit is not None and limit != int(limit):
                    yield Problem("gpu", pod.where, f"{place}: {name} must be a whole number, got {limits[name]}")
                elif requested is not None and limit is not None and requested > limit:
                    yield Problem("limits", pod.where, f"{place}: request of {name} exceeds its limit")


def ports_and_probes(manifests: list[Manifest]) -> Iterator[Problem]:
    """Port names are legal and unique, probes name ports that exist, and the three probes are told apart."""
    for pod in pods(manifests):
        for container in pod.spec.get("containers", []):
            ports = {port.get("name"): port.get("containerPort") for port in container.get("ports", [])}
            if len(ports) != len(container.get("ports", [])):
                yield Problem("port-name", pod.where, "port names must be unique within a container")
            yield from (_port_name(pod.where, name) for name in ports if name is not None and not legal_port_name(name))
            if pod.kind == "Job":
                continue
            for probe in _PROBES:
                if probe not in container:
                    yield Problem("probe", pod.where, f"container {container.get('name')!r} has no {probe}")
                    continue
                port = container[probe].get("httpGet", {}).get("port")
                if port not in ports and port not in ports.values():
                    yield Problem("probe-port", pod.where, f"{probe} asks port {port!r}, which is not declared")


def graceful_stop(manifests: list[Manifest]) -> Iterator[Problem]:
    """A pod drains before it stops, and has the time for it."""
    for pod in pods(manifests):
        if pod.kind == "Job":
            continue
        grace = pod.spec.get("terminationGracePeriodSeconds", 30)
        for container in pod.spec.get("containers", []):
            seconds = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds")
            if seconds is None:
                yield Problem("drain", pod.where, f"container {container.get('name')!r} has no preStop drain")
            elif seconds >= grace:
                yield Problem("drain", pod.where, f"preStop takes {seconds} s of a grace period of {grace} s")


def volumes_and_mounts(manifests: list[Manifest]) -> Iterator[Problem]:
    """Mounts name volumes that exist, and no two share a path."""
    for pod in pods(manifests):
        names = [volume.get("name") for volume in pod.spec.get("volumes", [])]
        if len(names) != len(set(names)):
            yield Problem("volume", pod.where, "volume names must be unique")
        for container in pod.containers:
            paths = [mount.get("mountPath") for mount in container.get("volumeMounts", [])]
            if len(paths) != len(set(paths)):
                yield Problem("mount", pod.where, f"container {container.get('name')!r} mounts a path twice")
            for mount in container.get("volumeMounts", []):
                if mount.get("name") not in names:
                    yield Problem("mount", pod.where, f"there is no volume {mount.get('name')!r} to mount")


def environment_names(manifests: list[Manifest]) -> Iterator[Problem]:
    """No variable is set twice: the later one would win silently."""
    for pod in pods(manifests):
        for container in pod.containers:
            names = [variable.get("name") for variable in container.get("env", [])]
            for name in sorted({name for name in names if names.count(name) > 1}):
                yield Problem("env", pod.where, f"container {container.get('name')!r} sets {name} twice")


def images_pinned(manifests: list[Manifest]) -> Iterator[Problem]:
    """Images have a tag or a digest, and the tag is not ``latest``."""
    for pod in pods(manifests):
        for container in pod.containers:
            image = container.get("image", "")
            last = image.rsplit("/", 1)[-1]
            if ":" not in last or last.endswith(":latest"):
                yield Problem("image", pod.where, f"image {image!r} must have a tag other than latest, or a digest")


def legal_port_name(name: str) -> bool:
    """Return whether a port may have this name (RFC 6335: a letter, at most 15 characters)."""
    return len(name) <= _LONGEST_PORT_NAME and bool(_PORT_NAME.match(name)) and any(c.isalpha() for c in name)


def _port_name(place: str, name: str) -> Problem:
    return Problem("port-name", place, f"port name {name!r} must be 1 to 15 lower-case letters, digits and hyphens")


def _restricted_container(pod: Pod, security: dict[str, Any], container: dict[str, Any]) -> Iterator[Problem]:
    own = container.get("securityContext", {})
    place = f"container {container.get('name')!r}"
    if own.get("runAsNonRoot", security.get("runAsNonRoot")) is not True:
        yield Problem("root", pod.where, f"{place} must have runAsNonRoot: true")
    if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
        yield Problem("privilege", pod.where, f"{place} must have allowPrivilegeEscalation: false")
    if own.get("capabilities", {}).get("drop") != ["ALL"] or own.get("capabilities", {}).get("add"):
        yield Problem("capabilities", pod.where, f"{place} must drop ALL capabilities and add none")
    if own.get("readOnlyRootFilesystem") is not True:
        yield Problem("read-only", pod.where, f"{place} must have readOnlyRootFilesystem: true")


def _amount(quantity: object) -> float | None:
    match = _QUANTITY.match(str(quantity)) if quantity is not None else None
    return float(match[1]) * _UNITS[match[2] or ""] if match else None
