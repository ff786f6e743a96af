"""From the image of a model's input to pixels."""

from __future__ import annotations

from PIL import Image

from pixano_inference.media.images import decode_image
from pixano_inference.schemas import media_bytes


def convert_string_to_image(image: str) -> Image.Image:
    """Decode the image of a model's input: RGB, 8 bits per channel.

    Args:
        image: ``input.image`` of a segmentation or detection model, an item of ``input.images`` or ``input.video``.

    Raises:
        TypeError: The string is a data URI, URL or path: the gateway fetches those, under its media policy.
        InvalidInput: The bytes are no image.
    """
    return decode_image(media_bytes(image).data)
