"""From tensors to the fields of a request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import numpy as np

from pixano_inference.errors import InvalidInput
from pixano_inference.schemas import NDArrayFloat

from .media import Location, MediaReader
from .tensor import Tensor

Tensors = Mapping[str, Tensor]
Fields = dict[str, Any]

PADDING = -1
"""Label of a point that is none: prompts of fewer points than others are filled up with it."""


def segmentation_fields(tensors: Tensors, outputs: frozenset[str], reader: MediaReader) -> Fields:
    """Return the fields of a segmentation request."""
    fields = {"image": _image(tensors, reader), **_prompts(tensors), "return_logits": "mask_logits" in outputs}
    if "mask_input" in tensors:
        fields["mask_input"] = NDArrayFloat.from_numpy(tensors["mask_input"].array)
    return fields


def detection_fields(tensors: Tensors, outputs: frozenset[str], reader: MediaReader) -> Fields:
    """Return the fields of a detection request."""
    fields: Fields = {"image": _image(tensors, reader)}
    if "classes" in tensors:
        fields["classes"] = list(_texts(tensors["classes"]))
    return fields


def tracking_fields(tensors: Tensors, outputs: frozenset[str], reader: MediaReader) -> Fields:
    """Return the fields of a tracking request."""
    source = _one_of(tensors, "frames", "video", "pixels")
    match source.spec.name:
        case "frames":
            video: Any = _images(source, reader)
        case "video":
            video = reader.video(source.elements[0], ("body", "video", 0))
        case _:
            video = [reader.pixels(frame, ("body", "pixels", index)) for index, frame in enumerate(source.array)]
    integers = {name: tensors[name].array.tolist() for name in ("objects_ids", "frame_indexes") if name in tensors}
    return {"video": video, **integers, **_prompts(tensors)}


def vlm_fields(tensors: Tensors, outputs: frozenset[str], reader: MediaReader) -> Fields:
    """Return the fields of a VLM request."""
    said = _one_of(tensors, "prompt", "messages")
    (text,) = _texts(said)
    fields: Fields = {"prompt": text if said.spec.name == "prompt" else _conversation(text, reader)}
    if "images" in tensors or "pixels" in tensors:
        shown = _one_of(tensors, "images", "pixels")
        fields["images"] = (
            _images(shown, reader) if shown.spec.name == "images" else [reader.pixels(shown.array, ("body", "pixels"))]
        )
    return fields


def _one_of(tensors: Tensors, *names: str) -> Tensor:
    given = [name for name in names if name in tensors]
    if len(given) != 1:
        wanted = " or ".join(names)
        raise InvalidInput(
            f"give {wanted}" if not given else f"give one of {wanted}, not {' and '.join(given)}",
            code="inputs",
            location=("body", "inputs"),
        )
    return tensors[given[0]]


def _image(tensors: Tensors, reader: MediaReader) -> str:
    source = _one_of(tensors, "image", "pixels")
    if source.spec.name == "image":
        return reader.image(source.elements[0], ("body", "image", 0))
    return reader.pixels(source.array, ("body", "pixels"))


def _images(tensor: Tensor, reader: MediaReader) -> list[str]:
    name = tensor.spec.name
    return [reader.image(element, ("body", name, index)) for index, element in enumerate(tensor.elements)]


def _prompts(tensors: Tensors) -> Fields:
    fields = {name: tensors[name].array.tolist() for name in ("points", "labels", "boxes") if name in tensors}
    points, labels = tensors.get("points"), tensors.get("labels")
    if points is not None and labels is not None and points.shape[:2] == labels.shape:
        kept = labels.array != PADDING
        if not np.all(kept):
            fields["points"] = [row[mask].tolist() for row, mask in zip(points.array, kept, strict=True)]
            fields["labels"] = [row[mask].tolist() for row, mask in zip(labels.array, kept, strict=True)]
    return fields


def _texts(tensor: Tensor) -> Iterator[str]:
    for index, element in enumerate(tensor.elements):
        try:
            yield element.decode("utf-8")
        except UnicodeDecodeError:
            raise InvalidInput(
                "the element is not UTF-8", code="encoding", location=("body", tensor.spec.name, index)
            ) from None


def _conversation(text: str, reader: MediaReader) -> Any:
    location: Location = ("body", "messages", 0)
    try:
        messages = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise InvalidInput("messages holds a list of chat messages as JSON", code="json", location=location) from None
    if not isinstance(messages, list):
        raise InvalidInput("messages holds a list of chat messages as JSON", code="json", location=location)
    for index, message in enumerate(messages):
        content = message.get("content") if isinstance(message, dict) else None
        for position, part in enumerate(content if isinstance(content, list) else ()):
            image = part.get("image_url") if isinstance(part, dict) else None
            if isinstance(image, dict) and isinstance(image.get("url"), str):
                image["url"] = reader.image_reference(image["url"], (*location, index, "content", position))
    return messages
