"""Rolling restarts under load: nothing is lost."""

from __future__ import annotations

import pytest

from .load import Load
from .pods import Cluster, Pod, replicas_up, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

RUNNER = "runner-clicks"


def test_gateways_are_replaced_without_a_failed_request(cluster: Cluster, gateway: Pod) -> None:
    """Callers keep their connections: what a gateway does not close itself stays with it until its end."""
    cluster.scale(RUNNER, 2)
    cluster.scale("gateway", 2)
    until(lambda: all(replicas_up(pod, "clicks") == 2 for pod in cluster.pods["gateway"]))
    with Load(lambda: [pod.container.url for pod in cluster.endpoints("gateway")], callers=6, stay=True) as load:
        until(lambda: len(load.answers) > 20)
        cluster.roll("gateway")
    print(f"\nrolling restart of 2 gateways: {len(load.failed)} of {len(load.answers)} requests failed")
    assert load.failed == []


def test_all_runners_are_replaced_without_a_failed_request(cluster: Cluster, gateway: Pod) -> None:
    cluster.scale(RUNNER, 2)
    until(lambda: replicas_up(gateway, "clicks") == 2)
    before = {pod.address for pod in cluster.pods[RUNNER]}
    with Load(lambda: [gateway.container.url], callers=3) as load:
        until(lambda: len(load.by_replica()) == 2)
        cluster.roll(RUNNER)
        until(lambda: replicas_up(gateway, "clicks") == 2)
        until(lambda: not load.by_replica().keys() <= before)
    print(f"\nrolling restart of 2 runners: {len(load.failed)} of {len(load.answers)} requests failed")
    assert load.failed == []
    assert before.isdisjoint(pod.address for pod in cluster.pods[RUNNER])
