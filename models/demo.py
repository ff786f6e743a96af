"""The demo model set: small checkpoints that scripts in training/ made, served without a GPU and without downloads."""

from pathlib import Path

from pixano_inference.configs import (
    GroundingDINOParams,
    ModelConfig,
    Sam2ImageParams,
    Sam2VideoParams,
    TransformersVLMParams,
)

CHECKPOINTS = Path(__file__).parent / "demo"

models = [
    ModelConfig(
        name="sam2-image",
        model_class="Sam2ImageModel",
        model_params=Sam2ImageParams(path=str(CHECKPOINTS / "sam2-image"), local_files_only=True),
    ),
    ModelConfig(
        name="sam2-video",
        model_class="Sam2VideoModel",
        model_params=Sam2VideoParams(path=str(CHECKPOINTS / "sam2-video"), local_files_only=True),
    ),
    ModelConfig(
        name="detector",
        model_class="GroundingDINOModel",
        model_params=GroundingDINOParams(path=str(CHECKPOINTS / "grounding-shapes"), local_files_only=True),
    ),
    ModelConfig(
        name="vlm",
        model_class="TransformersVLMModel",
        model_params=TransformersVLMParams(path=str(CHECKPOINTS / "vlm"), local_files_only=True),
    ),
]
