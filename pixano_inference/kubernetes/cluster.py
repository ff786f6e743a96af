"""A cluster: applying manifests, telling how they are, scaling, deleting."""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from kubernetes import client as k8s
from kubernetes import config
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import DynamicApiError, NotFoundError, ResourceNotFoundError
from urllib3.exceptions import HTTPError

from pixano_inference.errors import ConfigError

from . import naming
from .manifest import Manifest
from .status import Workload, table, workload

FIELD_MANAGER = "pixano-inference"

# what others refer to comes first; what scales and watches comes last
_ORDER = ("Namespace", "ServiceAccount", "NetworkPolicy", "ConfigMap", "PersistentVolumeClaim", "Service")
_POLL_S = 2.0
_LABEL = f"{naming.MANAGED_BY_LABEL}={naming.APPLICATION}"
# what delete looks for, those that make others first
_KINDS = (
    ("serving.kserve.io/v1beta1", "InferenceService"),
    ("keda.sh/v1alpha1", "ScaledObject"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("apps/v1", "Deployment"),
    ("batch/v1", "Job"),
    ("policy/v1", "PodDisruptionBudget"),
    ("networking.k8s.io/v1", "Ingress"),
    ("gateway.networking.k8s.io/v1", "HTTPRoute"),
    ("monitoring.coreos.com/v1", "ServiceMonitor"),
    ("monitoring.coreos.com/v1", "PrometheusRule"),
    ("v1", "Service"),
    ("v1", "ConfigMap"),
    ("v1", "ServiceAccount"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
)


class Cluster:
    """One namespace of a cluster.

    Args:
        client: Speaks to the API server.
        namespace: The namespace.
        tell: Gets each line of progress.
        poll_s: Seconds between two looks while waiting.
    """

    def __init__(
        self,
        client: DynamicClient,
        namespace: str,
        tell: Callable[[str], object] = print,
        poll_s: float = _POLL_S,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._tell = tell
        self._poll_s = poll_s

    @classmethod
    def connect(cls, namespace: str) -> Cluster:
        """Connect as kubectl does: by KUBECONFIG or ~/.kube/config, or from within a pod.

        Raises:
            ConfigError: No cluster is configured, or it does not answer.
        """
        try:
            config.load_config()
            return cls(DynamicClient(k8s.ApiClient()), namespace)
        except ConfigException as error:
            raise ConfigError(f"no cluster is configured: {error}") from error
        except (ApiException, HTTPError, OSError, ValueError) as error:
            raise ConfigError(f"the cluster does not answer: {type(error).__name__}") from error

    def apply(self, manifests: Sequence[Manifest], *, timeout_s: float) -> int:
        """Apply manifests server-side, and wait until every Deployment runs.

        Returns:
            The exit status: 0, or 1 when the time is up.

        Raises:
            ConfigError: The API server refuses an object; the message has its words.
        """
        ordered = sorted(manifests, key=_rank)
        namespaces = [manifest for manifest in ordered if manifest["kind"] == "Namespace"]
        for manifest in namespaces:
            self._apply_one(manifest)
        self._make_runner_secret()
        for manifest in ordered[len(namespaces) :]:
            self._apply_one(manifest)
        self._tell(f"applied {len(ordered)} objects; waiting for them to run (at most {timeout_s:g} s)")
        return self._wait(timeout_s)

    def workloads(self) -> list[Workload]:
        """Return gateway and runners as they are now."""
        deployments = self._list("apps/v1", "Deployment")
        pods = self._list("v1", "Pod")
        scalers = [
            *self._list("autoscaling/v2", "HorizontalPodAutoscaler"),
            *self._list("keda.sh/v1alpha1", "ScaledObject"),
        ]
        return [workload(deployment, pods, scalers) for deployment in deployments]

    def print_status(self) -> int:
        """Tell how gateway and runners are; the exit status is 0 when all run."""
        found = self.workloads()
        if not found:
            raise ConfigError(f"nothing of pixano-inference is in the namespace {self._namespace!r}")
        self._tell(table(found))
        return 0 if all(entry.complete for entry in found) else 1

    def scale(self, model: str, fewest: int, most: int | None = None) -> int:
        """Set the replicas of a runner, or the bounds of its scaler.

        Raises:
            ConfigError: There is no such runner, or bounds and scaler do not go together.
        """
        name = f"runner-{naming.slug(model)}"
        if most is not None and most < max(fewest, 1):
            raise ConfigError(f"the most replicas, {most}, must be at least 1 and at least the fewest, {fewest}")
        bounds = {
            ("autoscaling/v2", "HorizontalPodAutoscaler"): ("minReplicas", "maxReplicas"),
            ("keda.sh/v1alpha1", "ScaledObject"): ("minReplicaCount", "maxReplicaCount"),
        }
        for (api_version, kind), (low, high) in bounds.items():
            if any(item["metadata"]["name"] == name for item in self._list(api_version, kind)):
                if kind == "HorizontalPodAutoscaler" and fewest == 0:
                    raise ConfigError("an HPA cannot scale to zero; render with --overlay keda")
                change = {"spec": {low: fewest, high: most if most is not None else max(fewest, 1)}}
                self._patch(api_version, kind, name, change)
                self._tell(f"{kind} {name}: {change['spec'][low]} to {change['spec'][high]} replicas")
                return 0
        if most is not None:
            raise ConfigError(f"{name} has no autoscaler; give one number")
        self._patch("apps/v1", "Deployment", name, {"spec": {"replicas": fewest}})
        self._tell(f"Deployment {name}: {fewest} replicas")
        return 0

    def delete(self, *, weights: bool = False) -> int:
        """Delete what :meth:`apply` made; the namespace, Secrets and, unless asked for, claims with weights stay."""
        kinds = [*_KINDS, *([("v1", "PersistentVolumeClaim")] if weights else [])]
        for api_version, kind in kinds:
            for item in self._list(api_version, kind):
                name = item["metadata"]["name"]
                self._resource(api_version, kind).delete(
                    name=name, namespace=self._namespace, body={"propagationPolicy": "Background"}
                )
                self._tell(f"deleted {kind} {name}")
        return 0

    def _wait(self, timeout_s: float) -> int:
        give_up, told = time.monotonic() + timeout_s, ""
        while True:
            found = self.workloads()
            waiting = [f"{entry.name} {entry.ready}/{entry.wanted}" for entry in found if not entry.complete]
            line = "; ".join(waiting) or "everything runs"
            if line != told:
                self._tell(line)
                told = line
            if found and not waiting:
                return 0
            if time.monotonic() > give_up:
                self._tell(table(found))
                sys.stderr.write(f"pixano-inference: not everything runs after {timeout_s:g} s\n")
                return 1
            time.sleep(self._poll_s)

    def _apply_one(self, manifest: Manifest) -> None:
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        try:
            self._resource(manifest["apiVersion"], kind).server_side_apply(
                body=manifest,
                name=name,
                namespace=manifest["metadata"].get("namespace"),
                field_manager=FIELD_MANAGER,
                force_conflicts=True,
            )
        except ResourceNotFoundError as error:
            raise ConfigError(
                f"the cluster does not know {manifest['apiVersion']} {kind}: install what defines it, or leave out "
                "the overlay"
            ) from error
        except (DynamicApiError, ApiException) as error:
            raise ConfigError(f"{kind} {name} is refused: {_words(error)}") from error
        self._tell(f"applied {kind} {name}")

    def _make_runner_secret(self) -> None:
        resource = self._resource("v1", "Secret")
        try:
            resource.get(name=naming.RUNNER_SECRET, namespace=self._namespace)
        except NotFoundError:
            secret = {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": naming.RUNNER_SECRET, "namespace": self._namespace},
                "stringData": {"secret": secrets.token_urlsafe(32)},
            }
            resource.create(body=secret, namespace=self._namespace)
            self._tell(f"made Secret {naming.RUNNER_SECRET}")

    def _patch(self, api_version: str, kind: str, name: str, change: Manifest) -> None:
        try:
            self._resource(api_version, kind).patch(
                name=name, namespace=self._namespace, body=change, content_type="application/merge-patch+json"
            )
        except NotFoundError as error:
            runners = ", ".join(entry.model for entry in self.workloads() if entry.model) or "none"
            raise ConfigError(f"there is no runner {name!r}; there are {runners}") from error

    def _list(self, api_version: str, kind: str) -> list[Manifest]:
        try:
            found = self._resource(api_version, kind).get(namespace=self._namespace, label_selector=_LABEL)
        except (ResourceNotFoundError, NotFoundError):
            return []
        items: list[Manifest] = found.to_dict()["items"]
        return items

    def _resource(self, api_version: str, kind: str) -> Any:
        return self._client.resources.get(api_version=api_version, kind=kind)


def _rank(manifest: Manifest) -> int:
    kind = manifest["kind"]
    return _ORDER.index(kind) if kind in _ORDER else len(_ORDER)


def _words(error: Exception) -> str:
    summary = getattr(error, "summary", None)
    return str(summary() if callable(summary) else error)[:500]
