"""Bounds on what one request may ask for, checked before any work is done for it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sized

from pixano_inference.configs.server_settings import ServerSettings
from pixano_inference.errors import InvalidInput, TooLarge
from pixano_inference.schemas import DetectionInput, NDArrayFloat, SegmentationInput, TrackingInput, VLMInput
from pixano_inference.schemas.base import Schema
from pixano_inference.schemas.vlm import ImagePart, TextPart

Location = tuple[str | int, ...]


def check_bounds(request: Schema, settings: ServerSettings) -> None:
    """Refuse a request that asks for more than the settings allow.

    Args:
        request: A validated request (or input) of any capability.
        settings: The limits.

    Raises:
        InvalidInput: A count or a length is over its limit; the location names the field.
        TooLarge: The arrays of the request hold too many values, or the video has too many frames.
    """
    if isinstance(request, SegmentationInput):
        _check_segmentation(request, settings)
    elif isinstance(request, TrackingInput):
        _check_tracking(request, settings)
    elif isinstance(request, DetectionInput):
        _check_detection(request, settings)
    elif isinstance(request, VLMInput):
        _check_vlm(request, settings)


def _at_most(count: int, limit: int, what: str, *location: str | int) -> None:
    if count > limit:
        raise InvalidInput(f"{count} {what}; allowed are {limit}", code="bounds", location=("body", *location))


def _check_prompts(
    points: list[list[list[int]]] | None, boxes: Sized | None, most: int, settings: ServerSettings, what: str
) -> None:
    _at_most(len(points or ()), most, what, "points")
    _at_most(len(boxes or ()), most, what, "boxes")
    for index, prompt in enumerate(points or ()):
        _at_most(len(prompt), settings.max_points, "points in one prompt", "points", index)


def _check_arrays(arrays: Iterable[tuple[str, NDArrayFloat | None]], settings: ServerSettings) -> None:
    total = 0
    for name, array in arrays:
        if array is None:
            continue
        total += math.prod(array.shape)
        if len(array.shape) > 8:
            raise InvalidInput(
                f"{len(array.shape)} axes; allowed are 8", code="bounds", location=("body", name, "shape")
            )
        if total > settings.max_array_values:
            raise TooLarge(
                f"the arrays of the request hold more than the allowed {settings.max_array_values} values",
                code="bounds",
                location=("body", name),
            )


def _check_segmentation(request: SegmentationInput, settings: ServerSettings) -> None:
    _check_prompts(request.points, request.boxes, settings.max_prompts, settings, "prompts")
    features = request.high_resolution_features or []
    _at_most(len(features), 16, "arrays", "high_resolution_features")
    _check_arrays(
        [
            ("mask_input", request.mask_input),
            ("image_embedding", request.image_embedding),
            *(("high_resolution_features", feature) for feature in features),
        ],
        settings,
    )


def _check_tracking(request: TrackingInput, settings: ServerSettings) -> None:
    _at_most(len(request.objects_ids), settings.max_objects, "objects", "objects_ids")
    _check_prompts(request.points, request.boxes, settings.max_objects, settings, "objects")
    for index, keyframe in enumerate(request.keyframes or ()):
        _at_most(len(keyframe.points or ()), settings.max_points, "points in one prompt", "keyframes", index, "points")
    if isinstance(request.video, list) and len(request.video) > settings.max_frames:
        raise TooLarge(
            f"the video has {len(request.video)} frames; allowed are {settings.max_frames}",
            code="frames",
            location=("body", "video"),
        )
    for index, frame in enumerate(request.frame_indexes):
        _at_most(frame + 1, settings.max_frames, "frames up to this one", "frame_indexes", index)


def _check_detection(request: DetectionInput, settings: ServerSettings) -> None:
    classes = [request.classes] if isinstance(request.classes, str) else request.classes or []
    _at_most(len(classes), settings.max_classes, "classes", "classes")
    if isinstance(request.classes, str):
        # one string may name several classes, as "cat. dog."
        _at_most(len(request.classes), settings.max_class_length * settings.max_classes, "characters", "classes")
        return
    for index, name in enumerate(classes):
        _at_most(len(name), settings.max_class_length, "characters in a class name", "classes", index)


def _check_vlm(request: VLMInput, settings: ServerSettings) -> None:
    _at_most(request.max_new_tokens, settings.max_new_tokens, "new tokens", "max_new_tokens")
    images = len(request.images or ())
    if isinstance(request.prompt, str):
        characters = len(request.prompt)
    else:
        contents = [message.content for message in request.prompt]
        parts = [part for content in contents if not isinstance(content, str) for part in content]
        characters = sum(len(content) for content in contents if isinstance(content, str))
        characters += sum(len(part.text) for part in parts if isinstance(part, TextPart))
        images += sum(isinstance(part, ImagePart) for part in parts)
        _at_most(len(parts) + len(contents), 16 * settings.max_images, "messages and parts", "prompt")
    _at_most(characters, settings.max_prompt_length, "characters in the prompt", "prompt")
    _at_most(images, settings.max_images, "images", "images")
