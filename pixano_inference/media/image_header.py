"""What the first bytes of an image tell: a look that costs nothing, before anything is queued or decoded."""

from __future__ import annotations

import io
import logging
import warnings

from PIL import Image, UnidentifiedImageError

from pixano_inference.errors import InvalidInput

from .images import FORMATS, check_size

logger = logging.getLogger(__name__)


def check_image_header(
    data: bytes | memoryview,
    *,
    max_pixels: int | None = None,
    max_side: int | None = None,
    location: tuple[str | int, ...] = (),
) -> tuple[int, int]:
    """Return width and height of an image, from its header alone; no pixel is decoded.

    Args:
        data: The encoded image.
        max_pixels: Largest width × height; null: what the server's settings say.
        max_side: Largest width or height; null: as well.
        location: Field of the request that holds the image, for the error.

    Raises:
        InvalidInput: The bytes do not begin as an image of an accepted format does.
        TooLarge: The image has more pixels than allowed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                width, height = image.size
    except UnidentifiedImageError:
        raise InvalidInput(
            f"the image cannot be decoded: its format is none of {', '.join(FORMATS)}",
            code="image_format",
            location=location or None,
        ) from None
    except MemoryError:
        raise
    except Exception as error:
        # parsers of headers raise nearly anything on hostile bytes, in words that are not for the caller
        logger.info("the header of an image of %d bytes cannot be read: %.200r", len(data), error)
        raise InvalidInput(
            "the image cannot be decoded: its data is damaged or cut short",
            code="image_data",
            location=location or None,
        ) from None
    if width < 1 or height < 1:
        raise InvalidInput("the image has no pixels", code="image_data", location=location or None)
    check_size(width, height, max_pixels, max_side, location)
    return width, height
