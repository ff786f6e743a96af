"""Detectors: class names in, boxes out."""

from pixano_inference.models.base import DetectionModel
from pixano_inference.schemas import DetectionInput, DetectionOutput

__all__ = ["DetectionInput", "DetectionModel", "DetectionOutput"]
