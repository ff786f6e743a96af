"""Prompts of a request as rows that the mask decoder takes.

A prompt is a list of points with labels: 1 and 0 are clicks, 2 and 3 the corners of a box, -1 is "no point". That is
how SAM's prompt encoder itself sees a box, so boxes, clicks and both together need no separate path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from pixano_inference.errors import InvalidInput
from pixano_inference.schemas import NDArrayFloat, SegmentationInput

from .preprocessing import ImageSize

FOREGROUND, TOP_LEFT, BOTTOM_RIGHT, NO_POINT = 1, 2, 3, -1


@dataclass(frozen=True)
class Prompt:
    """One prompt in the model's coordinates.

    Attributes:
        points: float32 [points, 2], x and y in pixels of the model's square input.
        labels: int32 [points].
        mask: float32 [1, side, side], low-resolution logits of an earlier answer, or null.
    """

    points: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int32]
    mask: torch.Tensor | None = None


def make_prompt(
    points: Sequence[Sequence[float]],
    labels: Sequence[int],
    box: Sequence[float] | None,
    size: ImageSize,
    side: int,
    mask: torch.Tensor | None = None,
) -> Prompt:
    """Scale one prompt from pixels of the image (x, y; x1 y1 x2 y2) to the model's square of ``side`` pixels."""
    corners = [] if box is None else [box[:2], box[2:]]
    everything = [*points, *corners]
    kinds = [*labels, *([] if box is None else [TOP_LEFT, BOTTOM_RIGHT])]
    if not everything:
        everything, kinds = [[0.0, 0.0]], [NO_POINT]
    scale = np.array([side / size.width, side / size.height])
    scaled = np.asarray(everything, dtype=np.float64).reshape(-1, 2) * scale
    return Prompt(scaled.astype(np.float32), np.asarray(kinds, dtype=np.int32), mask)


def prompts_of(request: SegmentationInput, size: ImageSize, side: int, mask_side: int) -> list[Prompt]:
    """Return the prompts of a request; without any there is one empty prompt.

    Args:
        request: Prompts in pixels of the image.
        size: Size of the image as it was sent.
        side: Side of the model's input in pixels.
        mask_side: Side of the model's low-resolution logits.

    Raises:
        InvalidInput: ``mask_input`` does not fit the model or the number of prompts.
    """
    points, labels, boxes = request.points, request.labels, request.boxes
    count = len(points if points is not None else boxes if boxes is not None else [None])
    if count == 0:
        raise InvalidInput("points and boxes are empty: leave them out to segment without a prompt")
    masks = _mask_rows(request.mask_input, count, mask_side)
    return [
        make_prompt(
            points[row] if points is not None else [],
            (labels[row] if labels is not None else [FOREGROUND] * len(points[row])) if points is not None else [],
            boxes[row] if boxes is not None else None,
            size,
            side,
            masks[row] if masks is not None else None,
        )
        for row in range(count)
    ]


def _mask_rows(mask_input: NDArrayFloat | None, count: int, side: int) -> torch.Tensor | None:
    """Return ``mask_input`` as float32 [prompts, 1, side, side]."""
    if mask_input is None:
        return None
    shape = mask_input.shape
    wanted = f"mask_input must be [{count}, 1, {side}, {side}] for {count} prompts (one mask per prompt)"
    if len(shape) < 2 or shape[-2:] != [side, side]:
        raise InvalidInput(f"{wanted}, got {shape[:6]}", location=("body", "mask_input"))
    masks = mask_input.to_torch().reshape(-1, 1, side, side)
    if len(masks) != count:
        raise InvalidInput(f"{wanted}, got {shape[:6]}", location=("body", "mask_input"))
    return masks


def group_by_shape(prompts: Sequence[Prompt]) -> dict[tuple[int, bool], list[int]]:
    """Group prompts that can be decoded in one pass: as many points each, and all or none with a mask.

    Prompts are not padded to a common length: SAM's decoder has no attention mask, so every padding token would
    change the answer, and a batch would answer otherwise than its prompts alone.

    Returns:
        (number of points, has a mask) → indexes into ``prompts``.
    """
    groups: dict[tuple[int, bool], list[int]] = {}
    for index, prompt in enumerate(prompts):
        groups.setdefault((len(prompt.labels), prompt.mask is not None), []).append(index)
    return groups
