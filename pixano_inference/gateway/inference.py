"""The way of an inference request through the gateway."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request

from pixano_inference.bounds import check_bounds
from pixano_inference.errors import InvalidInput
from pixano_inference.protocol.messages import to_plain
from pixano_inference.schemas import (
    CAPABILITIES,
    Capability,
    ChatMessage,
    ImageBytes,
    ImagePart,
    MediaBytes,
    Schema,
    TrackingInput,
    VideoBytes,
    VLMInput,
)
from pixano_inference.schemas.media_bytes import DIGEST_PREFIX

from .auth import Caller
from .runner_pool import RunnerPool
from .state import GatewayState

Location = tuple[str | int, ...]
GetImage = Callable[[GatewayState, Caller, str, Location], Awaitable[ImageBytes]]


class PreparedRequest:
    """A request whose media are bytes and whose model is known: all that is left is to send it."""

    def __init__(
        self, pool: RunnerPool, plain: dict[str, Any], digest: str | None, started: float, caller: Caller
    ) -> None:
        self.pool = pool
        self.plain = plain
        self.digest = digest
        self._started = started
        self._caller = caller

    @property
    def timeout_s(self) -> float:
        """Seconds that the model may take."""
        return self.pool.model.deployment.timeout_s

    async def predict(self) -> dict[str, Any]:
        """Return the whole answer in its envelope, as plain values."""
        answer = await self.pool.predict(self.plain, self.digest, self.timeout_s, self._caller.key_id)
        return self.envelope(answer.get("metadata"), answer.get("data"))

    async def messages(self) -> AsyncGenerator[dict[str, Any]]:
        """Yield the runner's messages of a streaming answer: ``started``, then ``piece``s, then ``done``."""
        async with contextlib.aclosing(
            self.pool.stream(self.plain, self.digest, self.timeout_s, self._caller.key_id)
        ) as messages:
            async for message in messages:
                yield message

    def envelope(self, metadata: Any, data: Any) -> dict[str, Any]:
        """Put an answer into its envelope."""
        model = self.pool.model
        told = metadata if isinstance(metadata, dict) else {}
        return {
            "id": uuid.uuid4().hex,
            "status": "SUCCESS",
            "timestamp": datetime.now(UTC).isoformat(),
            "processing_time": time.perf_counter() - self._started,
            "metadata": {
                **told,
                "model_name": model.name,
                "capability": str(model.capability),
                "model_class": model.model_class,
            },
            "data": data,
        }


async def prepare(
    state: GatewayState, http_request: Request, capability: Capability, request: Schema, caller: Caller
) -> PreparedRequest:
    """Check a request against models and bounds, and fetch its media.

    Raises:
        PixanoError: Whatever is wrong with it.
    """
    started = time.perf_counter()
    pool = state.pool(getattr(request, "model", ""), capability)
    http_request.state.model = pool.model
    check_bounds(request, state.settings)
    resolved = await resolve_media(state, caller, request)
    fields = {name: to_plain(value) for name, value in resolved.items() if name in input_fields(capability)}
    return PreparedRequest(pool, fields, _digest(resolved), started, caller)


def input_fields(capability: Capability) -> set[str]:
    """Return the names of the fields that a model of this capability receives."""
    return set(CAPABILITIES[capability].input.model_fields)


async def resolve_media(state: GatewayState, caller: Caller, request: Schema) -> dict[str, Any]:
    """Return the fields of a request with every medium as bytes.

    Raises:
        PixanoError: A medium cannot be had, or a frame index is out of range.
    """
    fields: dict[str, Any] = {name: getattr(request, name) for name in type(request).model_fields}
    if isinstance(request, TrackingInput):
        fields["video"] = await _video(state, caller, request)
    elif isinstance(request, VLMInput):
        if request.images is not None:
            fields["images"] = await _images(state, caller, request.images, ("body", "images"), _image)
        if isinstance(request.prompt, list):
            fields["prompt"] = [
                await _message(state, caller, message, index) for index, message in enumerate(request.prompt)
            ]
    elif "image" in fields:
        fields["image"] = await _image(state, caller, fields["image"], ("body", "image"))
    return fields


async def _image(state: GatewayState, caller: Caller, reference: str, location: Location) -> ImageBytes:
    image = await _frame(state, caller, reference, location)
    state.seen.remember(caller.key_id, image)
    return image


async def _frame(state: GatewayState, caller: Caller, reference: str, location: Location) -> ImageBytes:
    # not remembered: a video is sent once, and would push out the images that people come back to
    if isinstance(reference, ImageBytes):
        return reference
    if reference.startswith(DIGEST_PREFIX):
        return state.seen.find(caller.key_id, reference)
    return await state.media.image(reference, location, caller.key_id)


async def _images(
    state: GatewayState, caller: Caller, references: list[str], location: Location, one: GetImage
) -> list[ImageBytes]:
    # a few at a time: a thousand frames must not open a thousand connections
    room = asyncio.Semaphore(8)

    async def in_turn(index: int, reference: str) -> ImageBytes:
        async with room:
            return await one(state, caller, reference, (*location, index))

    return list(await asyncio.gather(*(in_turn(index, reference) for index, reference in enumerate(references))))


async def _video(state: GatewayState, caller: Caller, request: TrackingInput) -> list[ImageBytes] | VideoBytes:
    location = ("body", "video")
    if isinstance(request.video, VideoBytes):
        return request.video
    if isinstance(request.video, list):
        return await _images(state, caller, request.video, location, _frame)
    video = await state.media.video(request.video, location, caller.key_id)
    if isinstance(video, list):
        for index in request.frame_indexes:
            if index >= len(video):
                raise InvalidInput(
                    f"frame index {index} is out of range: the video has {len(video)} frames",
                    location=("body", "frame_indexes"),
                )
    return video


async def _message(state: GatewayState, caller: Caller, message: ChatMessage, index: int) -> ChatMessage:
    if isinstance(message.content, str):
        return message
    parts = []
    for position, part in enumerate(message.content):
        if isinstance(part, ImagePart):
            location = ("body", "prompt", index, "content", position, "image_url", "url")
            image = await _image(state, caller, part.image_url.url, location)
            part = part.model_copy(update={"image_url": part.image_url.model_copy(update={"url": image})})
        parts.append(part)
    return message.model_copy(update={"content": parts})


def _digest(fields: dict[str, Any]) -> str | None:
    image = fields.get("image") or fields.get("video")
    if isinstance(image, list):
        image = image[0] if image else None
    return image.digest if isinstance(image, MediaBytes) else None
