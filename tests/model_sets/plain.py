"""A model of each capability, in plain Python: what the server does without torch."""

from pixano_inference.configs import DeploymentConfig, ModelConfig

models = [
    ModelConfig(name="disk", model_class="DiskModel", model_params={"radius": 10}),
    ModelConfig(name="boxes", model_class="CenterBoxModel"),
    ModelConfig(
        name="still",
        model_class="StillTracker",
        model_params={"seconds_per_frame": 0.02},
        deployment=DeploymentConfig(),
    ),
    ModelConfig(name="echo", model_class="EchoModel"),
    ModelConfig(
        name="odd",
        model_class="OddModel",
        deployment=DeploymentConfig(timeout_s=2.0, max_queue_size=4, max_batch_size=1),
    ),
]
