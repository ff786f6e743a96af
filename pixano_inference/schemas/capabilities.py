"""The table of capabilities: routes, client and runners derive from it."""

from __future__ import annotations

from dataclasses import dataclass

from .base import Schema
from .capability import Capability
from .detection import DetectionInput, DetectionOutput, DetectionRequest
from .segmentation import SegmentationInput, SegmentationOutput, SegmentationRequest
from .service import BaseResponse, DetectionResponse, SegmentationResponse, TrackingResponse, VLMResponse
from .tracking import TrackingInput, TrackingOutput, TrackingRequest
from .vlm import VLMInput, VLMOutput, VLMRequest


@dataclass(frozen=True)
class CapabilitySchemas:
    """The schemas of one capability.

    Attributes:
        request: Body of ``POST /inference/<capability>/``.
        input: The request as a model receives it.
        output: The model's answer.
        response: The answer in its envelope.
        uploads: Name of the multipart field that holds the media, for capabilities that take uploads.
    """

    request: type[Schema]
    input: type[Schema]
    output: type[Schema]
    response: type[BaseResponse]
    uploads: str | None = None


CAPABILITIES: dict[Capability, CapabilitySchemas] = {
    Capability.SEGMENTATION: CapabilitySchemas(
        SegmentationRequest, SegmentationInput, SegmentationOutput, SegmentationResponse, uploads="image"
    ),
    Capability.DETECTION: CapabilitySchemas(DetectionRequest, DetectionInput, DetectionOutput, DetectionResponse),
    Capability.TRACKING: CapabilitySchemas(
        TrackingRequest, TrackingInput, TrackingOutput, TrackingResponse, uploads="frames"
    ),
    Capability.VLM: CapabilitySchemas(VLMRequest, VLMInput, VLMOutput, VLMResponse),
}
