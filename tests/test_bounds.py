"""What one request may ask for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pixano_inference.bounds import check_bounds
from pixano_inference.configs.server_settings import ServerSettings
from pixano_inference.errors import InvalidInput, PixanoError, TooLarge
from pixano_inference.schemas import (
    DetectionRequest,
    NDArrayFloat,
    SegmentationRequest,
    TrackingRequest,
    VLMRequest,
)
from pixano_inference.schemas.base import Schema

SETTINGS = ServerSettings(
    max_prompts=3,
    max_points=4,
    max_objects=2,
    max_frames=5,
    max_classes=2,
    max_class_length=8,
    max_images=2,
    max_prompt_length=20,
    max_new_tokens=10,
    max_array_values=100,
)

CLICK = [[1, 1]]
IMAGE_PART = {"type": "image_url", "image_url": {"url": "data:,"}}


def segmentation(**fields: Any) -> SegmentationRequest:
    return SegmentationRequest.model_validate({"model": "m", "image": "x", **fields})


def tracking(objects: int = 1, **fields: Any) -> TrackingRequest:
    base = {"model": "m", "video": ["x"], "objects_ids": list(range(objects)), "frame_indexes": [0] * objects}
    return TrackingRequest.model_validate({**base, "points": [CLICK] * objects, **fields})


def detection(classes: Any) -> DetectionRequest:
    return DetectionRequest.model_validate({"model": "m", "image": "x", "classes": classes})


def vlm(prompt: Any, images: Any = None, max_new_tokens: int = 1) -> VLMRequest:
    return VLMRequest.model_validate(
        {"model": "m", "prompt": prompt, "images": images, "max_new_tokens": max_new_tokens}
    )


def array(*shape: int) -> NDArrayFloat:
    return NDArrayFloat.from_numpy(np.zeros(shape))


AT_THE_LIMIT: list[Schema] = [
    segmentation(),
    segmentation(points=[CLICK * 4] * 3),
    segmentation(boxes=[[0, 0, 1, 1]] * 3),
    segmentation(mask_input=array(1, 10, 10)),
    segmentation(image_embedding=array(50), high_resolution_features=[array(25), array(25)]),
    tracking(2, video=["x"] * 5, frame_indexes=[0, 4]),
    detection(None),
    detection(["c" * 8, "d"]),
    detection("c" * 16),
    vlm("q" * 20, ["a", "b"], 10),
    vlm([{"role": "user", "content": [{"type": "text", "text": "q" * 20}, IMAGE_PART, IMAGE_PART]}]),
]

OVER_THE_LIMIT: list[tuple[Schema, tuple[str | int, ...], type[PixanoError]]] = [
    (segmentation(points=[CLICK] * 4), ("points",), InvalidInput),
    (segmentation(boxes=[[0, 0, 1, 1]] * 4), ("boxes",), InvalidInput),
    (segmentation(points=[CLICK, CLICK * 5]), ("points", 1), InvalidInput),
    (segmentation(mask_input=array(101)), ("mask_input",), TooLarge),
    (segmentation(mask_input=array(*[1] * 9)), ("mask_input", "shape"), InvalidInput),
    (
        segmentation(image_embedding=array(60), high_resolution_features=[array(41)]),
        ("high_resolution_features",),
        TooLarge,
    ),
    (
        segmentation(image_embedding=array(1), high_resolution_features=[array(1)] * 17),
        ("high_resolution_features",),
        InvalidInput,
    ),
    (tracking(3), ("objects_ids",), InvalidInput),
    (tracking(points=[CLICK * 5]), ("points", 0), InvalidInput),
    (
        tracking(points=None, keyframes=[{"frame_index": 0, "points": [{"x": 1, "y": 1}] * 5}]),
        ("keyframes", 0, "points"),
        InvalidInput,
    ),
    (tracking(video=["x"] * 6), ("video",), TooLarge),
    (tracking(video="v.mp4", frame_indexes=[5]), ("frame_indexes", 0), InvalidInput),
    (detection(["a", "b", "c"]), ("classes",), InvalidInput),
    (detection(["a", "c" * 9]), ("classes", 1), InvalidInput),
    (detection("c" * 17), ("classes",), InvalidInput),
    (vlm("q" * 21, ["a"]), ("prompt",), InvalidInput),
    (vlm("q", ["a"] * 3), ("images",), InvalidInput),
    (vlm("q", ["a"], 11), ("max_new_tokens",), InvalidInput),
    (vlm([{"role": "user", "content": [IMAGE_PART] * 3}]), ("images",), InvalidInput),
    (vlm([{"role": "user", "content": "q" * 11}] * 2), ("prompt",), InvalidInput),
    (vlm([{"role": "user", "content": ""}] * 100), ("prompt",), InvalidInput),
]


@pytest.mark.parametrize("request_", AT_THE_LIMIT)
def test_what_is_at_the_limit_passes(request_: Schema) -> None:
    check_bounds(request_, SETTINGS)


@pytest.mark.parametrize(("request_", "location", "error"), OVER_THE_LIMIT)
def test_what_is_over_a_limit_is_refused_where_it_is(
    request_: Schema, location: tuple[str | int, ...], error: type[PixanoError]
) -> None:
    with pytest.raises(error) as caught:
        check_bounds(request_, SETTINGS)
    assert caught.value.location == ("body", *location)
    assert "allowed" in caught.value.message


def test_the_defaults_leave_room_for_the_embeddings_of_the_largest_sam2() -> None:
    features = [array(32, 256, 256), array(64, 128, 128)]
    check_bounds(segmentation(image_embedding=array(256, 64, 64), high_resolution_features=features), ServerSettings())
