"""The smallest real checkpoints, on CPU cores; served with `pixano-inference --config models/annotation_cpu.py`.

A first click takes seconds, the next ones on the same image a fraction of one: enough to try a tool out.
"""

from pixano_inference.configs import (
    DeploymentConfig,
    GroundingDINOParams,
    ModelConfig,
    Sam2ImageParams,
    Sam2VideoParams,
    TransformersVLMParams,
)

models = [
    ModelConfig(
        name="sam2-image",
        model_class="Sam2ImageModel",
        model_params=Sam2ImageParams(path="facebook/sam2.1-hiera-tiny"),
        deployment=DeploymentConfig(num_cpus=4, memory_mb=6144, max_replicas=4, timeout_s=120),
    ),
    ModelConfig(
        name="sam2-video",
        model_class="Sam2VideoModel",
        model_params=Sam2VideoParams(path="facebook/sam2.1-hiera-tiny"),
        deployment=DeploymentConfig(
            num_cpus=4,
            memory_mb=8192,
            min_replicas=0,
            max_replicas=2,
            target_num_ongoing_requests_per_replica=1,
            timeout_s=3600,
        ),
    ),
    ModelConfig(
        name="grounding-dino-tiny",
        model_class="GroundingDINOModel",
        model_params=GroundingDINOParams(path="IDEA-Research/grounding-dino-tiny"),
        deployment=DeploymentConfig(num_cpus=4, memory_mb=6144, max_replicas=2, timeout_s=120),
    ),
    ModelConfig(
        name="smolvlm",
        model_class="TransformersVLMModel",
        model_params=TransformersVLMParams(path="HuggingFaceTB/SmolVLM-256M-Instruct"),
        deployment=DeploymentConfig(num_cpus=4, memory_mb=6144, min_replicas=0, max_replicas=2, timeout_s=300),
    ),
]
