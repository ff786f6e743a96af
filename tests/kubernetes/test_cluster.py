"""apply, status, scale and delete against a server that stores what it gets."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from kubernetes import client as k8s
from kubernetes.dynamic import DynamicClient

from pixano_inference.errors import ConfigError
from pixano_inference.kubernetes.cluster import Cluster
from pixano_inference.kubernetes.render import Rendered

from .api_server import ApiServer


@pytest.fixture
def server() -> Iterator[ApiServer]:
    server = ApiServer()
    yield server
    server.close()


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def cluster(server: ApiServer, lines: list[str], tmp_path: object) -> Iterator[Cluster]:
    configuration = k8s.Configuration()
    configuration.host = server.url
    client = k8s.ApiClient(configuration)
    yield Cluster(DynamicClient(client, cache_file=f"{tmp_path}/discovery"), "pixano", lines.append, poll_s=0.05)
    client.rest_client.pool_manager.clear()


def test_apply_stores_every_object_server_side_and_waits(
    cluster: Cluster, server: ApiServer, lines: list[str], rendering: Callable[..., Rendered]
) -> None:
    manifests = rendering().manifests()
    assert cluster.apply(manifests, timeout_s=5) == 0
    applied = [request for request in server.requests if request.startswith("application/apply-patch+yaml")]
    assert len(applied) == len(manifests)
    assert all("fieldManager=pixano-inference" in request for request in applied)
    assert server.objects["deployments", "runner-fixed-gpu"]["spec"]["replicas"] == 1
    assert lines[-1] == "everything runs"


def test_apply_makes_the_secret_of_gateway_and_runners_once(
    cluster: Cluster, server: ApiServer, rendering: Callable[..., Rendered]
) -> None:
    manifests = rendering().manifests()
    cluster.apply(manifests, timeout_s=5)
    first = server.objects["secrets", "pixano-runner"]["stringData"]["secret"]
    cluster.apply(manifests, timeout_s=5)
    assert server.objects["secrets", "pixano-runner"]["stringData"]["secret"] == first
    assert len(first) >= 32


def test_apply_gives_up_when_the_time_is_up_and_says_what_is_missing(
    cluster: Cluster, server: ApiServer, lines: list[str], rendering: Callable[..., Rendered]
) -> None:
    server.runs = False
    assert cluster.apply(rendering().manifests(), timeout_s=0.1) == 1
    assert any("runner-fixed-gpu 0/1" in line for line in lines)


def test_a_kind_that_the_cluster_lacks_is_named(cluster: Cluster, rendering: Callable[..., Rendered]) -> None:
    with pytest.raises(ConfigError, match=r"does not know keda\.sh/v1alpha1 ScaledObject"):
        cluster.apply(rendering().manifests(("keda",)), timeout_s=1)


def test_status_tells_why_a_runner_is_not_there(
    cluster: Cluster, server: ApiServer, lines: list[str], rendering: Callable[..., Rendered]
) -> None:
    cluster.apply(rendering().manifests(), timeout_s=5)
    server.runs = False
    labels = server.objects["deployments", "runner-fixed-gpu"]["spec"]["template"]["metadata"]["labels"]
    crashed = {
        "restartCount": 3,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}},
    }
    server.objects["pods", "p"] = {
        "metadata": {"name": "p", "labels": labels},
        "status": {"containerStatuses": [crashed]},
    }
    assert cluster.print_status() == 1
    (row,) = [line for line in lines[-1].splitlines() if line.startswith("fixed_gpu")]
    assert row.split()[1:6] == ["0", "1", "2", "-", "3"]
    assert row.endswith("pixano-inference:1.0")
    assert "CrashLoopBackOff (ended before: OOMKilled, exit 137)" in row
    assert any("HPA 2-5" in line for line in lines[-1].splitlines() if line.startswith("Scaled.CPU"))


def test_scale_changes_the_autoscaler_where_there_is_one_and_else_the_deployment(
    cluster: Cluster, server: ApiServer, rendering: Callable[..., Rendered]
) -> None:
    cluster.apply(rendering().manifests(), timeout_s=5)
    cluster.scale("Scaled.CPU", 3, 9)
    spec = server.objects["horizontalpodautoscalers", "runner-scaled-cpu"]["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (3, 9)
    cluster.scale("fixed_gpu", 0)
    assert server.objects["deployments", "runner-fixed-gpu"]["spec"]["replicas"] == 0
    with pytest.raises(ConfigError, match="has no autoscaler"):
        cluster.scale("fixed_gpu", 1, 2)
    with pytest.raises(ConfigError, match="cannot scale to zero"):
        cluster.scale("Scaled.CPU", 0)
    with pytest.raises(ConfigError, match=r"no runner 'runner-other'; there are .*fixed_gpu"):
        cluster.scale("other", 1)


def test_delete_leaves_claims_secrets_and_the_namespace(
    cluster: Cluster, server: ApiServer, rendering: Callable[..., Rendered]
) -> None:
    cluster.apply(rendering(weights="pvc").manifests(), timeout_s=5)
    cluster.delete()
    assert {plural for plural, _ in server.objects} == {"namespaces", "secrets", "persistentvolumeclaims"}
    cluster.delete(weights=True)
    assert {plural for plural, _ in server.objects} == {"namespaces", "secrets"}
