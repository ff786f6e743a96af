"""Models whose own work is small or known, so that what is measured is the server; the yardstick holds them, too."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from pixano_inference.media.images import decode_image, decode_scaled
from pixano_inference.models import SegmentationModel, TrackingModel, VLMModel, check_canceled, register_model
from pixano_inference.models.pipeline import PipelinedModel
from pixano_inference.schemas import (
    CompressedRLE,
    FrameMasks,
    NDArrayFloat,
    SegmentationInput,
    SegmentationOutput,
    TrackingInput,
    TrackingOutput,
    VLMInput,
    VLMOutput,
)
from pixano_inference.schemas.media_bytes import media_bytes
from pixano_inference.schemas.vlm import Usage

SIDE = 1024
BATCH_SECONDS = 0.5
FRAME_SECONDS = 0.01
TOKEN_SECONDS = 0.01

Pixels = npt.NDArray[np.uint8]


def red_mask(pixels: Pixels) -> CompressedRLE:
    """Return where the red channel is bright: the disk of the pictures in :mod:`benchmarks.pictures`."""
    return CompressedRLE.from_mask(pixels[..., 0] > 128)


def one_mask(mask: CompressedRLE) -> SegmentationOutput:
    """Return an answer of one mask."""
    return SegmentationOutput(masks=[[mask]], scores=NDArrayFloat.from_numpy(np.ones((1, 1), dtype=np.float32)))


@register_model("OneMask")
class OneMask(PipelinedModel[SegmentationInput, SegmentationOutput], SegmentationModel):
    """Decodes the image and answers one RLE; there is no network between the two."""

    def load_model(self) -> None:
        """There is nothing to load."""

    def preprocess(self, input: SegmentationInput) -> Pixels:
        """Decode the image in full."""
        return np.asarray(decode_image(media_bytes(input.image).data))

    def infer_batch(self, prepared: Sequence[Pixels]) -> list[Pixels]:
        """Hand on."""
        return list(prepared)

    def postprocess(self, raw: Pixels) -> SegmentationOutput:
        """Compress the mask."""
        return one_mask(red_mask(raw))


@register_model("OneMaskPlain")
class OneMaskPlain(SegmentationModel):
    """The same as a newcomer writes it: everything in ``predict``."""

    def load_model(self) -> None:
        """There is nothing to load."""

    def predict(self, input: SegmentationInput) -> SegmentationOutput:
        """Decode, threshold, compress."""
        return one_mask(red_mask(np.asarray(decode_image(media_bytes(input.image).data))))


@register_model("At1024")
class At1024(PipelinedModel[SegmentationInput, SegmentationOutput], SegmentationModel):
    """Needs its image at 1024 × 1024, as SAM2 does, and answers a mask of the size of the image.

    ``scaled`` in the parameters: decode large JPEGs at the smallest scale that suffices.
    """

    def load_model(self) -> None:
        """There is nothing to load."""

    def preprocess(self, input: SegmentationInput) -> tuple[Pixels, int, int]:
        """Decode and resize."""
        scaled = getattr(self.config.model_params, "scaled", True)
        decoded = decode_scaled(media_bytes(input.image).data, SIDE if scaled else None)
        resized = decoded.image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        return np.asarray(resized), decoded.width, decoded.height

    def infer_batch(self, prepared: Sequence[tuple[Pixels, int, int]]) -> list[tuple[Pixels, int, int]]:
        """Hand on."""
        return list(prepared)

    def postprocess(self, raw: tuple[Pixels, int, int]) -> SegmentationOutput:
        """Compress the mask in the size of the image."""
        pixels, width, height = raw
        mask = Image.fromarray((pixels[..., 0] > 128).view(np.uint8)).resize((width, height), Image.Resampling.NEAREST)
        return one_mask(CompressedRLE.from_mask(np.asarray(mask)))


@register_model("SlowBatch")
class SlowBatch(SegmentationModel):
    """A batch takes half a second, whatever its size."""

    def load_model(self) -> None:
        """There is nothing to load."""

    def predict(self, input: SegmentationInput) -> SegmentationOutput:
        """Answer one."""
        result = self.predict_batch([input])[0]
        if isinstance(result, Exception):
            raise result
        return result

    def predict_batch(self, inputs: Sequence[SegmentationInput]) -> list[SegmentationOutput | Exception]:
        """Answer all after half a second. A network's forward pass cannot be interrupted, and neither can this."""
        time.sleep(BATCH_SECONDS)
        return [one_mask(red_mask(np.full((8, 8, 3), 255, dtype=np.uint8))) for _ in inputs]


@lru_cache(maxsize=1)
def embeddings() -> tuple[npt.NDArray[np.float32], list[npt.NDArray[np.float32]]]:
    """Return embedding and high-resolution features as large as SAM2's at 1024 px: 1.05 and 3.15 million floats."""
    random = np.random.default_rng(0)
    shapes = [(1, 256, 64, 64), (1, 32, 256, 256), (1, 64, 128, 128)]
    first, *others = (random.standard_normal(shape, dtype=np.float32) for shape in shapes)
    return first, others


@register_model("Embeddings")
class Embeddings(SegmentationModel):
    """Answers embeddings when asked for them, and takes them in when they are sent."""

    def load_model(self) -> None:
        """Make the arrays."""
        embeddings()

    def predict(self, input: SegmentationInput) -> SegmentationOutput:
        """Answer; nothing is computed."""
        output = one_mask(red_mask(np.full((8, 8, 3), 255, dtype=np.uint8)))
        if input.image_embedding is not None:
            input.image_embedding.to_numpy()
        if input.return_image_embedding:
            embedding, features = embeddings()
            output.image_embedding = NDArrayFloat.from_numpy(embedding)
            output.high_resolution_features = [NDArrayFloat.from_numpy(feature) for feature in features]
        return output


@register_model("FrameByFrame")
class FrameByFrame(TrackingModel):
    """Takes a hundredth of a second per frame."""

    def load_model(self) -> None:
        """There is nothing to load."""

    def predict_stream(self, input: TrackingInput) -> Iterator[FrameMasks]:
        """Yield one mask per object and frame."""
        mask = red_mask(np.full((64, 64, 3), 255, dtype=np.uint8))
        total = len(input.video) if isinstance(input.video, list) else 1
        for index in range(total):
            check_canceled()
            time.sleep(FRAME_SECONDS)
            masks = [mask] * len(input.objects_ids)
            yield FrameMasks(
                frame_index=index, objects_ids=input.objects_ids, masks=masks, frames_done=index + 1, frames_total=total
            )

    def predict(self, input: TrackingInput) -> TrackingOutput:
        """Answer all frames at once."""
        output = TrackingOutput(objects_ids=[], frame_indexes=[], masks=[])
        for frame in self.predict_stream(input):
            output.objects_ids += frame.objects_ids
            output.frame_indexes += [frame.frame_index] * len(frame.objects_ids)
            output.masks += frame.masks
        return output


@register_model("TokenByToken")
class TokenByToken(VLMModel):
    """Takes a hundredth of a second per token."""

    def load_model(self) -> None:
        """There is nothing to load."""

    def predict_stream(self, input: VLMInput) -> Iterator[str | VLMOutput]:
        """Yield words."""
        words = []
        for index in range(input.max_new_tokens):
            check_canceled()
            time.sleep(TOKEN_SECONDS)
            words.append(f"word{index} ")
            yield words[-1]
        count = len(words)
        usage = Usage(prompt_tokens=1, completion_tokens=count, total_tokens=count + 1)
        yield VLMOutput(generated_text="".join(words), usage=usage, generation_config={})

    def predict(self, input: VLMInput) -> VLMOutput:
        """Answer all words at once."""
        *_, output = self.predict_stream(input)
        if not isinstance(output, VLMOutput):
            raise TypeError("the stream ends with the whole output")
        return output
