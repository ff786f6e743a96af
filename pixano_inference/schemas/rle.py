"""Masks on the wire: COCO's compressed run-length encoding.

Source: the format of the COCO API (``pycocotools``): runs over the column-major mask, starting with background,
written in a base-48 variable-length code, each count after the third as a difference to the one two before it.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask
from pydantic import BeforeValidator, Field, model_validator

from .base import Schema

MAX_MASK_PIXELS = 2**28
"""Largest height × width of a mask: 16384 × 16384."""

_TEXT_LIMIT = 64 * 1024 * 1024


def run_lengths(counts: str) -> list[int]:
    """Decode COCO's compressed counts to run lengths.

    Raises:
        ValueError: A character is outside the code, the text ends inside a number, or a run is negative.
    """
    runs: list[int] = []
    position, end = 0, len(counts)
    while position < end:
        value, shift, more = 0, 0, True
        while more:
            if position == end:
                raise ValueError("counts ends in the middle of a number")
            code = ord(counts[position]) - 48
            position += 1
            if not 0 <= code < 64 or shift > 40:
                raise ValueError("counts is not a COCO compressed RLE string")
            value |= (code & 0x1F) << shift
            more = bool(code & 0x20)
            shift += 5
            if not more and code & 0x10:
                value |= -1 << shift
        if len(runs) > 2:
            value += runs[-2]
        if value < 0:
            raise ValueError("counts holds a negative run")
        runs.append(value)
    return runs


def _one_int(value: Any) -> Any:
    # bool is an int to Python, never a size or a run
    if isinstance(value, bool):
        raise ValueError("a boolean is not a number of pixels")
    return value


Pixels = Annotated[int, BeforeValidator(_one_int), Field(ge=0, le=MAX_MASK_PIXELS)]


class CompressedRLE(Schema):
    """A binary mask in COCO's compressed run-length encoding.

    Attributes:
        size: [height, width] in pixels.
        counts: The compressed runs. A list of ints (uncompressed runs, column-major, background first) is accepted
            and compressed. Runs that do not cover the size exactly are refused.
    """

    size: Annotated[list[Pixels], Field(min_length=2, max_length=2)]
    counts: Annotated[str, Field(max_length=_TEXT_LIMIT)] | list[Pixels]

    @model_validator(mode="after")
    def _covers_the_size(self) -> Self:
        height, width = self.size
        if height < 1 or width < 1:
            raise ValueError(f"size must be two positive numbers [height, width], got {self.size}")
        if height * width > MAX_MASK_PIXELS:
            raise ValueError(f"size {self.size} is over the largest mask of {MAX_MASK_PIXELS} pixels")
        runs = run_lengths(self.counts) if isinstance(self.counts, str) else self.counts
        if sum(runs) != height * width:
            raise ValueError(f"counts covers {sum(runs)} pixels, size {self.size} has {height * width}")
        if not isinstance(self.counts, str):
            packed = coco_mask.frPyObjects({"size": self.size, "counts": runs}, height, width)
            self.__dict__["counts"] = packed["counts"].decode("ascii")
        return self

    @property
    def text(self) -> str:
        """The compressed counts."""
        if not isinstance(self.counts, str):
            raise TypeError("counts is compressed at validation")
        return self.counts

    @classmethod
    def from_mask(cls, mask: npt.NDArray[Any]) -> CompressedRLE:
        """Encode a mask.

        Args:
            mask: Array [height, width]; every value that is not zero is foreground.

        Raises:
            ValueError: The array is not two-dimensional or empty.
        """
        if mask.ndim != 2 or mask.size == 0:
            raise ValueError(f"a mask is an array [height, width], got shape {mask.shape}")
        packed = coco_mask.encode(np.asfortranarray(mask.astype(bool, copy=False).view(np.uint8)))
        counts: str = packed["counts"].decode("ascii")
        return cls.model_construct({"size", "counts"}, size=[int(side) for side in mask.shape], counts=counts)

    def to_mask(self) -> npt.NDArray[np.uint8]:
        """Return the mask as uint8 [height, width] with values 0 and 1."""
        decoded: npt.NDArray[np.uint8] = coco_mask.decode({"size": self.size, "counts": self.text.encode("ascii")})
        return decoded

    def area(self) -> int:
        """Return the number of foreground pixels."""
        return int(coco_mask.area({"size": self.size, "counts": self.text.encode("ascii")}))
