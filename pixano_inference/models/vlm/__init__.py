"""Vision-language models: transformers' own families, and vLLM."""

from pixano_inference.models.base import VLMModel
from pixano_inference.schemas import Usage, VLMInput, VLMOutput

UsageInfo = Usage
"""The name that model code written for the Ray-based server uses."""

__all__ = ["Usage", "UsageInfo", "VLMInput", "VLMModel", "VLMOutput"]
