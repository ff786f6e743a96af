"""From a model's answer, as plain values, to tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from pixano_inference.errors import ModelFailed, TooLarge
from pixano_inference.schemas import CompressedRLE

from .tensor import Tensor, TensorSpec

MAX_MASK_VALUES = 1 << 26
"""Most values of all masks of an answer written as pixels: 64 MiB."""

Plain = Mapping[str, Any]
Maker = Callable[[TensorSpec, Plain], Tensor | None]
"""Makes one output of an answer; null where the answer has none."""


def array(field: str) -> Maker:
    """Return the maker of a float array of an answer."""

    def make(spec: TensorSpec, data: Plain) -> Tensor | None:
        plain = data.get(field)
        if plain is None:
            return None
        return Tensor.of_array(spec, np.frombuffer(plain["values"], dtype="<f4").reshape(plain["shape"]))

    return make


def numbers(field: str, *sizes: int) -> Maker:
    """Return the maker of a list of numbers, or of lists of ``sizes`` numbers."""

    def make(spec: TensorSpec, data: Plain) -> Tensor | None:
        return Tensor.of_array(spec, np.array(data[field]).reshape(len(data[field]), *sizes))

    return make


def texts(field: str) -> Maker:
    """Return the maker of a list of texts."""

    def make(spec: TensorSpec, data: Plain) -> Tensor | None:
        return Tensor.of_texts(spec, data[field], (len(data[field]),))

    return make


def text(field: str) -> Maker:
    """Return the maker of one text; what is none is written as JSON."""

    def make(spec: TensorSpec, data: Plain) -> Tensor | None:
        value = data[field]
        return Tensor.of_texts(spec, [value if isinstance(value, str) else orjson.dumps(value).decode()], (1,))

    return make


def count(group: str, field: str) -> Maker:
    """Return the maker of one number inside an object of the answer."""

    def make(spec: TensorSpec, data: Plain) -> Tensor | None:
        return Tensor.of_array(spec, np.array([data[group][field]]))

    return make


def dense_masks(spec: TensorSpec, data: Plain) -> Tensor | None:
    """Make masks as pixels, uint8 [..., height, width].

    Raises:
        TooLarge: They are more than :data:`MAX_MASK_VALUES`.
        ModelFailed: They are no rectangular tensor.
    """
    if data["masks"] is None:
        return None
    leading, masks = _flat(data["masks"])
    height, width = masks[0]["size"] if masks else (0, 0)
    if any(mask["size"] != [height, width] for mask in masks):
        raise ModelFailed("the masks of the answer differ in size: ask for masks_rle")
    values = len(masks) * height * width
    if values > MAX_MASK_VALUES:
        raise TooLarge(
            f"the masks have {values} pixels; allowed are {MAX_MASK_VALUES}: leave out masks and ask for masks_rle",
            code="masks",
            location=("body", "outputs"),
        )
    pixels = np.empty((len(masks), height, width), dtype=np.uint8)
    for index, mask in enumerate(masks):
        pixels[index] = CompressedRLE.model_validate(mask).to_mask()
    return Tensor.of_array(spec, pixels.reshape(*leading, height, width))


def encoded_masks(spec: TensorSpec, data: Plain) -> Tensor | None:
    """Make masks as texts: for each an object of ``size`` and ``counts`` as JSON, which pycocotools decodes.

    Raises:
        ModelFailed: They are no rectangular tensor.
    """
    if data["masks"] is None:
        return None
    leading, masks = _flat(data["masks"])
    return Tensor.of_texts(spec, (orjson.dumps(mask).decode() for mask in masks), leading)


def _flat(masks: Sequence[Any]) -> tuple[tuple[int, ...], list[dict[str, Any]]]:
    """Return the leading sizes, and the masks in row-major order."""
    if not masks or isinstance(masks[0], dict):
        return (len(masks),), list(masks)
    if any(len(prompt) != len(masks[0]) for prompt in masks):
        raise ModelFailed("the prompts of the answer differ in the number of their masks")
    return (len(masks), len(masks[0])), [mask for prompt in masks for mask in prompt]
