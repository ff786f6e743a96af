"""From image bytes to what the image encoder takes."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pixano_inference.media.images import decode_scaled

logger = logging.getLogger(__name__)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ImageSize:
    """Size of an image as it was sent, in pixels."""

    width: int
    height: int


@dataclass(frozen=True)
class Normalization:
    """Channel means and standard deviations (RGB, values in 0..1) of a checkpoint's training."""

    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    @classmethod
    def of_checkpoint(cls, folder: Path | None) -> Normalization:
        """Read ``preprocessor_config.json`` of a local checkpoint; every SAM2 so far has ImageNet's, the default."""
        for name in ("preprocessor_config.json", "processor_config.json"):
            file = folder / name if folder else None
            if file and file.is_file():
                settings = json.loads(file.read_text())
                settings = settings.get("image_processor", settings)
                return cls(
                    tuple(settings.get("image_mean", IMAGENET_MEAN)), tuple(settings.get("image_std", IMAGENET_STD))
                )
        return cls()

    def apply(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn uint8 [batch, 3, height, width] into normalised float32 of the same shape and device."""
        mean = torch.tensor(self.mean, device=pixels.device).view(1, 3, 1, 1)
        std = torch.tensor(self.std, device=pixels.device).view(1, 3, 1, 1)
        return (pixels.float() / 255.0 - mean) / std


def square_pixels(image: Image.Image, side: int) -> torch.Tensor:
    """Resize an RGB image to the model's square without keeping its aspect, as SAM2 was trained: uint8 [3, side, side].

    Pillow's bilinear filter widens when it shrinks, which is what torchvision calls ``antialias=True``.
    """
    resized = image if image.size == (side, side) else image.resize((side, side), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(resized, dtype=np.uint8)).permute(2, 0, 1).contiguous()


def decode_for_model(data: bytes | memoryview, side: int) -> tuple[torch.Tensor, ImageSize]:
    """Decode an image for a model with square inputs of ``side`` pixels.

    A large JPEG is decoded at the smallest scale that still has ``side`` pixels on each side.

    Returns:
        uint8 [3, side, side] and the size of the image as it was sent.

    Raises:
        InvalidInput: The bytes are no image that can be decoded.
        TooLarge: The image has more pixels than allowed.
    """
    decoded = decode_scaled(data, at_least=side)
    return square_pixels(decoded.image, side), ImageSize(decoded.width, decoded.height)
