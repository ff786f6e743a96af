"""Media as a model receives them: bytes under the name of their digest."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Self

from pydantic import Field, ValidatorFunctionWrapHandler, WrapValidator

DIGEST_PREFIX = "sha256:"


class MediaBytes(str):
    """The bytes of an image or a video, carried as a string.

    The wire schemas say ``image: str`` (a data URI, a URL or a path). By the time a model sees the request, the
    gateway has fetched the bytes, and the string is their name, ``sha256:<hex>``, with the bytes beside it. Being a
    string keeps model code valid that only hands ``input.image`` on.

    Attributes:
        data: The encoded medium, for instance a JPEG file's content.
        digest: SHA-256 of ``data``, 64 hexadecimal digits.
    """

    data: bytes | memoryview
    digest: str

    def __new__(cls, data: bytes | memoryview, digest: str | None = None) -> Self:
        """Name ``data`` by its digest; pass ``digest`` only where it was computed from the same bytes."""
        digest = digest or hashlib.sha256(data).hexdigest()
        self = super().__new__(cls, DIGEST_PREFIX + digest)
        self.data = data
        self.digest = digest
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r}, {len(self.data)} bytes)"

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __copy__(self) -> Self:
        return self


class ImageBytes(MediaBytes):
    """An encoded image (JPEG, PNG, ...)."""


class VideoBytes(MediaBytes):
    """An encoded video file (MP4, ...)."""


def _keep_bytes(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    return value if isinstance(value, MediaBytes) else handler(value)


MediaString = Annotated[str, Field(min_length=1), WrapValidator(_keep_bytes)]
"""A data URI, URL or path on the wire; a :class:`MediaBytes` inside the server."""


def media_bytes(medium: str) -> MediaBytes:
    """Return the bytes behind a medium of a model's input.

    Raises:
        TypeError: The string is a data URI, URL or path: only the gateway turns those into bytes.
    """
    if isinstance(medium, MediaBytes):
        return medium
    raise TypeError("this medium was not resolved to bytes; a model sees only media that the gateway has fetched")
