"""Decoding images: bounded before any pixel is decoded, and answering every file with an image or a clear error."""

from __future__ import annotations

import io
import logging
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from pixano_inference.configs.server_settings import server_settings
from pixano_inference.errors import InvalidInput, TooLarge

logger = logging.getLogger(__name__)

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
"""Image formats that are accepted, as Pillow names them."""

# Our own limits are checked on the header, with a clear message, before Pillow's warning could fire.
Image.MAX_IMAGE_PIXELS = None
ImageFile.LOAD_TRUNCATED_IMAGES = False


@dataclass(frozen=True)
class DecodedImage:
    """An image and the size it was sent in, which differs from the image's own after a scaled decode.

    Attributes:
        image: RGB, 8 bits per channel.
        width: Width of the image as sent, in pixels.
        height: Height of the image as sent, in pixels.
    """

    image: Image.Image
    width: int
    height: int


def decode_scaled(
    data: bytes | memoryview,
    at_least: int | None = None,
    *,
    max_pixels: int | None = None,
    max_side: int | None = None,
) -> DecodedImage:
    """Decode an image, a large JPEG at the smallest scale that its format offers cheaply.

    Args:
        data: The encoded image, in one of :data:`FORMATS`. Of an animation the first frame counts. The orientation in
            EXIF data is not applied: pixels are used as sent.
        at_least: Pixels that each side must keep; null decodes in full.
        max_pixels: Largest width × height; null: what the server's settings say.
        max_side: Largest width or height; null: as well.

    Raises:
        InvalidInput: The bytes are no image that can be decoded.
        TooLarge: The image has more pixels than allowed; nothing was decoded.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks about odd metadata are no reason to refuse an image
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            width, height = image.size
            check_size(width, height, max_pixels, max_side)
            if at_least is not None and image.format == "JPEG":
                # draft() never goes below the size it is asked for
                scale = max(at_least / width, at_least / height)
                if scale < 1:
                    image.draft(None, (int(np.ceil(width * scale)), int(np.ceil(height * scale))))
            image.load()
            return DecodedImage(_to_rgb(image), width, height)
    except (TooLarge, MemoryError):
        raise
    except UnidentifiedImageError:
        raise InvalidInput(
            f"the image cannot be decoded: its format is none of {', '.join(FORMATS)}", code="image_format"
        ) from None
    except Exception as error:
        # decoders raise nearly anything on hostile bytes, in words that are not for the caller
        logger.info("an image of %d bytes cannot be decoded: %.200r", len(data), error)
        raise InvalidInput("the image cannot be decoded: its data is damaged or cut short", code="image_data") from None


def check_size(
    width: int, height: int, max_pixels: int | None, max_side: int | None, location: tuple[str | int, ...] = ()
) -> None:
    """Refuse an image that is too large; null stands for what the server's settings allow.

    Raises:
        TooLarge: It is.
    """
    pixels = server_settings().max_image_pixels if max_pixels is None else max_pixels
    side = server_settings().max_image_side if max_side is None else max_side
    if max(width, height) > side or width * height > pixels:
        raise TooLarge(
            f"the image has {width} × {height} pixels; allowed are {side} per side and {pixels} in all",
            code="image_pixels",
            location=location or None,
        )


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I;16", "I;16L", "I;16B", "I;16N", "I", "F"):
        values = np.asarray(image).astype(np.float64)
        # 16-bit grey is scaled to 8 bits; 32-bit images that hold 8-bit values are kept
        if image.mode.startswith("I;16") or values.max(initial=0) > 255:
            values = values / 257.0
        return Image.fromarray(np.clip(np.rint(np.nan_to_num(values)), 0, 255).astype(np.uint8)).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def decode_image(data: bytes | memoryview) -> Image.Image:
    """Decode an image in full to RGB, 8 bits per channel; see :func:`decode_scaled` for what is accepted.

    Raises:
        InvalidInput: The bytes are no image that can be decoded.
        TooLarge: The image has more pixels than allowed; nothing was decoded.
    """
    return decode_scaled(data).image
