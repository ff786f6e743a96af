"""Small models for the tests of runner and gateway: no weights, no torch."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pixano_inference.configs import DeploymentConfig, ModelConfig
from pixano_inference.errors import InvalidInput
from pixano_inference.models import SegmentationModel, check_canceled
from pixano_inference.models.pipeline import PipelinedModel
from pixano_inference.schemas import CompressedRLE, NDArrayFloat, SegmentationInput, SegmentationOutput


def config(name: str = "test", **deployment: Any) -> ModelConfig:
    """The entry of a model set."""
    return ModelConfig(name=name, model_class="Test", deployment=DeploymentConfig(**deployment))


def answer(score: float = 1.0) -> SegmentationOutput:
    """A valid answer that can be told by its score."""
    mask = CompressedRLE.from_mask(np.eye(4, dtype=np.uint8))
    return SegmentationOutput(masks=[[mask]], scores=NDArrayFloat.from_numpy(np.full((1, 1), score)))


class Answering(SegmentationModel):
    """Answers the first box's left edge as the score; a negative edge is refused."""

    def load_model(self) -> None:
        """There is nothing to load."""

    def predict(self, input: SegmentationInput) -> SegmentationOutput:
        """Answer at once."""
        left = input.boxes[0][0] if input.boxes else 0
        if left < 0:
            raise InvalidInput("a box is outside of the image")
        return answer(left)


class Patient(Answering):
    """Works until it is let go or canceled."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.begun = threading.Event()
        self.stopped = threading.Event()
        self.go_on = threading.Event()

    def predict(self, input: SegmentationInput) -> SegmentationOutput:
        """Wait, looking at the cancel signal."""
        self.begun.set()
        try:
            while not self.go_on.wait(0.002):
                check_canceled()
        finally:
            self.stopped.set()
        return answer()


class Streaming(Answering):
    """Answers in two pieces."""

    def predict_stream(self, input: SegmentationInput) -> Iterator[str]:
        """Yield them."""
        yield "one"
        yield "two"


class InStages(PipelinedModel[SegmentationInput, SegmentationOutput], SegmentationModel):
    """Notes which thread each stage runs in."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.threads: dict[str, str] = {}
        self.batches: list[int] = []

    def load_model(self) -> None:
        """There is nothing to load."""

    def preprocess(self, input: SegmentationInput) -> int:
        """Take the first box's left edge."""
        self.threads["preprocess"] = threading.current_thread().name
        left = input.boxes[0][0] if input.boxes else 0
        if left < 0:
            raise InvalidInput("a box is outside of the image")
        return left

    def infer_batch(self, prepared: Sequence[int]) -> list[int]:
        """Double each."""
        self.threads["infer_batch"] = threading.current_thread().name
        self.batches.append(len(prepared))
        return [2 * item for item in prepared]

    def postprocess(self, raw: int) -> SegmentationOutput:
        """Make the answer."""
        self.threads["postprocess"] = threading.current_thread().name
        return answer(raw)
