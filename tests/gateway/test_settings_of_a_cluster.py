"""Settings are those of all nodes, however many runners a node has."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pixano_inference.configs import DeploymentConfig
from pixano_inference.gateway import routes_service
from pixano_inference.gateway.replica import Replica
from pixano_inference.gateway.state import GatewayState
from pixano_inference.schemas import Capability


def pool(name: str, num_gpus: float, *places: tuple[str, str, list[str]]) -> tuple[str, Any]:
    replicas = {}
    for index, (node, host, gpus) in enumerate(places):
        replica = Replica(f"http://10.0.0.{index}:3000", None, lambda: None, name)
        replica.status = {"state": "ready", "node": node, "host": host, "cpus": 16, "gpus": gpus}
        replicas[replica.address] = replica
    model = SimpleNamespace(name=name, capability=Capability.VLM, deployment=DeploymentConfig(num_gpus=num_gpus))
    return name, SimpleNamespace(model=model, replicas=replicas)


def settings(monkeypatch: pytest.MonkeyPatch, *pools: tuple[str, Any]) -> Any:
    monkeypatch.setenv("PIXANO_NODE_NAME", "node-1")
    monkeypatch.setattr(routes_service, "local_gpu_count", lambda: 0)
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    return routes_service.settings(cast(GatewayState, SimpleNamespace(pools=dict(pools))))


def test_pods_of_one_node_are_one_node_and_have_gpus_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    told = settings(
        monkeypatch,
        pool("click", 1, ("node-1", "click-a", ["0"]), ("node-2", "click-b", ["0"])),
        pool("track", 2, ("node-2", "track-a", ["0", "1"])),
    )
    assert (told.num_nodes, told.num_cpus, told.num_gpus, told.gpus_used) == (2, 32, 4, 4.0)
    assert told.gpu_to_model == {"click-a:0": "click", "click-b:0": "click", "track-a:0": "track", "track-a:1": "track"}


def test_models_that_share_a_gpu_of_one_machine_use_one(monkeypatch: pytest.MonkeyPatch) -> None:
    told = settings(
        monkeypatch, pool("a", 0.5, ("node-1", "laptop", ["0"])), pool("b", 0.5, ("node-1", "laptop", ["0"]))
    )
    assert (told.num_nodes, told.num_gpus, told.gpus_used) == (1, 1, 1.0)
    assert told.gpu_to_model == {"0": "b"}
