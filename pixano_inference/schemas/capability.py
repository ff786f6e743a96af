"""The four things a model can do."""

from __future__ import annotations

from enum import StrEnum


class Capability(StrEnum):
    """What a model does; the value is the path segment of its inference endpoint."""

    SEGMENTATION = "segmentation"
    DETECTION = "detection"
    TRACKING = "tracking"
    VLM = "vlm"
