"""From the mask decoder's logits to masks of the size of the image."""

from __future__ import annotations

import torch
from torch.nn import functional

from pixano_inference.schemas import CompressedRLE

from .preprocessing import ImageSize


@torch.inference_mode()
def full_size_mask(logits: torch.Tensor, size: ImageSize) -> CompressedRLE:
    """Upsample low-resolution logits [side, side] bilinearly to the size of the image and keep what is above zero."""
    # Upsampled transposed: run-length encoding walks columns, and would otherwise turn the whole mask round in memory.
    turned = logits.T[None, None].contiguous()
    mask = functional.interpolate(turned, size=(size.width, size.height), mode="bilinear", align_corners=False) > 0
    return CompressedRLE.from_mask(mask[0, 0].numpy().T)
