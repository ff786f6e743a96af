"""The Open Inference Protocol at the gateway: tensors become a request of the model's capability, and go its way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from pixano_inference import __version__
from pixano_inference.errors import NotFound
from pixano_inference.oip.answer import VERSION, answer, receive
from pixano_inference.oip.media import MediaReader
from pixano_inference.oip.metadata import (
    InferAnswer,
    InferBody,
    ModelMetadata,
    OipModelReady,
    ServerInfo,
    ServerLive,
    ServerReady,
    model_metadata,
    server_metadata,
)
from pixano_inference.oip.request import BINARY_TYPE
from pixano_inference.oip.signatures import SIGNATURES
from pixano_inference.protocol.answers import OIP_PREFIX, JSONResponse, readiness_response
from pixano_inference.protocol.disconnect import unless_disconnected
from pixano_inference.schemas import CAPABILITIES, Schema

from .inference import prepare
from .openapi import oip_body, oip_error_responses
from .routes_inference import caller_of
from .routes_service import readiness
from .runner_pool import RunnerPool
from .state import GatewayState

_NOT_READY: dict[int | str, dict[str, Any]] = {503: {"model": ServerReady, "description": "Not every model answers"}}
_BINARY: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "JSON, or JSON and binary sections where the request asks for them",
        "content": {BINARY_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    }
}


def make_router(state: GatewayState) -> APIRouter:
    """Make the routes."""
    router = APIRouter(prefix=OIP_PREFIX, tags=["open inference protocol"])

    @router.get("", response_model=ServerInfo)
    async def oip_server() -> Response:
        """Say what this is."""
        return JSONResponse(server_metadata(__version__))

    @router.get("/health/live", response_model=ServerLive)
    async def oip_live() -> Response:
        """Say that the process answers."""
        return JSONResponse({"live": True})

    @router.get("/health/ready", response_model=ServerReady, responses=_NOT_READY)
    async def oip_ready() -> Response:
        """Say whether every configured model answers."""
        ready = readiness(state).ready
        return readiness_response({"ready": ready}, ready=ready)

    async def of_model(model_name: str) -> RunnerPool:
        return state.named_pool(model_name)

    async def of_version(model_name: str, model_version: str) -> RunnerPool:
        pool = state.named_pool(model_name)
        if model_version != VERSION:
            raise NotFound(f"Model '{model_name}' has no version '{model_version[:32]}'; it has {VERSION}")
        return pool

    _add_model_routes(router, state, "/models/{model_name}", of_model)
    _add_model_routes(router, state, "/models/{model_name}/versions/{model_version}", of_version)
    return router


def _add_model_routes(router: APIRouter, state: GatewayState, path: str, find: Callable[..., Any]) -> None:
    reader = MediaReader(state.settings.max_image_pixels, keeps_references=True)
    the_model = Depends(find)
    name = "version" if "version" in path else "model"

    async def oip_model(pool: RunnerPool = the_model) -> Response:
        """Describe the tensors of a model."""
        return JSONResponse(model_metadata(pool.model.name, pool.model.capability))

    async def oip_model_ready(pool: RunnerPool = the_model) -> Response:
        """Say whether a model answers; one that was scaled to zero does."""
        told, reason = pool.state
        ready = told in ("ready", "idle")
        body = {"name": pool.model.name, "ready": ready, "reason": None if ready else reason}
        return readiness_response(body, ready=ready)

    async def oip_infer(request: Request, pool: RunnerPool = the_model) -> Response:
        """Answer a request of tensors."""
        model = pool.model
        signature = SIGNATURES[model.capability]
        sent = await receive(request, signature, state.settings)

        def parse() -> Schema:
            fields = sent.fields(signature, reader)
            return CAPABILITIES[model.capability].request.model_validate({**fields, "model": model.name})

        # images are hashed, and pixels become files
        parsed = await asyncio.to_thread(parse)
        prepared = await prepare(state, request, model.capability, parsed, caller_of(request))
        envelope = await unless_disconnected(request, prepared.predict())
        return await answer(model.name, sent, signature, envelope["data"])

    router.add_api_route(
        path,
        oip_model,
        methods=["GET"],
        name=f"{name} metadata",
        response_model=ModelMetadata,
        responses=oip_error_responses(401, 404),
    )
    router.add_api_route(
        f"{path}/ready",
        oip_model_ready,
        methods=["GET"],
        name=f"{name} ready",
        response_model=OipModelReady,
        responses={**oip_error_responses(401, 404), 503: {"model": OipModelReady, "description": "It does not"}},
    )
    router.add_api_route(
        f"{path}/infer",
        oip_infer,
        methods=["POST"],
        name=f"{name} infer",
        response_model=InferAnswer,
        responses={**oip_error_responses(400, 401, 404, 413, 415, 422, 429, 500, 503, 504), **_BINARY},
        openapi_extra=oip_body(InferBody),
    )
