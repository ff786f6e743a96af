"""Requests from what people hold: paths, arrays, Pillow images, numpy prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from pixano_inference.schemas import (
    DetectionRequest,
    SegmentationRequest,
    TrackingRequest,
    VLMRequest,
)

from .media import ImageLike, VideoLike, image_from, video_from

Numbers: TypeAlias = Sequence[Any] | npt.NDArray[Any]
"""Nested lists of numbers, or an array; fractions of a pixel are rounded."""


def segmentation_request(
    model: str,
    image: ImageLike,
    *,
    points: Numbers | None = None,
    labels: Numbers | None = None,
    boxes: Numbers | None = None,
    **options: Any,
) -> SegmentationRequest:
    """Make a segmentation request.

    Args:
        model: Name of a deployed model.
        image: See :func:`~pixano_inference.client.image_to_data_uri`.
        points: [prompts][points][2], or [points][2] for one prompt: x and y in pixels.
        labels: [prompts][points], or [points] for one prompt; left out, all points are foreground.
        boxes: [prompts][4], or [4] for one prompt: x1 y1 x2 y2 in pixels.
        options: More fields of :class:`~pixano_inference.schemas.SegmentationRequest`.

    Raises:
        ValueError: The fields do not fit together, or the image cannot be read (then an ``OSError``).
    """
    return SegmentationRequest.model_validate(
        {"model": model, "image": image_from(image), **_prompts(points, labels, boxes), **options}
    )


def detection_request(
    model: str, image: ImageLike, classes: str | Sequence[str] | None = None, **options: Any
) -> DetectionRequest:
    """Make a detection request.

    Args:
        model: Name of a deployed model.
        image: See :func:`~pixano_inference.client.image_to_data_uri`.
        classes: Names to look for; null for a model with a closed vocabulary.
        options: More fields of :class:`~pixano_inference.schemas.DetectionRequest`.
    """
    names = classes if classes is None or isinstance(classes, str) else list(classes)
    return DetectionRequest.model_validate({"model": model, "image": image_from(image), "classes": names, **options})


def tracking_request(
    model: str,
    video: VideoLike,
    *,
    objects_ids: Sequence[int],
    frame_indexes: Sequence[int] | None = None,
    points: Numbers | None = None,
    labels: Numbers | None = None,
    boxes: Numbers | None = None,
    **options: Any,
) -> TrackingRequest:
    """Make a tracking request.

    Args:
        model: Name of a deployed model.
        video: Frames in order, a video file, a folder of frames, or a URL.
        objects_ids: One unique id per object.
        frame_indexes: The prompted frame of each object; left out, the frames of the keyframes, or else frame 0.
        points: [objects][points][2], or [points][2] for one object: x and y in pixels.
        labels: [objects][points], or [points] for one object; left out, all points are foreground.
        boxes: [objects][4], or [4] for one object: x1 y1 x2 y2 in pixels.
        options: More fields of :class:`~pixano_inference.schemas.TrackingRequest`, such as ``keyframes``.

    Raises:
        ValueError: The fields do not fit together, or a file cannot be read (then an ``OSError``).
    """
    fields: dict[str, Any] = {
        "model": model,
        "video": video_from(video),
        "objects_ids": list(objects_ids),
        **_prompts(points, labels, boxes),
        **options,
    }
    if frame_indexes is not None:
        fields["frame_indexes"] = list(frame_indexes)
    elif fields.get("keyframes") is None:
        fields["frame_indexes"] = [0] * len(objects_ids)
    return TrackingRequest.model_validate(fields)


def vlm_request(
    model: str, prompt: str, images: ImageLike | Sequence[ImageLike], *, max_new_tokens: int = 64, **options: Any
) -> VLMRequest:
    """Make a request to a vision-language model.

    Args:
        model: Name of a deployed model.
        prompt: The question. (For a conversation, make a :class:`~pixano_inference.schemas.VLMRequest` yourself.)
        images: One image or several; see :func:`~pixano_inference.client.image_to_data_uri`.
        max_new_tokens: Most tokens to generate.
        options: More fields of :class:`~pixano_inference.schemas.VLMRequest`, such as ``temperature``.
    """
    several = [image_from(image) for image in images] if isinstance(images, list | tuple) else [image_from(images)]  # type: ignore[arg-type]  # a list is a list of images, anything else one image
    return VLMRequest.model_validate(
        {"model": model, "prompt": prompt, "images": several, "max_new_tokens": max_new_tokens, **options}
    )


def _prompts(points: Numbers | None, labels: Numbers | None, boxes: Numbers | None) -> dict[str, Any]:
    return {
        "points": _nested(points, 3),
        "labels": _nested(labels, 2),
        "boxes": _nested(boxes, 2),
    }


def _nested(numbers: Numbers | None, depth: int) -> Any:
    """Return nested lists of ints of the given depth; one level less is one prompt."""
    if numbers is None:
        return None
    values = _whole(numbers)
    return [values] if _depth(values) == depth - 1 else values


def _whole(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_whole(item) for item in value]
    return round(value) if isinstance(value, float | np.floating) else value


def _depth(value: Any) -> int:
    return 1 + _depth(value[0]) if isinstance(value, list) and value else int(isinstance(value, list))
