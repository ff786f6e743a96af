"""Frames of a job on disk: a long video is never whole in the runner's memory.

A job's body is a stream of messages: its fields first, then one message per frame. The frames are written to a file
that has no name as they arrive, and each is read when the model asks for it.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import AsyncIterator
from typing import Any, Self

from pixano_inference.protocol.messages import ProtocolError
from pixano_inference.protocol.streams import unpack
from pixano_inference.schemas import ImageBytes
from pixano_inference.schemas.media_bytes import DIGEST_PREFIX

_MAX_MESSAGE_BYTES = (1 << 32) - 1
"""What a length can say: a whole video file is one message."""


class _File:
    """An open file without a name, closed with the last image that refers to it."""

    def __init__(self) -> None:
        with tempfile.TemporaryFile(prefix="pixano-inference-video-", buffering=0) as file:
            self.descriptor = os.dup(file.fileno())
        self.size = 0

    def append(self, data: bytes) -> int:
        """Write ``data`` and return where it begins."""
        start = self.size
        view = memoryview(data)
        while view:
            # into the page cache: a thread for each frame would take longer
            written = os.write(self.descriptor, view)
            view = view[written:]
            self.size += written
        return start

    def __del__(self) -> None:
        os.close(self.descriptor)


class SpooledImage(ImageBytes):
    """An image in a file; ``data`` reads it."""

    _file: _File
    _offset: int
    _size: int

    def __new__(cls, data: bytes, digest: str, file: _File) -> Self:
        """Append ``data`` to the file, and name it by its digest."""
        self = str.__new__(cls, DIGEST_PREFIX + digest)
        self.digest = digest
        self._file, self._offset, self._size = file, file.append(data), len(data)
        return self

    @property
    def data(self) -> bytes:  # type: ignore[override]  # read on demand, never assigned
        """The encoded image."""
        return os.pread(self._file.descriptor, self._size, self._offset)


async def read_messages(chunks: AsyncIterator[bytes]) -> dict[str, Any]:
    """Read a job's body as one message; the frames of its video stay on disk.

    Raises:
        ProtocolError: It is no such body, or ends before its last frame.
    """
    async with contextlib.aclosing(unpack(chunks, _MAX_MESSAGE_BYTES)) as messages:
        first: dict[str, Any] = await anext(messages, {})
        fields, count = first.get("input"), first.get("frames")
        if not isinstance(fields, dict):
            raise ProtocolError("the first message holds no input")
        file = _File()
        media = [_spooled(message, file) if count is not None else message async for message in messages]
    if len(media) != (1 if count is None else count):
        raise ProtocolError(f"{len(media)} media instead of {count or 1}")
    return {**first, "input": {**fields, "video": media[0] if count is None else media}}


def _spooled(message: dict[str, Any], file: _File) -> SpooledImage:
    data, digest = message.get("data"), message.get("digest")
    if not isinstance(data, bytes) or not isinstance(digest, str):
        raise ProtocolError("a frame without data or digest")
    return SpooledImage(data, digest, file)
