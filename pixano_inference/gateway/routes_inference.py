"""The inference endpoints, JSON and uploads, made from the table of capabilities."""

from __future__ import annotations

import asyncio
from typing import Literal, cast

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from pixano_inference.protocol.disconnect import unless_disconnected
from pixano_inference.protocol.messages import MEDIA_TYPE, encode
from pixano_inference.schemas import CAPABILITIES, Capability, CapabilitySchemas, Schema

from .array_json import LARGE
from .auth import Caller
from .body import read_schema
from .inference import prepare
from .json_answer import json_answer
from .multipart import parse_metadata, read_multipart
from .openapi import error_responses, json_body, multipart_body
from .state import GatewayState


def caller_of(request: Request) -> Caller:
    """Return who calls, as the middleware found out."""
    return cast(Caller, request.state.caller)


async def read_upload(state: GatewayState, request: Request, schemas: CapabilitySchemas) -> Schema:
    """Read a multipart request: metadata as JSON and the media as parts.

    Raises:
        PixanoError: The body is broken, too large, or its media cannot be used.
    """
    name = cast(Literal["image", "frames"], schemas.uploads)
    metadata, parts = await read_multipart(request, state.settings, files=name)
    # hashing hundreds of megabytes must not hold up the event loop
    media = await asyncio.to_thread(lambda: [state.media.check_upload(part, ("body", name)) for part in parts])
    extra = {"image": media[0]} if name == "image" else {"video": media}
    if len(metadata) < LARGE:
        return parse_metadata(metadata, schemas.request, extra)
    return await asyncio.to_thread(parse_metadata, metadata, schemas.request, extra)


async def answer(state: GatewayState, http_request: Request, capability: Capability, request: Schema) -> Response:
    """Answer a request whose body has been read, in the encoding that the caller accepts."""
    prepared = await prepare(state, http_request, capability, request, caller_of(http_request))
    envelope = await unless_disconnected(http_request, prepared.predict())
    if MEDIA_TYPE in http_request.headers.get("accept", ""):
        return Response(encode(envelope), media_type=MEDIA_TYPE)
    return await json_answer(envelope)


def make_router(state: GatewayState) -> APIRouter:
    """Make the routes of every capability."""
    router = APIRouter(prefix="/inference", tags=["inference"])
    for capability, schemas in CAPABILITIES.items():
        _add_routes(router, state, capability, schemas)
    return router


def _add_routes(router: APIRouter, state: GatewayState, capability: Capability, schemas: CapabilitySchemas) -> None:
    max_bytes = int(state.settings.max_body_mb * 1024 * 1024)

    async def infer(request: Request) -> Response:
        return await answer(state, request, capability, await read_schema(request, schemas.request, max_bytes))

    router.add_api_route(
        f"/{capability}/",
        infer,
        methods=["POST"],
        name=str(capability),
        summary=f"Answer a {capability} request",
        response_model=schemas.response,
        responses=error_responses(400, 401, 404, 413, 415, 422, 429, 500, 503, 504),
        openapi_extra=json_body(schemas.request),
    )
    if schemas.uploads is None:
        return

    async def infer_upload(request: Request) -> Response:
        return await answer(state, request, capability, await read_upload(state, request, schemas))

    router.add_api_route(
        f"/{capability}/binary",
        infer_upload,
        methods=["POST"],
        name=f"{capability} upload",
        summary=f"Answer a {capability} request whose media are uploaded as parts",
        response_model=schemas.response,
        responses=error_responses(400, 401, 404, 413, 422, 429, 500, 503, 504),
        openapi_extra=multipart_body(schemas.request, schemas.uploads),
    )
