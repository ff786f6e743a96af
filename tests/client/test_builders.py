"""Requests from numbers and images as people hold them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from pixano_inference.client import detection_request, segmentation_request, tracking_request, vlm_request
from pixano_inference.schemas import ImageBytes, Keyframe, KeyframePoint

IMAGE = b"bytes of an image"


@pytest.mark.parametrize(
    "points", [[[3, 4], [5, 6]], [[[3, 4], [5, 6]]], np.array([[3.2, 4], [5, 5.6]]), ((3, 4), (5, 6))]
)
def test_one_prompt_needs_no_outer_list(points: Any) -> None:
    request = segmentation_request("m", IMAGE, points=points, labels=np.array([1, 0]), boxes=[1, 2, 3, 4])
    assert request.points == [[[3, 4], [5, 6]]]
    assert request.labels == [[1, 0]]
    assert request.boxes == [[1, 2, 3, 4]]
    assert request.image == ImageBytes(IMAGE)


def test_prompts_of_different_lengths() -> None:
    points = [[[1, 2]], [[3, 4], [5, 6]]]
    request = segmentation_request("m", IMAGE, points=points, multimask_output=False, num_multimask_outputs=1)
    assert request.points == points
    assert request.multimask_output is False


def test_prompts_that_do_not_fit_are_refused_here() -> None:
    with pytest.raises(ValidationError, match="labels"):
        segmentation_request("m", IMAGE, labels=[1])


@pytest.mark.parametrize(("classes", "sent"), [(None, None), ("cat", "cat"), (("cat", "dog"), ["cat", "dog"])])
def test_classes(classes: Any, sent: Any) -> None:
    assert detection_request("m", IMAGE, classes, box_threshold=0.2).classes == sent


def test_objects_are_prompted_on_frame_0_or_where_their_keyframe_is() -> None:
    request = tracking_request("m", [IMAGE] * 3, objects_ids=[1, 2], boxes=[[0, 0, 1, 1], [2, 2, 3, 3]])
    assert request.frame_indexes == [0, 0]
    request = tracking_request("m", [IMAGE] * 3, objects_ids=[1], frame_indexes=[2], points=[[1, 1]])
    assert request.frame_indexes == [2]
    keyframes = [Keyframe(frame_index=1, points=[KeyframePoint(x=1, y=1)])]
    assert tracking_request("m", [IMAGE] * 3, objects_ids=[1], keyframes=keyframes).frame_indexes == [1]


def test_one_image_or_several() -> None:
    assert vlm_request("m", "?", IMAGE).images == [ImageBytes(IMAGE)]
    assert vlm_request("m", "?", [IMAGE, np.zeros((2, 2), np.uint8)], temperature=0).max_new_tokens == 64
