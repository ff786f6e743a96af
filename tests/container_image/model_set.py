"""What the containers serve: the demo's SAM2, and a small model with two replicas, a tracker, and one that fails.

All but the first come from ``plain_models.py``, which the tests add to the image as a layer.
"""

from pixano_inference.configs import DeploymentConfig, ModelConfig, Sam2ImageParams

models = [
    ModelConfig(
        name="sam2-image",
        model_class="Sam2ImageModel",
        model_params=Sam2ImageParams(path="demo/sam2-image", local_files_only=True),
        deployment=DeploymentConfig(memory_mb=1536),
    ),
    ModelConfig(
        name="disk",
        model_class="DiskModel",
        model_params={"radius": 6},
        deployment=DeploymentConfig(memory_mb=384, min_replicas=2, max_replicas=2, timeout_s=10),
    ),
    ModelConfig(
        name="still",
        model_class="StillTracker",
        model_params={"seconds_per_frame": 0.05},
        deployment=DeploymentConfig(memory_mb=384),
    ),
    ModelConfig(
        name="odd",
        model_class="OddModel",
        deployment=DeploymentConfig(memory_mb=384, timeout_s=4, max_batch_size=1),
    ),
]
