"""Detectors that know a fixed list of classes: the DETR family, YOLOS, RT-DETR, ..."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from PIL import Image
from transformers import AutoImageProcessor, AutoModelForObjectDetection

from pixano_inference.configs import ModelParams, TransformersDetectionParams
from pixano_inference.errors import InvalidInput
from pixano_inference.models.registry import register_model

from .transformers_detector import Candidates, Query, TransformersDetector


@register_model("TransformersDetectionModel")
class TransformersDetectionModel(TransformersDetector):
    """Any detector of transformers with a vocabulary of its own, for ``classes: null``.

    With ``classes`` given, only boxes of those are answered; names are the model's own, in upper or lower case.
    ``text_threshold`` has no meaning here.
    """

    params_class: ClassVar[type[ModelParams]] = TransformersDetectionParams
    _auto_model = AutoModelForObjectDetection
    _auto_processor = AutoImageProcessor

    def _prepare(self) -> None:
        self._labels: dict[int, str] = {int(index): name for index, name in self._model.config.id2label.items()}

    def _query_to_warm_up(self, image: Image.Image) -> Query:
        return Query(image, (), (), box_threshold=0.5, text_threshold=0.5)

    def _check_classes(self, asked: Sequence[str] | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
        if asked is None:
            return (), ()
        own_spelling = {name.lower(): name for name in self._labels.values()}
        unknown = [name for name in asked if name.strip().lower() not in own_spelling]
        if unknown:
            raise InvalidInput(
                f"model {self.model_name!r} does not know {', '.join(map(repr, unknown))}; "
                f"it knows {', '.join(sorted(own_spelling.values()))}",
                location=("body", "classes"),
            )
        names = tuple(own_spelling[name.strip().lower()] for name in asked)
        return names, names

    def _detect(self, queries: Sequence[Query]) -> list[Candidates]:
        inputs = self._processor(images=[query.image for query in queries], return_tensors="pt")
        found = self._processor.post_process_object_detection(
            self._forward(inputs),
            threshold=min(query.box_threshold for query in queries),
            target_sizes=[query.size for query in queries],
        )
        candidates = []
        for query, boxes in zip(queries, found, strict=True):
            names = [self._labels[label] for label in boxes["labels"].tolist()]
            kept = boxes["scores"] > query.box_threshold
            if query.classes:
                kept &= kept.new_tensor([name in query.classes for name in names])
            chosen = [name for name, keep in zip(names, kept.tolist(), strict=True) if keep]
            candidates.append(Candidates(boxes["boxes"][kept], boxes["scores"][kept], chosen))
        return candidates
