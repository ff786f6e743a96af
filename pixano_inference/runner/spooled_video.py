"""Frames of a long video on disk: a job's message is never whole in the runner's memory.

A job arrives in chunks, of no declared length. It is written to a file that has no name, the fields of the message are
decoded from there, and each frame is read when the model asks for it.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import tempfile
from collections.abc import AsyncIterator
from typing import Any, Self

import msgspec
import numpy as np

from pixano_inference.protocol.messages import ProtocolError, decode
from pixano_inference.schemas import ImageBytes
from pixano_inference.schemas.media_bytes import DIGEST_PREFIX

FROM_BYTES = 16 * 1024 * 1024
"""Smaller messages stay in memory."""


class _File:
    """An open file without a name, closed with the last image that refers to it."""

    def __init__(self) -> None:
        with tempfile.TemporaryFile(prefix="pixano-inference-video-", buffering=0) as file:
            self.descriptor = os.dup(file.fileno())

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self.descriptor, view) :]

    def __del__(self) -> None:
        os.close(self.descriptor)


class SpooledImage(ImageBytes):
    """An image in a file; ``data`` reads it."""

    _file: _File
    _offset: int
    _size: int

    def __new__(cls, digest: str, file: _File, offset: int, size: int) -> Self:
        """Name ``size`` bytes at ``offset`` by their digest; the file is closed with the last image in it."""
        self = str.__new__(cls, DIGEST_PREFIX + digest)
        self.digest = digest
        self._file, self._offset, self._size = file, offset, size
        return self

    @property
    def data(self) -> bytes:  # type: ignore[override]  # read on demand, never assigned
        """The encoded image."""
        data = os.pread(self._file.descriptor, self._size, self._offset)
        if len(data) != self._size:
            raise OSError("the file of the video's frames was cut short")
        return data


class _Medium(msgspec.Struct):
    media: str
    digest: str
    data: memoryview | None


class _Message(msgspec.Struct):
    timeout_s: float
    input: dict[str, msgspec.Raw]


async def read_message(chunks: AsyncIterator[bytes]) -> dict[str, Any]:
    """Read a message that comes in chunks; the frames of its video stay on disk when it is large.

    Raises:
        ProtocolError: It is no message.
    """
    held: list[bytes] = []
    size = 0
    async for chunk in chunks:
        held.append(chunk)
        size += len(chunk)
        if size >= FROM_BYTES:
            break
    else:
        return decode(b"".join(held))
    file = _File()
    await asyncio.to_thread(file.write, b"".join(held))
    held.clear()
    async for chunk in chunks:
        # a write goes to the page cache; a thread for each would take longer
        file.write(chunk)
    return await asyncio.to_thread(_decode_file, file)


def _decode_file(file: _File) -> dict[str, Any]:
    with_frames = mmap.mmap(file.descriptor, 0, access=mmap.ACCESS_READ)
    try:
        message = msgspec.msgpack.decode(with_frames, type=_Message)
        video = message.input.get("video")
        frames = msgspec.msgpack.decode(video, type=list[_Medium]) if video is not None and _is_array(video) else []
        if not frames or any(frame.data is None for frame in frames):
            return decode(memoryview(with_frames))
        plain = {name: msgspec.msgpack.decode(raw) for name, raw in message.input.items() if name != "video"}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError("not a msgpack message") from error
    start = _address(with_frames)
    plain["video"] = [
        SpooledImage(frame.digest, file, _address(frame.data) - start, len(frame.data))
        for frame in frames
        if frame.data is not None
    ]
    return {"timeout_s": message.timeout_s, "input": plain}


def _is_array(raw: msgspec.Raw) -> bool:
    first = memoryview(raw)[0]
    return first & 0xF0 == 0x90 or first in (0xDC, 0xDD)  # msgpack's fixarray, array16 and array32


def _address(buffer: mmap.mmap | memoryview) -> int:
    return int(np.frombuffer(buffer, np.uint8).ctypes.data)
