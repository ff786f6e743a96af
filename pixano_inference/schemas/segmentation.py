"""Segmentation: prompts on an image in, masks out."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from .base import PixelCoordinate, Schema
from .media_bytes import MediaString
from .nd_array import NDArrayFloat
from .rle import CompressedRLE

Point = Annotated[list[PixelCoordinate], Field(min_length=2, max_length=2)]
"""[x, y] in pixels of the image."""
Label = Annotated[int, Field(ge=0, le=1)]
"""1 foreground, 0 background."""
Box = Annotated[list[PixelCoordinate], Field(min_length=4, max_length=4)]
"""[x1, y1, x2, y2] in pixels of the image."""
PointPrompts = list[Annotated[list[Point], Field(min_length=1)]]
LabelPrompts = list[Annotated[list[Label], Field(min_length=1)]]


def check_prompts(
    points: PointPrompts | None, labels: LabelPrompts | None, boxes: list[Box] | None, *, of: str = "prompts"
) -> int:
    """Return how many prompts there are.

    Raises:
        ValueError: Lengths disagree, labels come without points, or a box has no area.
    """
    if labels is not None and points is None:
        raise ValueError("labels are given without points")
    if points is not None and labels is not None:
        if len(points) != len(labels):
            raise ValueError(f"points has {len(points)} {of}, labels has {len(labels)}")
        for index, (some, their) in enumerate(zip(points, labels, strict=True)):
            if len(some) != len(their):
                raise ValueError(f"points[{index}] has {len(some)} points, labels[{index}] has {len(their)} labels")
    if points is not None and boxes is not None and len(points) != len(boxes):
        raise ValueError(f"points has {len(points)} {of}, boxes has {len(boxes)}")
    for index, (x1, y1, x2, y2) in enumerate(boxes or []):
        if x2 <= x1 or y2 <= y1:
            raise ValueError(f"boxes[{index}] must be [x1, y1, x2, y2] with x1 < x2 and y1 < y2")
    return len(points if points is not None else boxes or [])


class SegmentationInput(Schema):
    """What a segmentation model receives.

    Attributes:
        image: Data URI, URL or path on the wire; bytes (:class:`~pixano_inference.schemas.ImageBytes`) in a model.
        points: int [prompts][points][2], x and y in pixels of the image.
        labels: int [prompts][points], 1 foreground and 0 background; null means all foreground.
        boxes: int [prompts][4], x1 y1 x2 y2 in pixels of the image.
        mask_input: float32 [prompts, 1, height, width] (or fewer leading axes), the low-resolution logits of an
            earlier answer.
        multimask_output: Three candidate masks per prompt rather than one.
        num_multimask_outputs: How many; SAM2 supports 3 only.
        image_embedding: float32, an earlier answer's embedding of this image; with ``high_resolution_features``.
        high_resolution_features: float32 arrays of the same earlier answer.
        return_image_embedding: Give both back.
        return_logits: Give ``mask_logits`` back.
        reset_predictor: A hint that the image is new. It never changes the answer.
    """

    image: MediaString
    points: PointPrompts | None = None
    labels: LabelPrompts | None = None
    boxes: list[Box] | None = None
    mask_input: NDArrayFloat | None = None
    multimask_output: bool = True
    num_multimask_outputs: Annotated[int, Field(ge=1, le=64)] = 3
    image_embedding: NDArrayFloat | None = None
    high_resolution_features: list[NDArrayFloat] | None = None
    return_image_embedding: bool = False
    return_logits: bool = False
    reset_predictor: bool = True

    @model_validator(mode="after")
    def _prompts_agree(self) -> Self:
        check_prompts(self.points, self.labels, self.boxes)
        if (self.image_embedding is None) != (self.high_resolution_features is None):
            raise ValueError("image_embedding and high_resolution_features come together or not at all")
        return self


class SegmentationRequest(SegmentationInput):
    """Body of ``POST /inference/segmentation/``; ``model`` names a deployed model."""

    model: str


class SegmentationOutput(Schema):
    """What a segmentation model answers.

    Attributes:
        masks: [prompts][masks], each of the size of the image.
        scores: float32 [prompts, masks], the model's estimate of each mask's quality.
        image_embedding: float32, null unless asked for.
        high_resolution_features: float32 arrays, null unless asked for.
        mask_logits: float32 [prompts, masks, height, width] at the model's low resolution, null unless asked for.
    """

    masks: list[list[CompressedRLE]]
    scores: NDArrayFloat
    image_embedding: NDArrayFloat | None = None
    high_resolution_features: list[NDArrayFloat] | None = None
    mask_logits: NDArrayFloat | None = None
