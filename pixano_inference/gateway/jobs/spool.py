"""Media of jobs on disk: written while they arrive, sent to the runner from there, never whole in memory."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterable, AsyncIterator, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from pixano_inference.protocol.messages import to_plain
from pixano_inference.protocol.streams import pack
from pixano_inference.schemas import ImageBytes, MediaBytes

CHUNK_BYTES = 1 << 20

_encode = msgspec.msgpack.Encoder().encode


class Spool:
    """A file of media in the form in which a runner reads them: one message after the other.

    Use it as a context manager; the file is removed at the end unless a store has taken it.

    Args:
        folder: Where the file is made.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"{uuid.uuid4().hex}.part"
        self.count = 0
        self.size = 0
        self._file = self.path.open("xb", buffering=CHUNK_BYTES)

    def add(self, medium: MediaBytes | dict[str, Any]) -> None:
        """Append an image or a video, or what :func:`~pixano_inference.protocol.messages.to_plain` made of it."""
        encoded = pack(to_plain(medium))
        self._file.write(encoded)
        self.count += 1
        self.size += len(encoded)

    def add_frame(self, image: ImageBytes) -> str:
        """Append a frame and return its name, so that its bytes need not be kept."""
        self.add(image)
        return str.__str__(image)

    def close(self) -> Path:
        """Finish the file and return its path."""
        self._file.close()
        return self.path

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)


def pack_request(fields: dict[str, Any], frames: int | None) -> bytes:
    """Encode the plain fields of a request without its video, and the number of its frames; null for one video."""
    return _encode({"fields": fields, "frames": frames})


def request_body(
    request: bytes, media: Callable[[], AsyncIterator[bytes]], timeout_s: float
) -> Callable[[], AsyncIterable[bytes]]:
    """Return what makes the body of a request to a runner: a message of its fields, and then its media."""
    parts = msgspec.msgpack.decode(request)
    head = pack({"timeout_s": timeout_s, "input": parts["fields"], "frames": parts["frames"]})

    async def body() -> AsyncIterator[bytes]:
        yield head
        async for chunk in media():
            yield chunk

    return body
