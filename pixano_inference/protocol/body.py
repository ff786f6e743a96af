"""Reading request bodies within bounds."""

from __future__ import annotations

from starlette.requests import Request

from pixano_inference.errors import PixanoError, TooLarge

_DRAIN_FACTOR = 4


class UnsupportedMediaType(PixanoError):
    """The body is of a type that is not read here."""

    status = 415


async def read_body(request: Request, max_bytes: int) -> bytes:
    """Return the body.

    A body over the limit is read on and thrown away up to a multiple of the limit, so that the connection stays
    usable; memory stays flat.

    Raises:
        TooLarge: It is over ``max_bytes``.
    """
    too_large = TooLarge(f"the body is larger than the allowed {max_bytes} bytes", code="body")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes * _DRAIN_FACTOR:
        raise too_large
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= max_bytes:
            chunks.append(chunk)
        elif size > max_bytes * _DRAIN_FACTOR:
            raise too_large
        else:
            chunks.clear()
    if size > max_bytes:
        raise too_large
    return b"".join(chunks)
