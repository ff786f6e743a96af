"""The table of tensors: for each capability what goes in and comes out, and how it becomes a request and an answer.

Metadata, reading and writing derive from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pixano_inference.schemas import Capability

from . import inputs, outputs
from .inputs import Fields, Tensors
from .media import MediaReader
from .tensor import BYTES, TensorSpec


@dataclass(frozen=True)
class Signature:
    """The tensors of one capability.

    Attributes:
        inputs: What is read.
        outputs: What is written, with its makers.
        parameters: Fields of the request that come as parameters.
        fields: Makes the fields of a request from tensors, names of the wanted outputs, and a reader of media.
        groups: Field of the request → parameters that make it up.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[tuple[TensorSpec, outputs.Maker], ...]
    parameters: tuple[str, ...]
    fields: Callable[[Tensors, frozenset[str], MediaReader], Fields]
    groups: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def input(self, name: str) -> TensorSpec | None:
        """Return what is declared of an input."""
        return next((spec for spec in self.inputs if spec.name == name), None)

    @property
    def output_names(self) -> tuple[str, ...]:
        """All outputs."""
        return tuple(spec.name for spec, _ in self.outputs)

    @property
    def default_outputs(self) -> tuple[str, ...]:
        """The outputs of callers that name none."""
        return tuple(spec.name for spec, _ in self.outputs if not spec.on_request)


_IMAGE = TensorSpec("image", BYTES, (1,), "an image file's bytes, or a data URI, URL or path as text; or give pixels")
_PIXELS = TensorSpec("pixels", "UINT8", (-1, -1, 3), "RGB values [height, width, 3], in place of an image file")
_POINTS = "x, y in pixels"
_LABELS = "1 foreground, 0 background, -1 no point at all (fills up shorter prompts); without: all foreground"
_BOXES = "x1, y1, x2, y2 in pixels"
_RLE = 'JSON {"size": [height, width], "counts": ...}, COCO\'s compressed run-length encoding'

SIGNATURES: dict[Capability, Signature] = {
    Capability.SEGMENTATION: Signature(
        inputs=(
            _IMAGE,
            _PIXELS,
            TensorSpec(
                "points", "INT32", (-1, -1, 2), f"[prompts, points, 2]: {_POINTS}", ("max_prompts", "max_points")
            ),
            TensorSpec("labels", "INT32", (-1, -1), f"[prompts, points]: {_LABELS}", ("max_prompts", "max_points")),
            TensorSpec("boxes", "INT32", (-1, 4), f"[prompts, 4]: {_BOXES}", ("max_prompts",)),
            TensorSpec(
                "mask_input",
                "FP32",
                (-1, 1, -1, -1),
                "mask_logits of an earlier answer, one for each prompt",
                ("max_prompts",),
            ),
        ),
        outputs=(
            (
                TensorSpec("masks", "UINT8", (-1, -1, -1, -1), "[prompts, masks, height, width]: 1 inside, 0 outside"),
                outputs.dense_masks,
            ),
            (TensorSpec("masks_rle", BYTES, (-1, -1), f"[prompts, masks]: {_RLE}"), outputs.encoded_masks),
            (
                TensorSpec("scores", "FP32", (-1, -1), "[prompts, masks]: the model's estimate of quality"),
                outputs.array("scores"),
            ),
            (
                TensorSpec(
                    "mask_logits",
                    "FP32",
                    (-1, -1, -1, -1),
                    "[prompts, masks, height, width] at the model's low resolution",
                    on_request=True,
                ),
                outputs.array("mask_logits"),
            ),
        ),
        parameters=("multimask_output", "num_multimask_outputs"),
        fields=inputs.segmentation_fields,
    ),
    Capability.DETECTION: Signature(
        inputs=(
            _IMAGE,
            _PIXELS,
            TensorSpec(
                "classes", BYTES, (-1,), "names to look for; left out for a closed vocabulary", ("max_classes",)
            ),
        ),
        outputs=(
            (TensorSpec("boxes", "INT32", (-1, 4), f"[n, 4]: {_BOXES}"), outputs.numbers("boxes", 4)),
            (TensorSpec("scores", "FP32", (-1,), "[n]: best first"), outputs.numbers("scores")),
            (TensorSpec("classes", BYTES, (-1,), "[n]: names"), outputs.texts("classes")),
            (
                TensorSpec("masks", "UINT8", (-1, -1, -1), "[n, height, width], of models that give masks"),
                outputs.dense_masks,
            ),
            (TensorSpec("masks_rle", BYTES, (-1,), f"[n], of models that give masks: {_RLE}"), outputs.encoded_masks),
        ),
        parameters=("box_threshold", "text_threshold"),
        fields=inputs.detection_fields,
    ),
    Capability.TRACKING: Signature(
        inputs=(
            TensorSpec("frames", BYTES, (-1,), "images, each as in image of segmentation, in order", ("max_frames",)),
            TensorSpec("video", BYTES, (1,), "a video file's bytes, or a data URI, URL or path; in place of frames"),
            TensorSpec(
                "pixels",
                "UINT8",
                (-1, -1, -1, 3),
                "RGB values [frames, height, width, 3], in place of frames",
                ("max_frames",),
            ),
            TensorSpec("objects_ids", "INT32", (-1,), "one id for each object", ("max_objects",)),
            TensorSpec("frame_indexes", "INT32", (-1,), "the prompted frame of each object", ("max_objects",)),
            TensorSpec(
                "points", "INT32", (-1, -1, 2), f"[objects, points, 2]: {_POINTS}", ("max_objects", "max_points")
            ),
            TensorSpec("labels", "INT32", (-1, -1), f"[objects, points]: {_LABELS}", ("max_objects", "max_points")),
            TensorSpec("boxes", "INT32", (-1, 4), f"[objects, 4]: {_BOXES}", ("max_objects",)),
        ),
        outputs=(
            (TensorSpec("objects_ids", "INT32", (-1,), "[n]: the object of each mask"), outputs.numbers("objects_ids")),
            (
                TensorSpec("frame_indexes", "INT32", (-1,), "[n]: the frame of each mask"),
                outputs.numbers("frame_indexes"),
            ),
            (TensorSpec("masks_rle", BYTES, (-1,), f"[n]: {_RLE}"), outputs.encoded_masks),
            (
                TensorSpec("masks", "UINT8", (-1, -1, -1), "[n, height, width]: 1 inside, 0 outside", on_request=True),
                outputs.dense_masks,
            ),
        ),
        parameters=("propagate",),
        fields=inputs.tracking_fields,
        groups=(("interval", ("start_frame", "end_frame", "direction")),),
    ),
    Capability.VLM: Signature(
        inputs=(
            TensorSpec("prompt", BYTES, (1,), "a question, in UTF-8; images beside it"),
            TensorSpec(
                "messages", BYTES, (1,), "a conversation as JSON, in place of prompt; its parts may hold images"
            ),
            TensorSpec("images", BYTES, (-1,), "images, each as in image of segmentation", ("max_images",)),
            TensorSpec(
                "pixels", "UINT8", (-1, -1, 3), "RGB values [height, width, 3] of one image, in place of images"
            ),
        ),
        outputs=(
            (TensorSpec("text", BYTES, (1,), "what the model wrote, in UTF-8"), outputs.text("generated_text")),
            (
                TensorSpec("prompt_tokens", "INT32", (1,), "tokens of prompt and images"),
                outputs.count("usage", "prompt_tokens"),
            ),
            (
                TensorSpec("completion_tokens", "INT32", (1,), "tokens of text"),
                outputs.count("usage", "completion_tokens"),
            ),
            (
                TensorSpec("generation_config", BYTES, (1,), "how it was generated, as JSON"),
                outputs.text("generation_config"),
            ),
        ),
        parameters=("max_new_tokens", "temperature"),
        fields=inputs.vlm_fields,
    ),
}
"""Capability → its tensors."""
