"""Rules about objects that name other objects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from pixano_inference.kubernetes.manifest import Manifest

from .problem import Problem, where
from .view import Pod, name_of, namespace_of, of_kind, pods, selects

EXTERNAL_SECRETS = frozenset({"pixano-runner", "pixano-api-keys", "pixano-jobs", "pixano-hub-token", "gateway-tls"})
"""Secrets that an operator makes; no manifest holds a secret."""

_CLUSTER_WIDE = ("Namespace", "ClusterServingRuntime")


def unique_names(manifests: list[Manifest]) -> Iterator[Problem]:
    """No object is given twice."""
    counted = Counter((m.get("kind"), namespace_of(m), name_of(m)) for m in manifests)
    for (kind, _, name), count in counted.items():
        if count > 1:
            yield Problem("twice", f"{kind}/{name}", f"it is given {count} times")


def one_namespace(manifests: list[Manifest]) -> Iterator[Problem]:
    """Every object names the one namespace that is among them."""
    namespaces = {name_of(manifest) for manifest in of_kind(manifests, "Namespace")}
    for manifest in manifests:
        if manifest.get("kind") in _CLUSTER_WIDE:
            continue
        if namespace_of(manifest) not in namespaces:
            yield Problem("namespace", where(manifest), f"there is no namespace {namespace_of(manifest)!r}")


def services_find_pods(manifests: list[Manifest]) -> Iterator[Problem]:
    """A Service selects pods, and its target ports exist there."""
    everything = pods(manifests)
    for service in of_kind(manifests, "Service"):
        spec = service.get("spec", {})
        chosen = [
            pod
            for pod in everything
            if pod.namespace == namespace_of(service) and selects({"matchLabels": spec.get("selector", {})}, pod.labels)
        ]
        if not spec.get("selector") or not chosen:
            yield Problem("service", where(service), "its selector selects no pod")
        for pod in chosen:
            names, numbers = _ports(pod)
            for port in spec.get("ports", []):
                target = port.get("targetPort", port.get("port"))
                if target not in names and target not in numbers:
                    yield Problem("service-port", where(service), f"{pod.where} has no port {target!r}")
                headless = spec.get("clusterIP") == "None"
                # behind a headless Service clients meet the pod's own port: nothing translates it
                if headless and port.get("port") not in numbers:
                    yield Problem(
                        "headless-port", where(service), f"{pod.where} does not listen on port {port.get('port')}"
                    )


def disruption_budgets(manifests: list[Manifest]) -> Iterator[Problem]:
    """A budget selects pods and lets at least one go."""
    everything = pods(manifests)
    for budget in of_kind(manifests, "PodDisruptionBudget"):
        spec = budget.get("spec", {})
        if not any(selects(spec.get("selector"), pod.labels) for pod in everything) or not spec.get("selector"):
            yield Problem("budget", where(budget), "its selector selects no pod")
        if spec.get("maxUnavailable") in (0, "0", "0%"):
            yield Problem("budget", where(budget), "maxUnavailable 0 blocks every drain of a node")


def pod_references(manifests: list[Manifest]) -> Iterator[Problem]:
    """ConfigMaps, Secrets, claims and ServiceAccounts that pods name exist, keys included."""
    maps = {name_of(m): set(m.get("data", {})) for m in of_kind(manifests, "ConfigMap")}
    secrets = {name_of(m) for m in of_kind(manifests, "Secret")} | EXTERNAL_SECRETS
    claims = {name_of(m) for m in of_kind(manifests, "PersistentVolumeClaim")}
    accounts = {name_of(m) for m in of_kind(manifests, "ServiceAccount")}
    for pod in pods(manifests):
        if pod.spec.get("serviceAccountName") not in accounts:
            yield Problem("account", pod.where, f"there is no ServiceAccount {pod.spec.get('serviceAccountName')!r}")
        for volume in pod.spec.get("volumes", []):
            yield from _volume_reference(pod, volume, maps, secrets, claims)
        for container in pod.containers:
            for variable in container.get("env", []):
                source = variable.get("valueFrom", {})
                secret = source.get("secretKeyRef")
                if secret is not None and secret.get("name") not in secrets:
                    yield Problem("secret", pod.where, f"there is no Secret {secret.get('name')!r}")
                entry = source.get("configMapKeyRef")
                if entry is not None and entry.get("key") not in maps.get(entry.get("name"), set()):
                    yield Problem("config-map", pod.where, f"no ConfigMap has {entry.get('name')}/{entry.get('key')}")


def routes_find_services(manifests: list[Manifest]) -> Iterator[Problem]:
    """Ingress and HTTPRoute name Services and ports that exist."""
    services = {name_of(m): m.get("spec", {}).get("ports", []) for m in of_kind(manifests, "Service")}
    for ingress in of_kind(manifests, "Ingress"):
        for rule in ingress["spec"].get("rules", []):
            for path in rule.get("http", {}).get("paths", []):
                backend = path["backend"]["service"]
                port = backend.get("port", {})
                yield from _backend(ingress, services, backend["name"], port.get("name", port.get("number")))
    for route in of_kind(manifests, "HTTPRoute"):
        for rule in route["spec"].get("rules", []):
            for backend in rule.get("backendRefs", []):
                yield from _backend(route, services, backend.get("name"), backend.get("port"))


def runtimes_exist(manifests: list[Manifest]) -> Iterator[Problem]:
    """An InferenceService names a runtime that exists and supports its format and protocol."""
    specs = {name_of(m): m["spec"] for m in of_kind(manifests, "ClusterServingRuntime")}
    runtimes = {
        name: {entry.get("name") for entry in spec.get("supportedModelFormats", [])} for name, spec in specs.items()
    }
    for service in of_kind(manifests, "InferenceService"):
        model = service["spec"]["predictor"]["model"]
        if model.get("runtime") not in runtimes:
            yield Problem("runtime", where(service), f"there is no ClusterServingRuntime {model.get('runtime')!r}")
        elif model["modelFormat"]["name"] not in runtimes[model["runtime"]]:
            yield Problem("runtime", where(service), f"the runtime does not support {model['modelFormat']['name']!r}")
        elif model.get("protocolVersion", "v1") not in specs[model["runtime"]].get("protocolVersions", ["v1"]):
            yield Problem("protocol", where(service), "the runtime does not speak the protocol of the service")
        mode = service["metadata"].get("annotations", {}).get("serving.kserve.io/deploymentMode")
        if mode != "Standard":
            yield Problem("mode", where(service), f"deploymentMode must be Standard, got {mode!r}")


def _volume_reference(
    pod: Pod, volume: dict[str, Any], maps: dict[str, set[str]], secrets: set[str] | frozenset[str], claims: set[str]
) -> Iterator[Problem]:
    config_map = volume.get("configMap")
    if config_map is not None and config_map.get("name") not in maps:
        yield Problem("config-map", pod.where, f"there is no ConfigMap {config_map.get('name')!r}")
    elif config_map is not None:
        keys = maps[config_map["name"]]
        for container in pod.containers:
            for mount in container.get("volumeMounts", []):
                part = mount.get("subPath")
                if mount.get("name") == volume["name"] and part is not None and part not in keys:
                    yield Problem("config-map", pod.where, f"ConfigMap {config_map['name']!r} has no key {part!r}")
    secret = volume.get("secret")
    if secret is not None and secret.get("secretName") not in secrets:
        yield Problem("secret", pod.where, f"there is no Secret {secret.get('secretName')!r}")
    claim = volume.get("persistentVolumeClaim")
    if claim is not None and claim.get("claimName") not in claims:
        yield Problem("claim", pod.where, f"there is no PersistentVolumeClaim {claim.get('claimName')!r}")


def _backend(
    route: Manifest, services: dict[str, list[dict[str, Any]]], name: object, port: object
) -> Iterator[Problem]:
    if name not in services:
        yield Problem("backend", where(route), f"there is no Service {name!r}")
    elif not any(port in (entry.get("name"), entry.get("port")) for entry in services[str(name)]):
        yield Problem("backend", where(route), f"Service {name!r} has no port {port!r}")


def _ports(pod: Pod) -> tuple[set[str], set[int]]:
    ports = [port for container in pod.spec.get("containers", []) for port in container.get("ports", [])]
    return {port["name"] for port in ports if "name" in port}, {port["containerPort"] for port in ports}
