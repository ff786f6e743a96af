"""The memory of the runners' GPUs shows up in the gateway's metrics, and leaves with its runners."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from pixano_inference.gateway import metrics
from pixano_inference.gateway.replica import Replica
from pixano_inference.gateway.routes_service import export_gpu_memory
from pixano_inference.gateway.state import GatewayState


def lines() -> list[str]:
    return [line for line in metrics.exposition().decode().splitlines() if line.startswith("pixano_gpu_memory_bytes{")]


def test_what_the_runners_told_is_exported_and_forgotten_with_them() -> None:
    with_gpus, without, lost = (Replica(f"http://10.0.0.{host}:3000", None, lambda: None, "m") for host in (7, 8, 9))
    with_gpus.status = {
        "state": "ready",
        "gpu_memory": {"0": {"used": 1024, "total": 4096}, "GPU-5f": {"used": 2048, "total": 8192}},
    }
    without.status = {"state": "ready", "gpu_memory": {}}
    lost.status = {}
    replicas = {replica.address: replica for replica in (with_gpus, without, lost)}
    pools: dict[str, Any] = {"sam2": SimpleNamespace(replicas=replicas)}
    state = cast(GatewayState, SimpleNamespace(pools=pools))
    export_gpu_memory(state)
    assert sorted(lines()) == [
        'pixano_gpu_memory_bytes{gpu="0",kind="total",model="sam2",replica="10.0.0.7:3000"} 4096.0',
        'pixano_gpu_memory_bytes{gpu="0",kind="used",model="sam2",replica="10.0.0.7:3000"} 1024.0',
        'pixano_gpu_memory_bytes{gpu="GPU-5f",kind="total",model="sam2",replica="10.0.0.7:3000"} 8192.0',
        'pixano_gpu_memory_bytes{gpu="GPU-5f",kind="used",model="sam2",replica="10.0.0.7:3000"} 2048.0',
    ]
    with_gpus.status = {}
    export_gpu_memory(state)
    assert lines() == []
