"""Detection: class names in, boxes out."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .base import FiniteFloat, Schema
from .media_bytes import MediaString
from .rle import CompressedRLE
from .segmentation import Box

Threshold = Annotated[FiniteFloat, Field(ge=0.0, le=1.0)]
ClassName = Annotated[str, Field(min_length=1)]


class DetectionInput(Schema):
    """What a detection model receives.

    Attributes:
        image: Data URI, URL or path on the wire; bytes in a model.
        classes: Names to look for, one name, or null for a model with a closed vocabulary.
        box_threshold: Least score of a box, 0 to 1.
        text_threshold: Least score of a word, 0 to 1, for models that match words.
    """

    image: MediaString
    classes: Annotated[list[ClassName], Field(min_length=1)] | ClassName | None = None
    box_threshold: Threshold = 0.5
    text_threshold: Threshold = 0.5


class DetectionRequest(DetectionInput):
    """Body of ``POST /inference/detection/``; ``model`` names a deployed model."""

    model: str


class DetectionOutput(Schema):
    """What a detection model answers, best score first.

    Attributes:
        boxes: int [n][4], x1 y1 x2 y2 in pixels of the image.
        scores: float [n].
        classes: string [n].
        masks: One mask per box, or null.
    """

    boxes: list[Box]
    scores: list[float]
    classes: list[str]
    masks: list[CompressedRLE] | None = None
