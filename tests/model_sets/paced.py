"""Models that answer piece by piece, at a pace, and write down what they do."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pixano_inference.configs import DeploymentConfig, ModelConfig, ModelParams
from pixano_inference.errors import InvalidInput
from pixano_inference.models import TrackingModel, VLMModel, check_canceled
from pixano_inference.schemas import (
    CompressedRLE,
    FrameMasks,
    ImageBytes,
    TrackingInput,
    TrackingOutput,
    Usage,
    VLMInput,
    VLMOutput,
)


class PacedParams(ModelParams):
    """``seconds`` per piece."""

    seconds: float = 0.02


def seconds(config: ModelConfig) -> float:
    """Return the pace that a model was configured with."""
    assert isinstance(config.model_params, PacedParams)
    return config.model_params.seconds


def write_down(**event: object) -> None:
    """Append an event to the file that PACED_LOG names."""
    log = os.environ.get("PACED_LOG")
    if log:
        with Path(log).open("a") as file:
            file.write(json.dumps(event) + "\n")


class PacedTracker(TrackingModel):
    """Answers, per frame and object, a mask whose area is the object's id plus the number in the frame's bytes.

    An object id of 13 makes it fail at the third frame, one of 66 ends its process there, and one of 1000 makes it
    hurry.
    """

    params_class = PacedParams

    def load_model(self) -> None:
        """Nothing to load."""

    def predict(self, input: TrackingInput) -> TrackingOutput:
        """Answer all frames."""
        return TrackingOutput.from_frames(list(self.predict_stream(input)))

    def predict_stream(self, input: TrackingInput) -> Iterator[FrameMasks]:
        """Yield a frame at a time."""
        if input.objects_ids == [22]:
            raise InvalidInput("object 22 cannot be followed", location=("body", "objects_ids"))
        frames = input.video if isinstance(input.video, list) else [input.video]
        write_down(event="begin", frames=len(frames), objects=input.objects_ids)
        index = -1
        try:
            for index, frame in enumerate(frames):
                check_canceled()
                if input.objects_ids != [1000]:
                    time.sleep(seconds(self.config))
                assert isinstance(frame, ImageBytes)
                if index == 2 and 13 in input.objects_ids:
                    raise RuntimeError("a secret of the model")
                if index == 2 and 66 in input.objects_ids:
                    os._exit(9)
                write_down(event="frame", index=index)
                yield FrameMasks(
                    frame_index=index,
                    objects_ids=input.objects_ids,
                    masks=[_mask(object_id, frame) for object_id in input.objects_ids],
                    frames_done=index + 1,
                    frames_total=len(frames),
                )
        finally:
            write_down(event="end", index=index)


def _mask(object_id: int, frame: ImageBytes) -> CompressedRLE:
    # PNGs of the tests end with their number, after the image
    area = object_id + int(bytes(frame.data)[-6:])
    mask = np.zeros((100, 200), np.uint8)
    mask.reshape(-1)[:area] = 1
    return CompressedRLE.from_mask(mask)


class WordsModel(VLMModel):
    """Answers the words of the prompt, one at a time; "boom" fails in the middle, "refuse" at the start."""

    params_class = PacedParams

    def load_model(self) -> None:
        """Nothing to load."""

    def predict(self, input: VLMInput) -> VLMOutput:
        """Answer the whole text."""
        return next(piece for piece in self.predict_stream(input) if isinstance(piece, VLMOutput))

    def predict_stream(self, input: VLMInput) -> Iterator[str | VLMOutput]:
        """Yield a word at a time."""
        assert isinstance(input.prompt, str)
        words = input.prompt.split()[: input.max_new_tokens]
        if words[0] == "refuse":
            raise InvalidInput("the prompt is refused")
        try:
            for word in words:
                check_canceled()
                time.sleep(seconds(self.config))
                if word == "boom":
                    raise RuntimeError("a secret of the model")
                write_down(event="word", word=word)
                yield f"{word} "
            yield VLMOutput(
                generated_text=" ".join(words),
                usage=Usage(prompt_tokens=1, completion_tokens=len(words), total_tokens=1 + len(words)),
                generation_config={"max_new_tokens": input.max_new_tokens},
            )
        finally:
            write_down(event="end")


models = [
    ModelConfig(
        name="tracker",
        model_class=PacedTracker,
        model_params={"seconds": float(os.environ.get("PACED_SECONDS", "0.02"))},
        deployment=DeploymentConfig(timeout_s=60),
    ),
    ModelConfig(name="words", model_class=WordsModel),
]
