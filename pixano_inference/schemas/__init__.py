"""The wire contract: every request and response, as pydantic models without a framework and without torch."""

from .base import Schema
from .capabilities import CAPABILITIES, CapabilitySchemas
from .capability import Capability
from .detection import DetectionInput, DetectionOutput, DetectionRequest
from .media_bytes import ImageBytes, MediaBytes, VideoBytes, media_bytes
from .nd_array import NDArrayFloat
from .rle import CompressedRLE
from .segmentation import SegmentationInput, SegmentationOutput, SegmentationRequest
from .service import (
    BaseResponse,
    DetectionResponse,
    Health,
    ModelInfo,
    ModelState,
    Readiness,
    SegmentationResponse,
    ServerMetadata,
    Settings,
    TrackingJob,
    TrackingResponse,
    VLMResponse,
)
from .tracking import (
    FrameMasks,
    Keyframe,
    KeyframeBox,
    KeyframePoint,
    TrackingInput,
    TrackingInterval,
    TrackingOutput,
    TrackingRequest,
)
from .vlm import ChatMessage, ImagePart, ImageUrl, TextPart, Usage, VLMInput, VLMOutput, VLMRequest

__all__ = [
    "CAPABILITIES",
    "BaseResponse",
    "Capability",
    "CapabilitySchemas",
    "ChatMessage",
    "CompressedRLE",
    "DetectionInput",
    "DetectionOutput",
    "DetectionRequest",
    "DetectionResponse",
    "FrameMasks",
    "Health",
    "ImageBytes",
    "ImagePart",
    "ImageUrl",
    "Keyframe",
    "KeyframeBox",
    "KeyframePoint",
    "MediaBytes",
    "ModelInfo",
    "ModelState",
    "NDArrayFloat",
    "Readiness",
    "Schema",
    "SegmentationInput",
    "SegmentationOutput",
    "SegmentationRequest",
    "SegmentationResponse",
    "ServerMetadata",
    "Settings",
    "TextPart",
    "TrackingInput",
    "TrackingInterval",
    "TrackingJob",
    "TrackingOutput",
    "TrackingRequest",
    "TrackingResponse",
    "Usage",
    "VLMInput",
    "VLMOutput",
    "VLMRequest",
    "VLMResponse",
    "VideoBytes",
    "media_bytes",
]
