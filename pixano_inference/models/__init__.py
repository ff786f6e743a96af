"""Model classes: the bases to subclass, and the registry that finds a class by name."""

from pixano_inference.schemas import (
    DetectionInput,
    DetectionOutput,
    SegmentationInput,
    SegmentationOutput,
    TrackingInput,
    TrackingOutput,
    VLMInput,
    VLMOutput,
)

from .base import DetectionModel, InferenceModel, SegmentationModel, TrackingModel, VLMModel
from .cancellation import cancel_signal, check_canceled
from .pipeline import PipelinedModel
from .registry import BUILTIN_MODELS, describe, find_model_class, register_model, registered_names

__all__ = [
    "BUILTIN_MODELS",
    "DetectionInput",
    "DetectionModel",
    "DetectionOutput",
    "InferenceModel",
    "PipelinedModel",
    "SegmentationInput",
    "SegmentationModel",
    "SegmentationOutput",
    "TrackingInput",
    "TrackingModel",
    "TrackingOutput",
    "VLMInput",
    "VLMModel",
    "VLMOutput",
    "cancel_signal",
    "check_canceled",
    "describe",
    "find_model_class",
    "register_model",
    "registered_names",
]
