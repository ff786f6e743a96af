"""Images and videos as people hold them, turned into what a request carries."""

from __future__ import annotations

import base64
import binascii
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from pixano_inference.schemas import ImageBytes, MediaBytes, VideoBytes

ImageLike = str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[Any]
"""A path, a URL or data URI, the content of an image file, a Pillow image, or an array [height, width(, 3 or 4)]."""

VideoLike = str | os.PathLike[str] | VideoBytes | Sequence[ImageLike]
"""Frames in order, a video file, a folder of frames, or a URL or data URI."""

_REMOTE = ("data:", "http://", "https://", "sha256:")
_FRAME_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}


def image_from(image: ImageLike) -> str:
    """Return the image as a request carries it.

    Args:
        image: Strings that begin with ``data:``, ``http://``, ``https://`` or ``sha256:`` are passed on; every other
            string is the path of a file on this machine. (To name a file on the server, put its path into the request
            class yourself.) Arrays are uint8, RGB, RGBA or grey.

    Returns:
        An :class:`~pixano_inference.schemas.ImageBytes`, or the string that was passed on.

    Raises:
        OSError: The file cannot be read.
        ValueError: The array is not an image.
    """
    if isinstance(image, MediaBytes):
        return image
    if isinstance(image, str) and image.startswith(_REMOTE):
        return image
    if isinstance(image, str | os.PathLike):
        return ImageBytes(Path(image).read_bytes())
    if isinstance(image, bytes | bytearray | memoryview):
        return ImageBytes(bytes(image))
    if isinstance(image, np.ndarray):
        image = _from_array(image)
    buffer = io.BytesIO()
    # level 1: pixels must arrive as they are, and the time of a click counts more than the size of its upload
    image.save(buffer, "PNG", compress_level=1)
    return ImageBytes(buffer.getvalue())


def _from_array(array: npt.NDArray[Any]) -> Image.Image:
    if array.dtype != np.uint8:
        raise ValueError(f"an image array has dtype uint8 and values 0 to 255, got {array.dtype}")
    if array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4)):
        return Image.fromarray(array)
    raise ValueError(f"an image array has shape [height, width], or with a last axis of 3 or 4, got {array.shape}")


def image_to_data_uri(image: ImageLike) -> str:
    """Return the image as ``data:image/...;base64,...``, for programs that build requests by hand.

    URLs and data URIs come back unchanged; see :func:`image_from` for what is accepted.
    """
    medium = image_from(image)
    return data_uri(medium) if isinstance(medium, MediaBytes) else medium


def video_from(video: VideoLike) -> str | list[str]:
    """Return the video as a request carries it.

    Args:
        video: Frames in order (anything that :func:`image_from` takes), the path of a video file, the path of a
            folder whose images, sorted by name, are the frames, or a URL or data URI.

    Returns:
        One string per frame, or one :class:`~pixano_inference.schemas.VideoBytes` or string.

    Raises:
        OSError: A file cannot be read.
        ValueError: The folder holds no image.
    """
    if isinstance(video, VideoBytes) or (isinstance(video, str) and video.startswith(_REMOTE)):
        return video
    if isinstance(video, str | os.PathLike):
        path = Path(video)
        if not path.is_dir():
            return VideoBytes(path.read_bytes())
        frames = sorted(file for file in path.iterdir() if file.suffix.lower() in _FRAME_SUFFIXES)
        if not frames:
            raise ValueError(f"the folder {path} holds no image ({', '.join(sorted(_FRAME_SUFFIXES))})")
        return [image_from(frame) for frame in frames]
    return [image_from(frame) for frame in video]


def data_uri(medium: MediaBytes) -> str:
    """Return the data URI of encoded bytes."""
    # a video's decoder looks at the content; the name only tells videos from images
    media_type = "video/mp4" if isinstance(medium, VideoBytes) else _image_type(medium.data)
    return f"data:{media_type};base64,{base64.b64encode(medium.data).decode('ascii')}"


def _image_type(data: bytes | memoryview) -> str:
    try:
        with Image.open(io.BytesIO(data)) as image:
            return Image.MIME.get(image.format or "", "image/octet-stream")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        return "image/octet-stream"  # whether it is an image is for the server to say


def bytes_of_data_uri(uri: str) -> ImageBytes | None:
    """Return the bytes of an image's data URI, or null for other strings and for what is not clean base64."""
    head, comma, body = uri.partition(",")
    if not (comma and head.startswith("data:image/") and head.endswith(";base64")):
        return None
    try:
        return ImageBytes(base64.b64decode(body, validate=True))
    except (binascii.Error, ValueError):
        return None
