"""Streams of messages: each preceded by its length as four bytes, little-endian."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from .messages import MEDIA_TYPE, ProtocolError, decode, encode

MESSAGES_MEDIA_TYPE = f"{MEDIA_TYPE}; messages=many"
"""Type of a request's body that is itself a stream of messages: its fields, then its media."""
MAX_MESSAGE_BYTES = 1 << 30


def pack(message: dict[str, Any]) -> bytes:
    """Encode a message with its length before it."""
    body = encode(message)
    return len(body).to_bytes(4, "little") + body


async def unpack(chunks: AsyncIterator[bytes], max_bytes: int = MAX_MESSAGE_BYTES) -> AsyncGenerator[dict[str, Any]]:
    """Yield the messages of a stream of chunks, however the chunks are cut.

    Raises:
        ProtocolError: A length is over ``max_bytes``, the stream ends inside a message, or a message is none.
    """
    buffer = bytearray()
    async for chunk in chunks:
        buffer += chunk
        while len(buffer) >= 4:
            size = int.from_bytes(buffer[:4], "little")
            if size > max_bytes:
                raise ProtocolError(f"a message of {size} bytes is over the limit of {max_bytes}")
            if len(buffer) < 4 + size:
                break
            message = decode(bytes(buffer[4 : 4 + size]))
            del buffer[: 4 + size]
            yield message
    if buffer:
        raise ProtocolError("the stream ends inside a message")
