"""Images and videos that come as elements or values of tensors."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pixano_inference.errors import InvalidInput
from pixano_inference.media.data_uri import decode_data_uri
from pixano_inference.media.image_header import check_image_header
from pixano_inference.schemas import ImageBytes, VideoBytes

Location = tuple[str | int, ...]

_LOOKED_AT = 64
"""Bytes at the beginning of an element that tell a file from a text."""


@dataclass(frozen=True)
class MediaReader:
    """Makes media of what a tensor holds.

    Attributes:
        max_pixels: Largest width × height of an image.
        keeps_references: Whether URLs, paths and digests are left as they are, for the gateway to resolve under its
            policy. A runner opens none: it reads files and data URIs.
    """

    max_pixels: int
    keeps_references: bool

    def image(self, element: bytes, location: Location) -> str:
        """Return an image: the file itself, or a reference to one.

        Raises:
            InvalidInput: It is neither an image nor a reference that may be followed here.
            TooLarge: It has more pixels than allowed.
        """
        text = _as_text(element)
        return self._named(element, location) if text is None else self.image_reference(text, location)

    def image_reference(self, reference: str, location: Location) -> str:
        """Return the image behind a reference, or the reference.

        Raises:
            InvalidInput: It may not be followed here, or holds no image.
            TooLarge: The image has more pixels than allowed.
        """
        if self.keeps_references:
            return reference
        return self._named(_bytes_of_data_uri(reference, location), location)

    def video(self, element: bytes, location: Location) -> str:
        """Return a video: the file itself, or a reference to one or to a folder of frames.

        Raises:
            InvalidInput: It is a reference that may not be followed here.
        """
        text = _as_text(element)
        if text is None:
            return VideoBytes(element)
        return text if self.keeps_references else VideoBytes(_bytes_of_data_uri(text, location))

    def pixels(self, values: npt.NDArray[Any], location: Location) -> ImageBytes:
        """Return RGB values, uint8 [height, width, 3], as an uncompressed file: equal pixels make equal bytes.

        Raises:
            TooLarge: There are more pixels than allowed.
        """
        file = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(values, dtype=np.uint8)).save(file, "BMP")
        return self._named(file.getvalue(), location)

    def _named(self, data: bytes, location: Location) -> ImageBytes:
        check_image_header(data, max_pixels=self.max_pixels, location=location)
        return ImageBytes(data)


def _as_text(element: bytes) -> str | None:
    """Return an element as text, or null for a file: every format has a byte among its first that no text has."""
    if b"\0" in element[:_LOOKED_AT]:
        return None
    try:
        return element.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _bytes_of_data_uri(reference: str, location: Location) -> bytes:
    if reference[:5].lower() != "data:":
        raise InvalidInput(
            "a runner opens no URL or path: send the file's bytes or a data URI, or ask the gateway",
            code="media_scheme",
            location=location,
        )
    return decode_data_uri(reference, location)
