"""The validator finds what is wrong: manifests that were right, each broken in one way."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pixano_inference.kubernetes import validation
from pixano_inference.kubernetes.manifest import Manifest
from pixano_inference.kubernetes.render import Rendered
from pixano_inference.kubernetes.validation import check

FOLDER = Path(validation.__file__).parent
OVERLAYS = ("ha", "monitoring", "ingress", "gateway-api")
Objects = dict[tuple[str, str], Manifest]


def _container(objects: Objects, name: str = "gateway") -> dict[str, Any]:
    container: dict[str, Any] = _pod(objects, name)["containers"][0]
    return container


def _pod(objects: Objects, name: str = "gateway") -> dict[str, Any]:
    pod: dict[str, Any] = objects["Deployment", name]["spec"]["template"]["spec"]
    return pod


def _set(path: str, value: object) -> Callable[[Objects], None]:
    """Set ``Kind/name/key/.../key`` to a value; None deletes."""

    def change(objects: Objects) -> None:
        kind, name, *keys, last = path.split("/")
        last = last.replace("~1", "/")
        target: Any = objects[kind, name]
        for key in keys:
            key = key.replace("~1", "/")
            target = target[int(key) if isinstance(target, list) else key]
        if value is None:
            del target[last]
        else:
            target[int(last) if isinstance(target, list) else last] = value

    return change


def _add_env(objects: Objects) -> None:
    _container(objects)["env"].append({"name": "HOME", "value": "/root"})


def _second_scaler(objects: Objects) -> None:
    second = copy.deepcopy(objects["HorizontalPodAutoscaler", "runner-scaled-cpu"])
    second["metadata"]["name"] = "another"
    objects["HorizontalPodAutoscaler", "another"] = second


def _cpu_scaled_runner(objects: Objects) -> None:
    cpu = objects["HorizontalPodAutoscaler", "gateway"]["spec"]["metrics"]
    objects["HorizontalPodAutoscaler", "runner-scaled-cpu"]["spec"]["metrics"] = cpu


def _mounted_twice(objects: Objects) -> None:
    mounts = _container(objects)["volumeMounts"]
    mounts.append(dict(mounts[0]))


def _volume_twice(objects: Objects) -> None:
    _pod(objects)["volumes"].append({"name": "data", "emptyDir": {}})


def _mount_of_nothing(objects: Objects) -> None:
    _container(objects)["volumeMounts"].append({"name": "nothing", "mountPath": "/nothing"})


def _delete(kind: str, name: str) -> Callable[[Objects], None]:
    def change(objects: Objects) -> None:
        del objects[kind, name]

    return change


POD = "Deployment/runner-scaled-cpu/spec/template/spec"
BROKEN: dict[str, tuple[str, Callable[[Objects], None]]] = {
    "a misspelt field": ("schema", _set(f"{POD}/container", [])),
    "a wrong type": ("schema", _set("Deployment/gateway/spec/replicas", "one")),
    "a missing field": ("schema", _set("Service/gateway/spec/ports/0/port", None)),
    "an unknown kind": ("schema", _set("Deployment/gateway/kind", "Deploymint")),
    "an old API version": ("schema", _set("Deployment/gateway/apiVersion", "extensions/v1beta1")),
    "another group's kind": ("schema", _set("ServiceMonitor/gateway/apiVersion", "monitoring.example.com/v1")),
    "a misspelt field of an HTTPRoute": ("schema", _set("HTTPRoute/gateway/spec/hostname", "a.example.com")),
    "an alert without an expression": (
        "schema",
        _set("PrometheusRule/pixano-inference/spec/groups/0/rules/0/expr", None),
    ),
    "a selector that misses its own template": (
        "selector",
        _set("Deployment/gateway/spec/selector/matchLabels/app.kubernetes.io~1name", "other"),
    ),
    "a token in the pod": ("token", _set(f"{POD}/automountServiceAccountToken", True)),
    "the host's network": ("host", _set(f"{POD}/hostNetwork", True)),
    "no seccomp profile": ("seccomp", _set(f"{POD}/securityContext/seccompProfile", None)),
    "the root user": ("root", _set(f"{POD}/securityContext/runAsUser", 0)),
    "perhaps the root user": ("root", _set(f"{POD}/containers/0/securityContext/runAsNonRoot", False)),
    "privileges": ("privilege", _set(f"{POD}/containers/0/securityContext/allowPrivilegeEscalation", True)),
    "a capability": ("capabilities", _set(f"{POD}/containers/0/securityContext/capabilities/add", ["SYS_ADMIN"])),
    "a root that can be written": (
        "read-only",
        _set(f"{POD}/containers/0/securityContext/readOnlyRootFilesystem", False),
    ),
    "no requests": ("requests", _set(f"{POD}/containers/0/resources/requests/cpu", None)),
    "a request over its limit": ("limits", _set(f"{POD}/containers/0/resources/requests/memory", "2Gi")),
    "a GPU request that is not its limit": (
        "gpu",
        _set(
            "Deployment/runner-fixed-gpu/spec/template/spec/containers/0/resources/requests/nvidia.com~1gpu",
            "1",
        ),
    ),
    "a GPU request alone": (
        "gpu",
        _set("Deployment/runner-fixed-gpu/spec/template/spec/containers/0/resources/limits", {}),
    ),
    "a port name that is too long": ("port-name", _set(f"{POD}/containers/0/ports/0/name", "inference-protocol")),
    "a port name in capitals": ("port-name", _set(f"{POD}/containers/0/ports/0/name", "HTTP")),
    "a probe of a port that is not there": (
        "probe-port",
        _set(f"{POD}/containers/0/readinessProbe/httpGet/port", "web"),
    ),
    "no liveness probe": ("probe", _set(f"{POD}/containers/0/livenessProbe", None)),
    "no drain": ("drain", _set(f"{POD}/containers/0/lifecycle", None)),
    "a grace period shorter than the drain": ("drain", _set(f"{POD}/terminationGracePeriodSeconds", 5)),
    "two volumes of one name": ("volume", _volume_twice),
    "a mount of no volume": ("mount", _mount_of_nothing),
    "a path mounted twice": ("mount", _mounted_twice),
    "a variable set twice": ("env", _add_env),
    "an image without a tag": ("image", _set(f"{POD}/containers/0/image", "registry.example.com:5000/pixano")),
    "the latest image": ("image", _set(f"{POD}/containers/0/image", "pixano:latest")),
    "an object of another namespace": ("namespace", _set("Service/gateway/metadata/namespace", "other")),
    "a Service without pods": (
        "service",
        _set("Service/gateway/spec/selector/app.kubernetes.io~1component", "gate"),
    ),
    "a target port that is not there": ("service-port", _set("Service/gateway/spec/ports/0/targetPort", "web")),
    "a headless Service that translates ports": (
        "headless-port",
        _set("Service/runner-scaled-cpu/spec/ports/0/port", 80),
    ),
    "a budget without pods": (
        "budget",
        _set("PodDisruptionBudget/gateway/spec/selector/matchLabels/app.kubernetes.io~1component", "gate"),
    ),
    "a budget that blocks drains": ("budget", _set("PodDisruptionBudget/gateway/spec/maxUnavailable", 0)),
    "a ServiceAccount that is not there": ("account", _delete("ServiceAccount", "gateway")),
    "a Secret that nobody makes": (
        "secret",
        lambda objects: _container(objects)["env"].append(
            {"name": "X", "valueFrom": {"secretKeyRef": {"name": "no-such", "key": "x"}}}
        ),
    ),
    "a ConfigMap that is not there": ("config-map", _set(f"{POD}/volumes/1/configMap/name", "no-such")),
    "a key that the ConfigMap lacks": (
        "config-map",
        _set(f"{POD}/containers/0/volumeMounts/1/subPath", "other.py"),
    ),
    "a claim that is not there": ("claim", _delete("PersistentVolumeClaim", "weights")),
    "an Ingress to no Service": (
        "backend",
        _set("Ingress/gateway/spec/rules/0/http/paths/0/backend/service/name", "no-such"),
    ),
    "an HTTPRoute to a port that is not there": (
        "backend",
        _set("HTTPRoute/gateway/spec/rules/0/backendRefs/0/port", 81),
    ),
    "an autoscaler whose bounds cross": (
        "bounds",
        _set("HorizontalPodAutoscaler/runner-scaled-cpu/spec/minReplicas", 9),
    ),
    "an HPA to zero": ("bounds", _set("HorizontalPodAutoscaler/runner-scaled-cpu/spec/minReplicas", 0)),
    "an autoscaler of nothing": (
        "scale-target",
        _set("HorizontalPodAutoscaler/runner-scaled-cpu/spec/scaleTargetRef/name", "no-such"),
    ),
    "two autoscalers of one Deployment": ("two-scalers", _second_scaler),
    "replicas beside an autoscaler": ("replicas", _set("Deployment/runner-scaled-cpu/spec/replicas", 2)),
    "a runner that scales on CPU": ("cpu-scaling", _cpu_scaled_runner),
    "a window of a day": (
        "window",
        _set("HorizontalPodAutoscaler/runner-scaled-cpu/spec/behavior/scaleDown/stabilizationWindowSeconds", 86400),
    ),
    "no default deny": ("default-deny", _delete("NetworkPolicy", "default-deny")),
    "a policy without pods": (
        "policy",
        _set("NetworkPolicy/gateway/spec/podSelector/matchLabels/app.kubernetes.io~1component", "gate"),
    ),
    "a peer that selects nothing": (
        "policy",
        _set("NetworkPolicy/gateway/spec/egress/0/to/0/podSelector/matchLabels/app.kubernetes.io~1component", "x"),
    ),
    "a policy of a port that is not there": (
        "policy-port",
        _set("NetworkPolicy/runners/spec/ingress/0/ports/0/port", "rpc"),
    ),
    "a runner that everybody reaches": ("open-runner", _set("NetworkPolicy/runners/spec/ingress/0/from", None)),
    "the metadata service": ("block", _set("NetworkPolicy/gateway/spec/egress/2/to/0/ipBlock/except", [])),
    "a range outside its block": (
        "block",
        _set("NetworkPolicy/gateway/spec/egress/2/to/0/ipBlock/cidr", "8.0.0.0/8"),
    ),
}
KSERVE_BROKEN: dict[str, tuple[str, Callable[[Objects], None]]] = {
    "Knative mode": (
        "mode",
        _set("InferenceService/kserve-fixed-gpu/metadata/annotations/serving.kserve.io~1deploymentMode", "Serverless"),
    ),
    "no runtime": ("runtime", _set("InferenceService/kserve-fixed-gpu/spec/predictor/model/runtime", "no-such")),
    "an unsupported format": (
        "runtime",
        _set("InferenceService/kserve-fixed-gpu/spec/predictor/model/modelFormat/name", "onnx"),
    ),
    "a protocol that the runtime does not speak": (
        "protocol",
        _set("InferenceService/kserve-fixed-gpu/spec/predictor/model/protocolVersion", "v1"),
    ),
    "KServe's own CPU autoscaler": (
        "cpu-scaling",
        _set("InferenceService/kserve-fixed-gpu/metadata/annotations/serving.kserve.io~1autoscalerClass", "hpa"),
    ),
    "crossed bounds": ("bounds", _set("InferenceService/kserve-fixed-gpu/spec/predictor/minReplicas", 7)),
    "a field that KServe lacks": ("schema", _set("InferenceService/kserve-fixed-gpu/spec/predictor/replicas", 1)),
    "privileges through the service": (
        "privilege",
        _set("InferenceService/kserve-fixed-gpu/spec/predictor/model/securityContext/allowPrivilegeEscalation", True),
    ),
}


def _broken(rendered: Rendered, overlays: tuple[str, ...], change: Callable[[Objects], None]) -> set[str]:
    objects = {(m["kind"], m["metadata"]["name"]): m for m in rendered.manifests(overlays)}
    change(objects)
    return {problem.rule for problem in check(list(objects.values()), ["1.34"])}


@pytest.mark.parametrize("case", BROKEN)
def test_the_validator_finds(rendering: Callable[..., Rendered], case: str) -> None:
    rule, change = BROKEN[case]
    assert rule in _broken(rendering(weights="pvc"), OVERLAYS, change)


@pytest.mark.parametrize("case", KSERVE_BROKEN)
def test_the_validator_finds_in_kserve(rendering: Callable[..., Rendered], case: str) -> None:
    rule, change = KSERVE_BROKEN[case]
    assert rule in _broken(rendering(), ("kserve",), change)


def test_an_object_that_is_given_twice_is_found(rendering: Callable[..., Rendered]) -> None:
    manifests = rendering().manifests()
    assert {problem.rule for problem in check([*manifests, manifests[2]], ["1.34"])} == {"twice"}


def test_there_is_a_case_for_every_rule() -> None:
    names = {name for file in FOLDER.glob("*.py") for name in re.findall(r'Problem\(\s*"([a-z-]+)"', file.read_text())}
    assert names - {rule for rule, _ in (*BROKEN.values(), *KSERVE_BROKEN.values())} == {"twice"}
