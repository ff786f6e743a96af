"""The caches of the runners show up in the gateway's metrics, and leave with their runners."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from pixano_inference.gateway import metrics
from pixano_inference.gateway.replica import Replica
from pixano_inference.gateway.routes_service import export_caches
from pixano_inference.gateway.state import GatewayState


def replica(address: str, **cache: int) -> Replica:
    one = Replica(address, None, lambda: None, "m")
    one.status = {"state": "ready", "metadata": {"embedding_cache": cache} if cache else {}}
    return one


def lines() -> list[str]:
    return [line for line in metrics.exposition().decode().splitlines() if line.startswith("pixano_cache_events{")]


def test_what_the_runners_told_is_exported_and_forgotten_with_them() -> None:
    replicas = {
        address: replica(address, hits=3, misses=2, evictions=1, used_bytes=4096)
        for address in ("http://10.0.0.7:3000", "file:///tmp/runner.sock")
    }
    pools: dict[str, Any] = {"sam2": SimpleNamespace(replicas=replicas)}
    # a replica that tells nothing of a cache, as most models do
    pools["other"] = SimpleNamespace(replicas={"http://10.0.0.8:3000": replica("http://10.0.0.8:3000")})
    state = cast(GatewayState, SimpleNamespace(pools=pools))
    export_caches(state)
    assert 'pixano_cache_events{event="hits",model="sam2",replica="10.0.0.7:3000"} 3.0' in lines()
    assert 'pixano_cache_events{event="bytes",model="sam2",replica="local-0"} 4096.0' in lines()
    assert len(lines()) == 8
    assert not any("sock" in line for line in lines())
    replicas.clear()
    export_caches(state)
    assert lines() == []
