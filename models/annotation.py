"""Real checkpoints for annotation work, one GPU per replica.

Served with `pixano-inference --config models/annotation.py`. Checkpoints are fetched from the hub by name at the first
start, or found in the hub's cache.
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
        model_params=Sam2ImageParams(path="facebook/sam2.1-hiera-base-plus", torch_dtype="bfloat16"),
        # clicks are short and many, and every replica has its own cache of embeddings
        deployment=DeploymentConfig(
            num_gpus=1,
            num_cpus=2,
            memory_mb=8192,
            min_replicas=1,
            max_replicas=4,
            target_num_ongoing_requests_per_replica=8,
            timeout_s=60,
        ),
    ),
    ModelConfig(
        name="sam2-video",
        model_class="Sam2VideoModel",
        model_params=Sam2VideoParams(path="facebook/sam2.1-hiera-base-plus", torch_dtype="bfloat16"),
        # a track keeps its GPU for minutes: one for each replica, none where nobody tracks
        deployment=DeploymentConfig(
            num_gpus=1,
            num_cpus=4,
            memory_mb=16384,
            min_replicas=0,
            max_replicas=4,
            target_num_ongoing_requests_per_replica=1,
            downscale_delay_s=900,
            timeout_s=1800,
        ),
    ),
    ModelConfig(
        name="grounding-dino-tiny",
        model_class="GroundingDINOModel",
        model_params=GroundingDINOParams(path="IDEA-Research/grounding-dino-tiny"),
        deployment=DeploymentConfig(num_gpus=1, num_cpus=2, memory_mb=8192, max_replicas=2, timeout_s=60),
    ),
    ModelConfig(
        name="grounding-dino-base",
        model_class="GroundingDINOModel",
        model_params=GroundingDINOParams(path="IDEA-Research/grounding-dino-base"),
        deployment=DeploymentConfig(
            num_gpus=1, num_cpus=2, memory_mb=8192, min_replicas=0, max_replicas=2, timeout_s=60
        ),
    ),
    ModelConfig(
        name="smolvlm",
        model_class="TransformersVLMModel",
        model_params=TransformersVLMParams(path="HuggingFaceTB/SmolVLM2-2.2B-Instruct", torch_dtype="bfloat16"),
        deployment=DeploymentConfig(num_gpus=1, num_cpus=2, memory_mb=16384, max_replicas=2, timeout_s=120),
    ),
    ModelConfig(
        name="qwen-vl-7b",
        model_class="TransformersVLMModel",
        model_params=TransformersVLMParams(path="Qwen/Qwen2.5-VL-7B-Instruct", torch_dtype="bfloat16"),
        deployment=DeploymentConfig(
            num_gpus=1, num_cpus=4, memory_mb=32768, min_replicas=0, max_replicas=2, timeout_s=300
        ),
    ),
]
