"""What every detector of transformers shares: loading, batching, and boxes in pixels of the image sent."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from PIL import Image

from pixano_inference.configs import ModelParams, TorchParams
from pixano_inference.errors import Canceled, ConfigError
from pixano_inference.media.images import decode_image
from pixano_inference.models.base import DetectionModel
from pixano_inference.models.cancellation import check_canceled
from pixano_inference.models.torch_device import choose_device, choose_dtype
from pixano_inference.schemas import DetectionInput, DetectionOutput, ImageBytes, media_bytes


@dataclass(frozen=True)
class Query:
    """One checked request.

    Attributes:
        image: RGB, in the size it was sent.
        classes: The names asked for, as the caller spells them; empty where the model's own vocabulary is meant.
        prompts: The same names as the model wants to read them.
        box_threshold: Least score of a box.
        text_threshold: Least score of a word of the class a box is given.
    """

    image: Image.Image
    classes: tuple[str, ...]
    prompts: tuple[str, ...]
    box_threshold: float
    text_threshold: float

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels, the order of transformers' ``target_sizes``."""
        return self.image.height, self.image.width


@dataclass(frozen=True)
class Candidates:
    """What the model found in one image.

    Attributes:
        boxes: float [n, 4], x1 y1 x2 y2 in pixels.
        scores: float [n].
        classes: One name per box.
    """

    boxes: torch.Tensor
    scores: torch.Tensor
    classes: list[str]


class TransformersDetector(DetectionModel):
    """Loads a detector through transformers' auto classes and answers requests in batches.

    Images of different sizes share a batch only where the model resizes all to one size. Elsewhere the smaller ones
    would be padded, and even where padding is masked it seeps in through the backbone's windows and convolutions: a
    caller's answer would depend on what others happened to send, by whole boxes where proposals compete.
    """

    params_class: ClassVar[type[ModelParams]] = TorchParams
    _auto_model: ClassVar[Any]
    _auto_processor: ClassVar[Any]

    @property
    def params(self) -> TorchParams:
        """The typed parameters of the model set's entry."""
        return cast(TorchParams, self.config.model_params)

    @property
    def metadata(self) -> dict[str, Any]:
        """Device and number type, beside what the envelope has anyway."""
        return {"device": self.device, "torch_dtype": str(self._model.dtype).removeprefix("torch.")}

    @property
    def device(self) -> str:
        """Where the model computes."""
        return str(self._model.device)

    def load_model(self) -> None:
        """Load processor and weights and answer one grey image, so that a broken checkpoint fails here.

        Raises:
            ConfigError: The checkpoint is not one of a detector of this kind.
        """
        device = choose_device(self.params.device)
        source = {"revision": self.params.revision, "local_files_only": self.params.local_files_only}
        try:
            self._processor = self._auto_processor.from_pretrained(self.params.path, **source)
            model = self._auto_model.from_pretrained(
                self.params.path, dtype=choose_dtype(self.params.torch_dtype, device), **source
            )
        except ValueError as error:
            # what the auto classes raise for an architecture that they do not know
            reason = str(error).splitlines()[0]
            raise ConfigError(f"{self.params.path!r} cannot be loaded as {type(self).__name__}: {reason}") from error
        self._model: Any = model.to(device).eval()
        if self.params.compile:
            self._model.compile(dynamic=True)
        size = getattr(self._processor, "image_processor", self._processor).size
        self._resizes_to_one_size = bool(size.get("height") and size.get("width"))
        self._prepare()
        self._detect([self._query_to_warm_up(Image.new("RGB", (64, 64), (127, 127, 127)))])

    def unload(self) -> None:
        """Drop the weights."""
        del self._model, self._processor

    def predict(self, input: DetectionInput) -> DetectionOutput:
        """Answer one request.

        Raises:
            InvalidInput: The image cannot be decoded, or the classes cannot be asked of this model.
        """
        (result,) = self.predict_batch([input])
        if isinstance(result, Exception):
            raise result
        return result

    def predict_batch(self, inputs: Sequence[DetectionInput]) -> list[DetectionOutput | Exception]:
        """Answer requests together; one that cannot be used gets its error and leaves the others alone."""
        results: dict[int, DetectionOutput | Exception] = {}
        groups: dict[Any, dict[int, Query]] = {}
        for index, item in enumerate(inputs):
            try:
                query = self._check(item)
            except Exception as error:  # one bad request fails alone
                results[index] = error
            else:
                groups.setdefault(self._group(query), {})[index] = query
        for group in groups.values():
            check_canceled()
            queries = list(group.values())
            try:
                answers: list[DetectionOutput] | Exception = [
                    _to_output(query, found) for query, found in zip(queries, self._detect(queries), strict=True)
                ]
            except Canceled:
                raise
            except Exception as error:  # one group's failure is not the others'
                answers = error
            for place, index in enumerate(group):
                results[index] = answers if isinstance(answers, Exception) else answers[place]
        return [results[index] for index in range(len(inputs))]

    def _group(self, query: Query) -> Any:
        """Queries of an equal value share a batch."""
        return None if self._resizes_to_one_size else query.size

    def _check(self, input: DetectionInput) -> Query:
        asked = input.classes
        classes, prompts = self._check_classes([asked] if isinstance(asked, str) else asked)
        image = decode_image(cast(ImageBytes, media_bytes(input.image)).data)
        return Query(image, classes, prompts, input.box_threshold, input.text_threshold)

    @torch.inference_mode()
    def _forward(self, inputs: Any) -> Any:
        """Call the model; its floating-point outputs come back as float32 on the CPU, where the rest is quick."""
        inputs = inputs.to(self._model.device)
        inputs["pixel_values"] = inputs["pixel_values"].to(self._model.dtype)
        outputs = self._model(**inputs)
        for name, value in outputs.items():
            if isinstance(value, torch.Tensor):
                outputs[name] = value.float().cpu() if value.is_floating_point() else value.cpu()
        return outputs

    def _prepare(self) -> None:
        """Read from model and processor what answering needs; called once they are loaded."""

    @abstractmethod
    def _query_to_warm_up(self, image: Image.Image) -> Query:
        """Return a query about ``image``."""

    @abstractmethod
    def _check_classes(self, asked: Sequence[str] | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the classes and their prompts.

        Raises:
            InvalidInput: They cannot be asked of this model.
        """

    @abstractmethod
    def _detect(self, queries: Sequence[Query]) -> list[Candidates]:
        """Run the model on one batch."""


def _to_output(query: Query, found: Candidates) -> DetectionOutput:
    """Round boxes to pixels within the image, best score first; a box that leaves no pixel is dropped."""
    boxes: list[list[int]] = []
    scores: list[float] = []
    classes: list[str] = []
    bounds = (query.image.width, query.image.height) * 2
    for place in found.scores.argsort(descending=True, stable=True).tolist():
        corners = found.boxes[place].tolist()
        if not all(map(math.isfinite, corners)):
            continue
        box = [min(max(round(corner), 0), bound) for corner, bound in zip(corners, bounds, strict=True)]
        if box[0] >= box[2] or box[1] >= box[3]:
            continue
        boxes.append(box)
        scores.append(found.scores[place].item())
        classes.append(found.classes[place])
    return DetectionOutput(boxes=boxes, scores=scores, classes=classes)
