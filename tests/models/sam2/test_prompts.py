from __future__ import annotations

import numpy as np
import pytest

from pixano_inference.errors import InvalidInput
from pixano_inference.models.sam2.preprocessing import ImageSize
from pixano_inference.models.sam2.prompts import group_by_shape, prompts_of
from pixano_inference.schemas import ImageBytes, NDArrayFloat, SegmentationInput

pytestmark = pytest.mark.model
SIZE = ImageSize(width=640, height=320)


def prompts(**fields: object) -> list[tuple[list[list[float]], list[int]]]:
    request = SegmentationInput.model_validate({"image": ImageBytes(b"x"), **fields})
    return [(p.points.tolist(), p.labels.tolist()) for p in prompts_of(request, SIZE, side=256, mask_side=64)]


def test_x_and_y_are_scaled_apart_to_the_square() -> None:
    assert prompts(points=[[[640, 0], [0, 320], [320, 80]]], labels=[[1, 0, 1]]) == [
        ([[256.0, 0.0], [0.0, 256.0], [128.0, 64.0]], [1, 0, 1])
    ]


def test_a_box_is_two_corners_after_the_clicks() -> None:
    assert prompts(points=[[[80, 40]]], labels=[[0]], boxes=[[0, 0, 320, 160]]) == [
        ([[32.0, 32.0], [0.0, 0.0], [128.0, 128.0]], [0, 2, 3])
    ]


def test_clicks_without_labels_are_foreground() -> None:
    assert prompts(points=[[[1, 1], [2, 2]]])[0][1] == [1, 1]


def test_without_any_prompt_there_is_one_empty_prompt() -> None:
    assert prompts() == [([[0.0, 0.0]], [-1])]


@pytest.mark.parametrize("shape", [(2, 1, 64, 64), (2, 64, 64)])
def test_mask_input_is_one_mask_per_prompt(shape: tuple[int, ...]) -> None:
    logits = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    request = SegmentationInput(
        image=ImageBytes(b"x"), points=[[[1, 1]], [[2, 2]]], mask_input=NDArrayFloat.from_numpy(logits)
    )
    first, second = prompts_of(request, SIZE, 256, 64)
    assert first.mask is not None
    assert second.mask is not None
    assert np.array_equal(second.mask.numpy()[0], logits[1].reshape(64, 64))
    assert first.mask.shape == (1, 64, 64)


@pytest.mark.parametrize("shape", [(64,), (1, 32, 64), (2, 64, 64), (1, 3, 64, 64)])
def test_a_mask_input_that_does_not_fit_is_refused_with_the_shape_that_would(shape: tuple[int, ...]) -> None:
    request = SegmentationInput(
        image=ImageBytes(b"x"), points=[[[1, 1]]], mask_input=NDArrayFloat.from_numpy(np.zeros(shape))
    )
    with pytest.raises(InvalidInput, match=r"must be \[1, 1, 64, 64\]"):
        prompts_of(request, SIZE, 256, 64)


def test_empty_prompt_lists_are_refused() -> None:
    with pytest.raises(InvalidInput, match="empty"):
        prompts(points=[], labels=[])


def test_prompts_of_one_length_share_a_pass_and_none_is_padded() -> None:
    request = SegmentationInput(image=ImageBytes(b"x"), points=[[[1, 1]], [[1, 1], [2, 2]], [[3, 3]]])
    rows = prompts_of(request, SIZE, 256, 64)
    assert group_by_shape(rows) == {(1, False): [0, 2], (2, False): [1]}
