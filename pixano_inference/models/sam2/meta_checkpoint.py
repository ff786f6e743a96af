"""Meta's ``.pt`` checkpoints, through the ``sam2`` package where it is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from pixano_inference.configs import Sam2ImageParams, Sam2VideoParams
from pixano_inference.errors import ConfigError

from .checkpoint import Precision
from .image_network import COMPILE_BACKEND, ImageNetwork
from .preprocessing import Normalization


def build_meta_model(params: Sam2ImageParams | Sam2VideoParams, precision: Precision) -> Any:
    """Build a model of the ``sam2`` package from a ``.pt`` file and its configuration's name.

    Raises:
        ConfigError: The package is not installed, no configuration is named, or the file does not exist.
    """
    if params.config is None:
        raise ConfigError(
            f"the checkpoint {params.path!r} is one of Meta's .pt files: name its configuration as well, for instance "
            "config='configs/sam2.1/sam2.1_hiera_t.yaml'"
        )
    try:
        from sam2.build_sam import build_sam2
    except ImportError as error:
        raise ConfigError(
            f"the checkpoint {params.path!r} is one of Meta's .pt files, which need the sam2 package ({error}): "
            "pip install 'pixano-inference[sam2]', or name the Hugging Face version of the checkpoint instead"
        ) from error
    if not Path(params.path).is_file():
        raise ConfigError(f"there is no checkpoint file {params.path!r}")
    return build_sam2(params.config, params.path, device=str(precision.device))


def load_meta_image_network(params: Sam2ImageParams, precision: Precision) -> MetaImageNetwork:
    """Load a ``.pt`` checkpoint for images.

    Raises:
        ConfigError: See :func:`build_meta_model`.
    """
    return MetaImageNetwork(build_meta_model(params, precision), precision, params.compile)


class MetaImageNetwork(ImageNetwork):
    """:class:`ImageNetwork` on the ``sam2`` package's ``SAM2Base``.

    Args:
        model: The loaded model, in eval mode on its device.
        precision: Device and number type.
        compiled: Compile image encoder and mask decoder.
    """

    def __init__(self, model: Any, precision: Precision, compiled: bool = False) -> None:
        super().__init__(int(model.image_size), int(model.hidden_dim), Normalization(), precision, compiled)
        self._model = model
        if compiled:
            model.image_encoder.compile(backend=COMPILE_BACKEND, dynamic=False)
            model.sam_mask_decoder.compile(backend=COMPILE_BACKEND, dynamic=False)

    def _encode_pass(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        encoded = self._model.forward_image(pixels)
        fine, middle, coarse = encoded["backbone_fpn"]
        if self._model.directly_add_no_mem_embed:
            coarse = coarse + self._model.no_mem_embed.view(1, -1, 1, 1)
        return [fine, middle, coarse]

    def _decode_pass(
        self,
        levels: list[torch.Tensor],
        points: torch.Tensor,
        labels: torch.Tensor,
        masks: torch.Tensor | None,
        multimask: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        sparse, dense = self._model.sam_prompt_encoder(points=(points, labels), boxes=None, masks=masks)
        logits, scores, _, _ = self._model.sam_mask_decoder(
            image_embeddings=levels[2],
            image_pe=self._model.sam_prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask,
            repeat_image=False,
            high_res_features=levels[:2],
        )
        return logits, scores
