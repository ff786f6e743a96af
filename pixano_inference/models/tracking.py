"""Base class, input and output of tracking models, for code that imports them from one module."""

from pixano_inference.schemas import TrackingInput, TrackingOutput

from .base import TrackingModel

__all__ = ["TrackingInput", "TrackingModel", "TrackingOutput"]
