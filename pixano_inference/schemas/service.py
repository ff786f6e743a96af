"""What the server says about itself, and the envelope of every answer."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from .base import Schema
from .detection import DetectionOutput
from .segmentation import SegmentationOutput
from .tracking import TrackingOutput
from .vlm import VLMOutput


class ServerMetadata(Schema):
    """Answer of ``GET /``."""

    message: str
    version: str
    docs: str


class Health(Schema):
    """Answer of ``GET /health``."""

    status: Literal["healthy"] = "healthy"


class ModelState(Schema):
    """Readiness of one model; ``reason`` says why it is not ready."""

    name: str
    state: Literal["ready", "starting", "down", "failed", "idle"]
    reason: str | None = None


class Readiness(Schema):
    """Answer of ``GET /ready``."""

    ready: bool
    models_loaded: int
    version: str
    models: list[ModelState]


class Settings(Schema):
    """Answer of ``GET /app/settings/``; no field is ever null.

    Attributes:
        app_name: Name of the server.
        app_version: Its version.
        app_description: One line about it.
        num_cpus: CPU cores of all nodes.
        num_gpus: GPUs of all nodes.
        num_nodes: Machines.
        gpus_used: Sum of what the deployed models hold; a model may hold a fraction.
        gpu_to_model: GPU index to the name of the model on it; with several machines, or pods, ``host:index``.
        models: Names of the deployed models.
        models_to_capability: Name of each model to its capability.
    """

    app_name: str = "Pixano Inference"
    app_version: str = ""
    app_description: str = ""
    num_cpus: int = 0
    num_gpus: int = 0
    num_nodes: int = 1
    gpus_used: float = 0.0
    gpu_to_model: dict[str, str] = {}
    models: list[str] = []
    models_to_capability: dict[str, str] = {}


class ModelInfo(Schema):
    """One model of ``GET /app/models/``."""

    name: str
    capability: str
    model_path: str | None = None
    model_class: str | None = None
    state: str | None = None
    reason: str | None = None


class BaseResponse(Schema):
    """The envelope of every answer.

    Attributes:
        id: Made by the server, unique per request.
        status: ``SUCCESS``.
        timestamp: When the answer was made, ISO 8601.
        processing_time: Seconds, end to end.
        metadata: ``model_name``, ``capability``, ``model_class``, and what else the model tells.
    """

    id: str
    status: Literal["SUCCESS"] = "SUCCESS"
    timestamp: datetime
    processing_time: float
    metadata: dict[str, Any]


class SegmentationResponse(BaseResponse):
    """Answer of ``POST /inference/segmentation/``."""

    data: SegmentationOutput


class DetectionResponse(BaseResponse):
    """Answer of ``POST /inference/detection/``."""

    data: DetectionOutput


class TrackingResponse(BaseResponse):
    """Answer of ``POST /inference/tracking/``."""

    data: TrackingOutput


class VLMResponse(BaseResponse):
    """Answer of ``POST /inference/vlm/``."""

    data: VLMOutput


class TrackingJob(Schema):
    """Answer of the tracking job endpoints; ``data`` is there once the job has completed."""

    job_id: str
    status: Literal["queued", "running", "completed", "failed", "canceled"]
    detail: str | None = None
    data: TrackingOutput | None = None
    metadata: dict[str, Any]
    timestamp: datetime
    processing_time: float
