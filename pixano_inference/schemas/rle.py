"""Masks on the wire: COCO's compressed run-length encoding.

Source: the format of the COCO API (``pycocotools``): runs over the column-major mask, starting with background,
written in a base-48 variable-length code, each count after the third as a difference to the one two before it.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask
from pydantic import BeforeValidator, Field, PrivateAttr, model_validator

from .base import Schema

MAX_MASK_PIXELS = 2**28
"""Largest height × width of a mask: 16384 × 16384."""

_TEXT_LIMIT = 8 * 1024 * 1024


_DIGIT_BITS = 5
_MAX_DIGITS = 7  # 35 bits; a mask of the largest size needs 6 digits for any difference of runs


def run_lengths(counts: str) -> npt.NDArray[np.int64]:
    """Decode COCO's compressed counts to run lengths, int64 [runs].

    The work is done by numpy, since a hostile text of many MB must not keep the interpreter busy.

    Raises:
        ValueError: A character is outside the code, the text ends inside a number, or a run is negative.
    """
    if not counts.isascii():
        raise ValueError("counts is not a COCO compressed RLE string")
    codes = np.frombuffer(counts.encode("ascii"), dtype=np.uint8).astype(np.int16) - 48
    if codes.size == 0:
        return np.zeros(0, dtype=np.int64)
    if codes.min() < 0 or codes.max() > 63:
        raise ValueError("counts is not a COCO compressed RLE string")
    ends = np.flatnonzero((codes & 0x20) == 0)
    if ends.size == 0 or ends[-1] != codes.size - 1:
        raise ValueError("counts ends in the middle of a number")
    starts = np.concatenate(([0], ends[:-1] + 1))
    digits = ends - starts + 1
    if digits.max() > _MAX_DIGITS:
        raise ValueError("counts holds a number that is too large")
    runs = np.zeros(starts.size, dtype=np.int64)
    for place in range(int(digits.max())):
        reached = digits > place
        runs[reached] |= (codes[starts[reached] + place] & 0x1F).astype(np.int64) << (_DIGIT_BITS * place)
    negative = (codes[ends] & 0x10) != 0
    runs[negative] -= np.int64(1) << (_DIGIT_BITS * digits[negative])
    # from the fourth on, a number is the difference to the run two before it
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    if runs.min() < 0:
        raise ValueError("counts holds a negative run")
    if runs.max() > MAX_MASK_PIXELS:
        raise ValueError("counts holds a run that is longer than any mask")  # and sums of such could wrap around
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
    # what was found to cover its size; pydantic asks again each time that a mask is put into another schema
    _checked: tuple[int, int, str] | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _covers_the_size(self) -> Self:
        height, width = self.size
        if height < 1 or width < 1:
            raise ValueError(f"size must be two positive numbers [height, width], got {self.size}")
        if height * width > MAX_MASK_PIXELS:
            raise ValueError(f"size {self.size} is over the largest mask of {MAX_MASK_PIXELS} pixels")
        runs = self.counts
        if (height, width, runs) == self._checked:
            return self
        covered = int(run_lengths(runs).sum()) if isinstance(runs, str) else sum(runs)
        if covered != height * width:
            raise ValueError(f"counts covers {covered} pixels, size {self.size} has {height * width}")
        if not isinstance(runs, str):
            packed = coco_mask.frPyObjects({"size": self.size, "counts": runs}, height, width)
            self.__dict__["counts"] = packed["counts"].decode("ascii")
        self._checked = (height, width, self.text)
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
        height, width = mask.shape
        self = cls.model_construct({"size", "counts"}, size=[height, width], counts=counts)
        self._checked = (height, width, counts)
        return self

    def to_mask(self) -> npt.NDArray[np.uint8]:
        """Return the mask as uint8 [height, width] with values 0 and 1, column-major in memory."""
        # pycocotools' own decoder makes numpy warn with every call
        height, width = self.size
        runs = run_lengths(self.text)
        values = np.zeros(runs.size, dtype=np.uint8)
        values[1::2] = 1
        return np.repeat(values, runs).reshape(width, height).T

    def area(self) -> int:
        """Return the number of foreground pixels."""
        return int(run_lengths(self.text)[1::2].sum())
