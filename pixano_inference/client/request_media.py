"""The images inside a request: found, and taken out of their data URIs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from pixano_inference.schemas import (
    ChatMessage,
    DetectionRequest,
    ImagePart,
    ImageUrl,
    MediaBytes,
    SegmentationRequest,
    TrackingRequest,
    VLMRequest,
)

from .media import bytes_of_data_uri

InferenceRequest: TypeAlias = SegmentationRequest | DetectionRequest | TrackingRequest | VLMRequest


def hold_bytes(request: InferenceRequest) -> InferenceRequest:
    """Return a copy whose images are bytes where they were data URIs.

    Bytes have a digest, by which a server that has seen the image knows it, and they can be uploaded as they are.
    """
    if isinstance(request, TrackingRequest):
        if not isinstance(request.video, list):
            return request
        return request.model_copy(update={"video": [_held(frame) for frame in request.video]})
    if isinstance(request, VLMRequest):
        images = [_held(image) for image in request.images] if request.images is not None else None
        prompt = request.prompt
        if isinstance(prompt, list):
            prompt = [_held_message(message) for message in prompt]
        return request.model_copy(update={"images": images, "prompt": prompt})
    return request.model_copy(update={"image": _held(request.image)})


def _held(medium: str) -> str:
    return medium if isinstance(medium, MediaBytes) else bytes_of_data_uri(medium) or medium


def _held_message(message: ChatMessage) -> ChatMessage:
    if isinstance(message.content, str):
        return message
    parts = [
        ImagePart.model_construct(type="image_url", image_url=ImageUrl.model_construct(url=_held(part.image_url.url)))
        if isinstance(part, ImagePart)
        else part
        for part in message.content
    ]
    return message.model_copy(update={"content": parts})


def nameable_images(request: InferenceRequest) -> Iterator[MediaBytes]:
    """Yield the images that may be sent as their digest alone.

    Frames of a video are not among them: a video is sent once, and its frames would push out the images that people
    come back to.
    """
    if isinstance(request, TrackingRequest):
        return
    media: list[str] = []
    if isinstance(request, VLMRequest):
        media += request.images or []
        for message in request.prompt if isinstance(request.prompt, list) else []:
            if isinstance(message.content, list):
                media += [part.image_url.url for part in message.content if isinstance(part, ImagePart)]
    else:
        media.append(request.image)
    yield from (medium for medium in media if isinstance(medium, MediaBytes))
