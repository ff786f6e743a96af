"""What a model is to the server: a class with ``load_model`` and ``predict``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from pixano_inference.configs import FreeParams, ModelConfig, ModelParams
from pixano_inference.errors import Canceled
from pixano_inference.schemas import (
    Capability,
    DetectionInput,
    DetectionOutput,
    FrameMasks,
    Schema,
    SegmentationInput,
    SegmentationOutput,
    TrackingInput,
    TrackingOutput,
    VLMInput,
    VLMOutput,
)

InputT = TypeVar("InputT", bound=Schema)
OutputT = TypeVar("OutputT", bound=Schema)


class InferenceModel(ABC, Generic[InputT, OutputT]):
    """Base of all models; subclass one of the four below, which know their capability.

    Attributes:
        capability: What the model does.
        input_class: Type of ``predict``'s argument.
        output_class: Type of ``predict``'s answer.
        params_class: Typed parameters; a dict in a config is checked against it.
        config: The entry of the model set; ``config.model_params`` holds the parameters.
    """

    capability: ClassVar[Capability]
    input_class: ClassVar[type[Schema]]
    output_class: ClassVar[type[Schema]]
    params_class: ClassVar[type[ModelParams]] = FreeParams

    def __init__(self, config: ModelConfig) -> None:
        self.config = config

    @property
    def _config(self) -> ModelConfig:
        """The name that model code written for the Ray-based server uses."""
        return self.config

    @property
    def model_name(self) -> str:
        """The name that requests use."""
        return self.config.name

    @property
    def metadata(self) -> dict[str, Any]:
        """What the envelope's ``metadata`` tells beside name, capability and class: JSON values."""
        return {}

    @property
    def device(self) -> str:
        """Where the model computes, for the start-up report."""
        return "cpu"

    @abstractmethod
    def load_model(self) -> None:
        """Load weights and warm up; called once, before the model reports ready."""

    @abstractmethod
    def predict(self, input: InputT) -> OutputT:
        """Answer one request. Called from one thread at a time.

        Raises:
            InvalidInput: The content of the request cannot be used; the caller gets the message with a 422.
        """

    def predict_batch(self, inputs: Sequence[InputT]) -> list[OutputT | Exception]:
        """Answer requests that waited together, one result per request in the same order.

        An exception in the list fails its request alone. The default runs :meth:`predict` one by one.
        """
        results: list[OutputT | Exception] = []
        for item in inputs:
            try:
                results.append(self.predict(item))
            except Canceled:
                raise
            except Exception as error:  # one bad request fails alone
                results.append(error)
        return results

    def free_memory(self) -> None:
        """Drop caches; called when the GPU is out of memory, before the request is tried once more."""

    def unload(self) -> None:
        """Free what :meth:`load_model` took; called when the runner stops."""


class SegmentationModel(InferenceModel[SegmentationInput, SegmentationOutput]):
    """Prompts on an image in, masks out."""

    capability = Capability.SEGMENTATION
    input_class = SegmentationInput
    output_class = SegmentationOutput


class DetectionModel(InferenceModel[DetectionInput, DetectionOutput]):
    """Class names in, boxes out."""

    capability = Capability.DETECTION
    input_class = DetectionInput
    output_class = DetectionOutput


class TrackingModel(InferenceModel[TrackingInput, TrackingOutput]):
    """Objects prompted on a frame in, their masks on the other frames out."""

    capability = Capability.TRACKING
    input_class = TrackingInput
    output_class = TrackingOutput

    def predict_stream(self, input: TrackingInput) -> Iterator[FrameMasks]:
        """Yield each frame's masks as soon as they exist; the default waits for :meth:`predict`."""
        output = self.predict(input)
        frames: dict[int, FrameMasks] = {}
        for object_id, index, mask in zip(output.objects_ids, output.frame_indexes, output.masks, strict=True):
            frame = frames.setdefault(index, FrameMasks(frame_index=index, objects_ids=[], masks=[]))
            frame.objects_ids.append(object_id)
            frame.masks.append(mask)
        for done, frame in enumerate(frames.values(), start=1):
            frame.frames_done, frame.frames_total = done, len(frames)
            yield frame


class VLMModel(InferenceModel[VLMInput, VLMOutput]):
    """A prompt and images in, text out."""

    capability = Capability.VLM
    input_class = VLMInput
    output_class = VLMOutput

    def predict_stream(self, input: VLMInput) -> Iterator[str | VLMOutput]:
        """Yield pieces of text as they are generated, then the whole output; the default yields only that."""
        yield self.predict(input)
