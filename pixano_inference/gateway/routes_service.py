"""What the server says about itself: health, readiness, settings, models, metrics."""

from __future__ import annotations

import os

from fastapi import APIRouter
from starlette.responses import Response

from pixano_inference import __version__
from pixano_inference.protocol.answers import JSONResponse, readiness_response
from pixano_inference.schemas import Health, ModelInfo, ModelState, Readiness, ServerMetadata, Settings

from . import metrics
from .gpus import local_gpu_count
from .openapi import error_responses
from .state import GatewayState

APP_NAME = "Pixano Inference"
APP_DESCRIPTION = "Inference server for image and video annotation"


def readiness(state: GatewayState) -> Readiness:
    """Return whether every configured model answers."""
    states = [
        ModelState.model_validate({"name": name, "state": pool.state[0], "reason": pool.state[1]})
        for name, pool in state.pools.items()
    ]
    return Readiness(
        ready=all(model.state in ("ready", "idle") for model in states),
        models_loaded=sum(model.state == "ready" for model in states),
        version=__version__,
        models=states,
    )


def settings(state: GatewayState) -> Settings:
    """Return settings and resources, as the runners report them."""
    cpus = {os.environ.get("PIXANO_NODE_NAME") or os.uname().nodename: os.cpu_count() or 1}
    gpus_used = 0.0
    held: list[tuple[str, str, str]] = []
    for name, pool in state.pools.items():
        for replica in pool.replicas.values():
            if not replica.status:
                continue
            node = str(replica.status.get("node"))
            cpus[node] = int(replica.status.get("cpus") or 1)
            gpus_used += pool.model.deployment.num_gpus
            held += [(str(replica.status.get("host")), str(gpu), name) for gpu in replica.status.get("gpus") or []]
    several = len({host for host, _, _ in held}) > 1
    return Settings(
        app_name=APP_NAME,
        app_version=__version__,
        app_description=APP_DESCRIPTION,
        num_cpus=sum(cpus.values()),
        num_gpus=max(local_gpu_count(), len({(host, gpu) for host, gpu, _ in held})),
        num_nodes=len(cpus),
        gpus_used=gpus_used,
        gpu_to_model={(f"{host}:{gpu}" if several else gpu): name for host, gpu, name in held},
        models=list(state.pools),
        models_to_capability={name: str(pool.model.capability) for name, pool in state.pools.items()},
    )


_CACHE_EVENTS = {"hits": "hits", "misses": "misses", "evictions": "evictions", "bytes": "used_bytes"}


def export_caches(state: GatewayState) -> None:
    """Set the metric of the embedding caches to what the runners told last (they do so every two seconds)."""
    # replicas come and go: what is gone must not stay in the metric
    metrics.CACHE_EVENTS.clear()
    for name, pool in state.pools.items():
        for index, address in enumerate(sorted(pool.replicas)):
            told = pool.replicas[address].status.get("metadata", {}).get("embedding_cache")
            if not isinstance(told, dict):
                continue
            replica = _replica_label(address, index)
            for event, key in _CACHE_EVENTS.items():
                metrics.CACHE_EVENTS.labels(name, replica, event).set(told.get(key, 0))


def export_gpu_memory(state: GatewayState) -> None:
    """Set the metric of the GPUs' memory to what the runners told last (they do so every two seconds)."""
    metrics.GPU_MEMORY.clear()
    for name, pool in state.pools.items():
        for index, address in enumerate(sorted(pool.replicas)):
            told: dict[str, dict[str, int]] = pool.replicas[address].status.get("gpu_memory") or {}
            for gpu, memory in told.items():
                for kind in ("used", "total"):
                    metrics.GPU_MEMORY.labels(name, _replica_label(address, index), gpu, kind).set(memory[kind])


def _replica_label(address: str, index: int) -> str:
    return address.partition("://")[2] if address.startswith("http") else f"local-{index}"


def make_router(state: GatewayState) -> APIRouter:
    """Make the routes."""
    router = APIRouter(tags=["service"])

    @router.get("/", response_model=ServerMetadata)
    async def root() -> Response:
        """Say what this is."""
        return JSONResponse({"message": f"{APP_NAME} is running", "version": __version__, "docs": "/docs"})

    @router.get("/health", response_model=Health)
    async def health() -> Response:
        """Say that the process answers. Never waits for a model."""
        return JSONResponse({"status": "healthy"})

    @router.get("/ready", response_model=Readiness, responses={503: {"model": Readiness}})
    async def ready() -> Response:
        """Say whether every configured model answers (200) or not (503), and why not."""
        summary = readiness(state)
        return readiness_response(summary.model_dump(mode="json"), ready=summary.ready)

    @router.get("/app/settings/", response_model=Settings, responses=error_responses(401))
    async def app_settings() -> Response:
        """Tell settings and resources."""
        return JSONResponse(settings(state).model_dump(mode="json"))

    @router.get("/app/models/", response_model=list[ModelInfo], responses=error_responses(401))
    async def app_models() -> Response:
        """List the deployed models."""
        return JSONResponse(
            [
                {
                    "name": name,
                    "capability": str(pool.model.capability),
                    "model_path": pool.model.model_path,
                    "model_class": pool.model.model_class,
                    "state": pool.state[0],
                    "reason": pool.state[1],
                }
                for name, pool in state.pools.items()
            ]
        )

    @router.get("/metrics", include_in_schema=False)
    async def prometheus() -> Response:
        """Export the metrics in Prometheus' text format."""
        export_caches(state)
        export_gpu_memory(state)
        return Response(metrics.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return router
