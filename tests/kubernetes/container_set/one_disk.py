"""One small custom model, all in the config file: what the check of the containers deploys."""

import numpy as np

from pixano_inference.configs import DeploymentConfig, ModelConfig
from pixano_inference.media.images import decode_image
from pixano_inference.models import SegmentationModel
from pixano_inference.schemas import CompressedRLE, NDArrayFloat, SegmentationInput, SegmentationOutput, media_bytes


class DiskAroundTheClick(SegmentationModel):
    """Answers a disk of ten pixels around each click."""

    def load_model(self) -> None:
        """Load nothing."""

    def predict(self, input: SegmentationInput) -> SegmentationOutput:
        """Draw the disks."""
        width, height = decode_image(media_bytes(input.image).data).size
        rows, columns = np.mgrid[:height, :width]
        masks = [
            [CompressedRLE.from_mask(((columns - x) ** 2 + (rows - y) ** 2 <= 100).astype(np.uint8))]
            for ((x, y), *_) in input.points or []
        ]
        scores = NDArrayFloat.from_numpy(np.ones((len(masks), 1), dtype=np.float32))
        return SegmentationOutput(masks=masks, scores=scores)


models = [
    ModelConfig(
        name="disk",
        model_class=DiskAroundTheClick,
        deployment=DeploymentConfig(memory_mb=512, min_replicas=2, max_replicas=2, timeout_s=10),
    )
]
