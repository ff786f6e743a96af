"""Bounds on the head of a request and on silence: uvicorn has none of either, and keeps whatever headers come.

Without it, 40 MB of headers take half a gigabyte of memory, and one header that never ends holds up everybody.
"""

from __future__ import annotations

import asyncio
import uuid

import orjson
import uvicorn.config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pixano_inference.protocol.request_id import HEADER

MAX_HEAD_BYTES = 64 * 1024
"""Bytes of a request line and headers, or of trailers, after which a connection is closed; what one read of the
socket brings at once may come on top."""
SILENCE_S = 60.0
"""Seconds without a byte after which a connection is closed whose request has not arrived in full, and seconds that a
head may take in all."""


class BoundedHeadProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which answers 431 to a head that is too large, and closes connections that fall silent."""

    silence_s = SILENCE_S
    _is_body = False
    _head_bytes = 0
    _incomplete = True
    _in_head = True
    _heard = 0.0
    _head_since = 0.0
    _look: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to listen."""
        super().connection_made(transport)
        self._heard = self._head_since = self.loop.time()
        self._look = self.loop.call_later(self.silence_s / 2, self._look_for_silence)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if self._look is not None:
            self._look.cancel()
        super().connection_lost(exc)

    def _look_for_silence(self) -> None:
        now = self.loop.time()
        waits_for_us = self.flow.read_paused
        silent = now - self._heard > self.silence_s or (self._in_head and now - self._head_since > self.silence_s)
        if self._incomplete and silent and not waits_for_us:
            self.transport.close()
        else:
            self._look = self.loop.call_later(self.silence_s / 2, self._look_for_silence)

    def data_received(self, data: bytes) -> None:
        """Take what has come from the network."""
        if self._head_bytes > MAX_HEAD_BYTES:
            return  # refused already
        self._heard = self.loop.time()
        self._is_body = False
        super().data_received(data)
        # what makes no body and ends nothing is a part of the head, or of the trailers
        self._head_bytes = 0 if self._is_body else self._head_bytes + len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse()

    def on_message_begin(self) -> None:
        """Begin with a head."""
        self._incomplete, self._in_head, self._head_since = True, True, self.loop.time()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Begin with the request."""
        self._is_body, self._in_head = True, False
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._is_body = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the body."""
        self._is_body, self._incomplete = True, False
        super().on_message_complete()

    def _refuse(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            detail = f"the headers are larger than the allowed {MAX_HEAD_BYTES} bytes"
            body = orjson.dumps({"detail": detail, "code": "headers"})
            lines = [
                "HTTP/1.1 431 Request Header Fields Too Large",
                "content-type: application/json",
                f"content-length: {len(body)}",
                f"{HEADER}: {uuid.uuid4().hex}",
                "connection: close",
                "",
                "",
            ]
            self.transport.write("\r\n".join(lines).encode() + body)
        self.transport.close()


def bound_heads() -> None:
    """Let the server of this process use the protocol; Bento makes that server and has no setting for it."""
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{BoundedHeadProtocol.__name__}"
