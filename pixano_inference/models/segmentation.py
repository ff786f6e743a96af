"""Base class, input and output of segmentation models, for code that imports them from one module."""

from pixano_inference.schemas import SegmentationInput, SegmentationOutput

from .base import SegmentationModel

__all__ = ["SegmentationInput", "SegmentationModel", "SegmentationOutput"]
