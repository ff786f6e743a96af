from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from pixano_inference.models.sam2.preprocessing import (
    ImageSize,
    Normalization,
    decode_for_model,
    square_pixels,
)

pytestmark = pytest.mark.model


def jpeg(width: int, height: int) -> bytes:
    small = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def test_resizing_agrees_with_torch_antialiased_bilinear() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    ours = square_pixels(Image.fromarray(pixels), 256).float()
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(pixels).permute(2, 0, 1)[None].float(), (256, 256), mode="bilinear", antialias=True
    )[0]
    assert (ours - theirs).abs().max() <= 1.01  # Pillow rounds to whole values after each axis


def test_normalization_is_the_checkpoints() -> None:
    pixels = torch.full((1, 3, 2, 2), 255, dtype=torch.uint8)
    normalized = Normalization(mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 2.0)).apply(pixels)
    assert normalized[0, :, 0, 0].tolist() == [1.0, 3.0, 0.5]


def test_a_large_jpeg_is_decoded_at_a_smaller_scale_to_nearly_the_same_pixels() -> None:
    data = jpeg(2400, 1600)
    scaled, size = decode_for_model(data, 256)
    whole = square_pixels(Image.open(io.BytesIO(data)).convert("RGB"), 256)
    assert size == ImageSize(2400, 1600)
    assert (scaled.float() - whole.float()).abs().mean() < 1.0
