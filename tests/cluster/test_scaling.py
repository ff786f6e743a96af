"""Replicas that are added get work, and a model that nobody uses sleeps and wakes."""

from __future__ import annotations

import time

import httpx
import pytest

from .autoscaler import Autoscaler
from .load import Load, click, image
from .pods import Cluster, Pod, replicas_up, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

RUNNER = "runner-clicks"


def test_replicas_that_are_added_get_work_within_seconds(cluster: Cluster, gateway: Pod) -> None:
    cluster.scale(RUNNER, 1)
    until(lambda: replicas_up(gateway, "clicks") == 1)
    with Load(lambda: [gateway.container.url], callers=4) as load:
        until(lambda: len(load.answers) > 20)
        cluster.scale(RUNNER, 3)
        published = time.monotonic()
        until(lambda: len(load.by_replica(published)) == 3, 10)
        took = time.monotonic() - published
        balanced = time.monotonic()
        until(lambda: len(load.since(balanced)) > 100)
    shares = sorted(load.by_replica(balanced).values())
    print(f"\n1 to 3 replicas: all three answered {took:.1f} s after the last was ready; then {shares} of 100")
    assert load.failed == []
    assert shares[0] * 8 >= sum(shares), "each replica has a fair part of the work"


def test_a_model_sleeps_when_nobody_uses_it_and_wakes_when_somebody_does(cluster: Cluster, gateway: Pod) -> None:
    """A script stands in for KEDA here: see :mod:`.autoscaler`."""
    # the keda overlay's gateway, which holds requests, beside the plain one, which does not
    holding = cluster.add("gateway", PIXANO_WAKE_HOLD_S=cluster.wake_hold_s)
    cluster.wait_until_ready(holding)
    plain_url, holding_url = gateway.container.url, holding.container.url
    with (
        Autoscaler(cluster, cluster.scaled_object(RUNNER), lambda: [plain_url, holding_url]),
        httpx.Client(timeout=60) as http,
    ):
        until(lambda: _state(http, holding) == "idle")

        held = click(http, holding_url, 1)
        assert held.status == 200, held.detail
        asleep = until(lambda: _state(http, holding) == "idle")
        until(lambda: _state(http, gateway) == "idle" and not cluster.pods[RUNNER])

        body = {"model": "clicks", "image": image(2), "points": [[[0, 0]]], "labels": [[1]]}
        refused = http.post(f"{plain_url}/inference/segmentation/", json=body)
        assert refused.status_code == 503
        assert "scaled to zero" in refused.json()["detail"]
        woken = time.monotonic()
        while (answer := click(http, plain_url, 2)).status == 503:
            time.sleep(int(refused.headers["Retry-After"]))
        assert answer.status == 200, answer.detail
        print(
            f"\nscale to zero (a script in place of KEDA): a held request was answered after "
            f"{held.seconds:.1f} s, asleep {asleep:.1f} s later, one that was refused succeeded after "
            f"{time.monotonic() - woken:.1f} s"
        )
    cluster.delete("gateway", holding)


def _state(http: httpx.Client, gateway: Pod) -> str:
    models = http.get(f"{gateway.container.url}/app/models/").json()
    return str(next(model["state"] for model in models if model["name"] == "clicks"))
