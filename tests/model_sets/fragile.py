"""A model that fails in every way, beside two that must not notice."""

from pixano_inference.configs import DeploymentConfig, ModelConfig

models = [
    ModelConfig(name="disk", model_class="DiskModel", model_params={"radius": 6}),
    ModelConfig(name="boxes", model_class="CenterBoxModel"),
    ModelConfig(
        name="odd",
        model_class="OddModel",
        deployment=DeploymentConfig(timeout_s=2.0, max_queue_size=4, max_batch_size=1),
    ),
]
