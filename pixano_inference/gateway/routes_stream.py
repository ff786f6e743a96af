"""Answers while they are made: the masks of each frame, the text of each token, as NDJSON."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from pixano_inference.errors import ModelFailed
from pixano_inference.protocol.disconnect import unless_disconnected
from pixano_inference.schemas import CAPABILITIES, Capability, FrameMasks, Schema

from .body import read_schema
from .inference import PreparedRequest, prepare
from .ndjson import MEDIA_TYPE, NDJSONResponse
from .openapi import error_responses, json_body, multipart_body
from .routes_inference import caller_of, read_upload
from .state import GatewayState

_STATUSES = (400, 401, 404, 413, 415, 422, 429, 500, 503, 504)
_DESCRIPTIONS = {
    Capability.TRACKING: 'One line per frame with its masks, then `{"done": true, ...}` or `{"error": {...}}`',
    Capability.VLM: 'One line per piece of text, then `{"done": true, "data": ...}` or `{"error": {...}}`',
}

Message = dict[str, Any]


def frame_line(piece: Any) -> dict[str, Any]:
    """Return the line of one frame.

    Raises:
        ModelFailed: The model yielded something else.
    """
    if not isinstance(piece, dict) or not piece.keys() >= FrameMasks.model_fields.keys():
        raise ModelFailed("the model yielded something that is not the masks of a frame")
    return {name: piece[name] for name in FrameMasks.model_fields}


async def tracking_lines(prepared: PreparedRequest, messages: AsyncGenerator[Message]) -> AsyncGenerator[Message]:
    """Yield the lines of a tracking answer from the runner's messages."""
    async with contextlib.aclosing(messages):
        async for message in messages:
            if message.get("done"):
                envelope = prepared.envelope(message.get("metadata"), None)
                yield {"done": True, **{name: value for name, value in envelope.items() if name != "data"}}
            elif "piece" in message:
                yield frame_line(message["piece"])


async def vlm_lines(prepared: PreparedRequest, messages: AsyncGenerator[Message]) -> AsyncGenerator[Message]:
    """Yield the lines of a VLM's answer from the runner's messages; the last one holds the whole output."""
    output: dict[str, Any] | None = None
    async with contextlib.aclosing(messages):
        async for message in messages:
            piece = message.get("piece")
            if message.get("done"):
                if output is None:
                    raise ModelFailed("the model's answer ended without the whole output")
                yield {"done": True, **prepared.envelope(message.get("metadata"), output)}
            elif isinstance(piece, str):
                yield {"text": piece}
            elif isinstance(piece, dict):
                output = piece


_LINES = {Capability.TRACKING: tracking_lines, Capability.VLM: vlm_lines}


async def answer(state: GatewayState, http_request: Request, capability: Capability, request: Schema) -> NDJSONResponse:
    """Answer a request whose body has been read, line by line.

    The first line is waited for, so that what fails before it has the status of its error.
    """
    prepared = await prepare(state, http_request, capability, request, caller_of(http_request))
    lines = _LINES[capability](prepared, prepared.messages())
    try:
        first = await unless_disconnected(http_request, anext(lines))
    except BaseException:  # cancellation, too, must stop the model
        await lines.aclose()
        raise
    return NDJSONResponse(first, lines)


def make_router(state: GatewayState) -> APIRouter:
    """Make the streaming routes."""
    router = APIRouter(prefix="/inference", tags=["inference"])
    for capability in _LINES:
        _add_routes(router, state, capability)
    return router


def _add_routes(router: APIRouter, state: GatewayState, capability: Capability) -> None:
    schemas = CAPABILITIES[capability]
    max_bytes = int(state.settings.max_body_mb * 1024 * 1024)
    responses: dict[int | str, dict[str, Any]] = {
        200: {"content": {MEDIA_TYPE: {}}, "description": _DESCRIPTIONS[capability]},
        **error_responses(*_STATUSES),
    }

    async def stream(request: Request) -> NDJSONResponse:
        return await answer(state, request, capability, await read_schema(request, schemas.request, max_bytes))

    router.add_api_route(
        f"/{capability}/stream",
        stream,
        methods=["POST"],
        name=f"{capability} stream",
        summary=f"Answer a {capability} request while the answer is made",
        response_class=Response,
        response_model=None,
        responses=responses,
        openapi_extra=json_body(schemas.request),
    )
    if schemas.uploads is None:
        return

    async def stream_upload(request: Request) -> NDJSONResponse:
        return await answer(state, request, capability, await read_upload(state, request, schemas))

    router.add_api_route(
        f"/{capability}/stream/binary",
        stream_upload,
        methods=["POST"],
        name=f"{capability} stream upload",
        summary=f"Answer a {capability} request with uploaded media while the answer is made",
        response_class=Response,
        response_model=None,
        responses=responses,
        openapi_extra=multipart_body(schemas.request, schemas.uploads),
    )
