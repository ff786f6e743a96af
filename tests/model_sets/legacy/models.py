"""A config and a module as they are written for the Ray-based Pixano Inference, unchanged."""

from pixano_inference.configs import DeploymentConfig, ModelConfig

models = [
    ModelConfig(
        name="threshold",
        model_class="ThresholdSegmenter",
        model_module="custom.segmenter",
        model_params={"path": "acme/brightness", "threshold": 0.6, "config": {"invert": True}},
        deployment=DeploymentConfig(num_gpus=0, min_replicas=0, max_replicas=2, max_batch_size=4),
    ),
]
