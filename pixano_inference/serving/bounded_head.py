"""A bound on the head of a request: uvicorn's parser has none, and keeps whatever headers come.

Without it, 40 MB of headers take half a gigabyte of memory, and one header that never ends holds up everybody.
"""

from __future__ import annotations

import uuid

import orjson
import uvicorn.config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pixano_inference.protocol.request_id import HEADER

MAX_HEAD_BYTES = 64 * 1024
"""Bytes of a request line and headers, or of trailers, after which a connection is closed; what one read of the
socket brings at once may come on top."""


class BoundedHeadProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which answers 431 to a head that is too large, and closes the connection."""

    _is_body = False
    _head_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Take what has come from the network."""
        if self._head_bytes > MAX_HEAD_BYTES:
            return  # refused already
        self._is_body = False
        super().data_received(data)
        # what makes no body and ends nothing is a part of the head, or of the trailers
        self._head_bytes = 0 if self._is_body else self._head_bytes + len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse()

    def on_headers_complete(self) -> None:
        """Begin with the request."""
        self._is_body = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._is_body = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the body."""
        self._is_body = True
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
