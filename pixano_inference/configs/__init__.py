"""What is served and how: model sets, typed parameters, deployment."""

from .deployment import DeploymentConfig
from .model_config import ModelConfig
from .params import (
    FreeParams,
    GroundingDINOParams,
    ModelParams,
    Sam2ImageParams,
    Sam2VideoParams,
    TorchParams,
    TransformersDetectionParams,
    TransformersVLMParams,
    VLLMVLMParams,
)

__all__ = [
    "DeploymentConfig",
    "FreeParams",
    "GroundingDINOParams",
    "ModelConfig",
    "ModelParams",
    "Sam2ImageParams",
    "Sam2VideoParams",
    "TorchParams",
    "TransformersDetectionParams",
    "TransformersVLMParams",
    "VLLMVLMParams",
]
