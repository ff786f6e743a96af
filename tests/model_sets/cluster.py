"""What the small cluster serves: clicks with an embedding cache, and tracking, both at a pace and without torch."""

import os
import time
from dataclasses import asdict
from typing import Any

from pixano_inference.configs import DeploymentConfig, ModelConfig, ModelParams
from pixano_inference.models import SegmentationModel
from pixano_inference.models.embedding_cache import EmbeddingCache
from pixano_inference.schemas import (
    CompressedRLE,
    NDArrayFloat,
    SegmentationInput,
    SegmentationOutput,
    media_bytes,
)
from tests.model_sets.paced import PacedTracker


class ClickParams(ModelParams):
    """Seconds that an image takes to encode, and a click to decode."""

    encode_s: float = 0.1
    decode_s: float = 0.03


class ClickModel(SegmentationModel):
    """Takes its time as SAM2 does: long for an image that its cache does not have, short for one that it has.

    Answers one pixel. Its metadata name the address of its pod and count what its cache did.
    """

    params_class = ClickParams

    def load_model(self) -> None:
        """Make an empty cache."""
        assert isinstance(self.config.model_params, ClickParams)
        self.params = self.config.model_params
        self.cache: EmbeddingCache[str] = EmbeddingCache(2**20)

    @property
    def metadata(self) -> dict[str, Any]:
        return {"served_by": os.environ.get("POD_IP"), "embedding_cache": asdict(self.cache.statistics)}

    def predict(self, input: SegmentationInput) -> SegmentationOutput:
        digest = media_bytes(input.image).digest
        if self.cache.get(digest) is None:
            time.sleep(self.params.encode_s)
            self.cache.missed()
            self.cache.put(digest, digest, 1000)
        time.sleep(self.params.decode_s)
        pixel = CompressedRLE(size=[1, 1], counts=[0, 1])
        return SegmentationOutput(masks=[[pixel]], scores=NDArrayFloat(values=[1.0], shape=[1, 1]))


_SCALED = DeploymentConfig(
    min_replicas=0, max_replicas=3, max_batch_size=1, target_num_ongoing_requests_per_replica=4, timeout_s=30
)

models = [
    ModelConfig(name="clicks", model_class=ClickModel, deployment=_SCALED),
    ModelConfig(name="tracker", model_class=PacedTracker, deployment=_SCALED),
]
