"""The custom models of the plain set."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Iterator

import numpy as np

from pixano_inference.configs import ModelParams
from pixano_inference.errors import InvalidInput
from pixano_inference.media.images import decode_image
from pixano_inference.models import (
    DetectionModel,
    SegmentationModel,
    TrackingModel,
    VLMModel,
    check_canceled,
    register_model,
)
from pixano_inference.schemas import (
    CompressedRLE,
    DetectionInput,
    DetectionOutput,
    FrameMasks,
    NDArrayFloat,
    SegmentationInput,
    SegmentationOutput,
    TrackingInput,
    TrackingOutput,
    Usage,
    VLMInput,
    VLMOutput,
    media_bytes,
)


def disk(width: int, height: int, x: float, y: float, radius: float) -> CompressedRLE:
    """Return the mask of a disk."""
    rows, columns = np.ogrid[:height, :width]
    return CompressedRLE.from_mask((columns - x) ** 2 + (rows - y) ** 2 <= radius**2)


class DiskParams(ModelParams):
    """Parameters of the disk model: the radius in pixels."""

    radius: float = 5.0


@register_model("DiskModel")
class DiskModel(SegmentationModel):
    """Answers a disk around the first point of each prompt, or else around the middle of its box."""

    params_class = DiskParams

    def load_model(self) -> None:
        params = self.config.model_params
        assert isinstance(params, DiskParams)
        self.radius = params.radius

    def predict(self, input: SegmentationInput) -> SegmentationOutput:
        image = decode_image(media_bytes(input.image).data)
        boxes = input.boxes or [[0, 0, image.width, image.height]]
        points = input.points or [[[(x1 + x2) // 2, (y1 + y2) // 2]] for x1, y1, x2, y2 in boxes]
        masks = [[disk(image.width, image.height, prompt[0][0], prompt[0][1], self.radius)] for prompt in points]
        embedding = NDArrayFloat.from_numpy(np.full((1, 4, 2, 2), 0.1, np.float32))
        return SegmentationOutput(
            masks=masks,
            scores=NDArrayFloat.from_numpy(np.ones((len(points), 1))),
            image_embedding=embedding if input.return_image_embedding else None,
            high_resolution_features=[embedding] if input.return_image_embedding else None,
        )


class CenterBoxModel(DetectionModel):
    """Answers one box in the middle of the image for each class."""

    def load_model(self) -> None:
        pass

    def predict(self, input: DetectionInput) -> DetectionOutput:
        image = decode_image(media_bytes(input.image).data)
        names = [input.classes] if isinstance(input.classes, str) else input.classes or ["thing"]
        box = [image.width // 4, image.height // 4, image.width * 3 // 4, image.height * 3 // 4]
        return DetectionOutput(boxes=[box] * len(names), scores=[0.9] * len(names), classes=names)


class TrackerParams(ModelParams):
    """Parameters of the tracker: how long it works on a frame."""

    seconds_per_frame: float = 0.0


class StillTracker(TrackingModel):
    """Answers that nothing moves: each object's mask is the same disk on every frame."""

    params_class = TrackerParams

    def load_model(self) -> None:
        pass

    def predict_stream(self, input: TrackingInput) -> Iterator[FrameMasks]:
        params = self.config.model_params
        assert isinstance(params, TrackerParams)
        frames = input.video if isinstance(input.video, list) else [input.video]
        for index, frame in enumerate(frames):
            check_canceled()
            time.sleep(params.seconds_per_frame)
            image = decode_image(media_bytes(frame).data)
            masks = [disk(image.width, image.height, 5 + number, 5, 4) for number in range(len(input.objects_ids))]
            yield FrameMasks(
                frame_index=index,
                objects_ids=input.objects_ids,
                masks=masks,
                frames_done=index + 1,
                frames_total=len(frames),
            )

    def predict(self, input: TrackingInput) -> TrackingOutput:
        return TrackingOutput.from_frames(list(self.predict_stream(input)))


class EchoModel(VLMModel):
    """Answers the prompt, word by word."""

    def load_model(self) -> None:
        pass

    def predict_stream(self, input: VLMInput) -> Iterator[str | VLMOutput]:
        words = (input.prompt if isinstance(input.prompt, str) else "a conversation").split(" ")[: input.max_new_tokens]
        for number, word in enumerate(words):
            check_canceled()
            time.sleep(0.01)
            yield word if number == 0 else " " + word
        yield VLMOutput(
            generated_text=" ".join(words),
            usage=Usage(prompt_tokens=1, completion_tokens=len(words), total_tokens=1 + len(words)),
            generation_config={"temperature": input.temperature},
        )

    def predict(self, input: VLMInput) -> VLMOutput:
        *_, last = self.predict_stream(input)
        assert isinstance(last, VLMOutput)
        return last


class OddModel(DetectionModel):
    """Does what its first class says, mostly what a model should not."""

    def load_model(self) -> None:
        pass

    def predict(self, input: DetectionInput) -> DetectionOutput:
        what = input.classes if isinstance(input.classes, str) else (input.classes or ["nothing"])[0]
        match what:
            case "raise":
                raise RuntimeError("secret words at /some/path")
            case "refuse":
                raise InvalidInput("classes: this one is not known; known are a, b")
            case "none":
                return None  # type: ignore[return-value]  # on purpose
            case "wrong type":
                return {"boxes": []}  # type: ignore[return-value]  # on purpose
            case "invalid":
                return DetectionOutput.model_construct(boxes="many", scores=[1], classes=["a"], masks=None)  # type: ignore[arg-type]  # on purpose
            case "nan":
                return DetectionOutput(boxes=[[0, 0, 1, 1]], scores=[float("nan")], classes=["a"])
            case "exit":
                os._exit(3)
            case "sys.exit":
                sys.exit(3)
            case "interrupt":
                raise KeyboardInterrupt
            case "memory":
                raise MemoryError
            case "allocate":
                # more than a container may have: only where there is a limit
                held = [b"x" * 2**24 for _ in range(512)]
                return DetectionOutput(boxes=[], scores=[], classes=[str(len(held))])
            case "segfault":
                ctypes.string_at(0)
            case "hang":
                time.sleep(600)
            case "slow":
                time.sleep(0.5)
            case "polite":
                for _ in range(1000):
                    check_canceled()
                    time.sleep(0.01)
        return DetectionOutput(boxes=[], scores=[], classes=[])
