"""Segments what is bright: the style of modules of the Ray-based server, down to its private names."""

from __future__ import annotations

from typing import Any

import numpy as np

from pixano_inference.models.registry import register_model
from pixano_inference.models.segmentation import SegmentationInput, SegmentationModel, SegmentationOutput
from pixano_inference.ray.config import ModelDeploymentConfig
from pixano_inference.schemas.nd_array import NDArrayFloat
from pixano_inference.schemas.rle import CompressedRLE


@register_model("ThresholdSegmenter")
class ThresholdSegmenter(SegmentationModel):
    def __init__(self, config: ModelDeploymentConfig) -> None:
        super().__init__(config)
        self._threshold = float(config.model_params.get("threshold", 0.5))
        self._invert = False

    def load_model(self) -> None:
        params = dict(self._config.model_params)
        assert params.pop("path") == self.config.model_params["path"]
        self._invert = params.pop("config", {}).get("invert", False)
        assert self._config.resources.num_gpus == 0

    @property
    def metadata(self) -> dict[str, Any]:
        base = super().metadata
        base["path"] = self._config.model_params.get("path")
        return base

    def predict(self, input: SegmentationInput) -> SegmentationOutput:
        from pixano_inference.utils import convert_string_to_image

        pixels = np.asarray(convert_string_to_image(input.image).convert("L")) / 255
        mask = (pixels < self._threshold) if self._invert else (pixels >= self._threshold)
        scores = NDArrayFloat.from_numpy(np.array([[self._threshold]], dtype=np.float32))
        return SegmentationOutput(masks=[[CompressedRLE.from_mask(mask.astype(np.uint8))]], scores=scores)
