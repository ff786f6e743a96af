"""JSON answers compressed for callers that ask for it."""

from __future__ import annotations

import asyncio
import gzip

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FROM_BYTES = 1024
TO_BYTES = 8 * 1024 * 1024
"""Larger answers are arrays of floats. Gzip would take longer on them than most networks; the answer to their size is
``Accept: application/msgpack``."""
_IN_THREAD_FROM = 64 * 1024
_LEVEL = 1


class CompressionMiddleware:
    """ASGI: compresses JSON bodies that come in one piece; streams pass as they are, so that nothing waits.

    Starlette's own would compress streams, too, and hold their pieces back.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not accepts_gzip(Headers(scope=scope).get("accept-encoding", "")):
            await self._app(scope, receive, send)
            return
        held: Message | None = None

        async def send_compressed(message: Message) -> None:
            nonlocal held
            if message["type"] == "http.response.start" and _is_worth_it(message):
                held = message
            elif held is not None:
                start, held = held, None
                if message.get("more_body", False):  # a file, read piece by piece
                    await send(start)
                    await send(message)
                    return
                packed = await _gzip(message.get("body", b""))
                headers = MutableHeaders(scope=start)
                headers["Content-Encoding"] = "gzip"
                headers["Content-Length"] = str(len(packed))
                await send(start)
                await send({**message, "body": packed})
            else:
                await send(message)

        await self._app(scope, receive, send_compressed)


def _is_worth_it(start: Message) -> bool:
    headers = MutableHeaders(scope=start)
    if headers.get("content-type", "").split(";")[0] != "application/json" or "content-encoding" in headers:
        return False
    headers.add_vary_header("Accept-Encoding")
    # a body that comes in pieces has no length yet
    return FROM_BYTES <= int(headers.get("content-length", 0)) <= TO_BYTES


async def _gzip(data: bytes) -> bytes:
    if len(data) < _IN_THREAD_FROM:
        return gzip.compress(data, _LEVEL, mtime=0)
    return await asyncio.to_thread(gzip.compress, data, _LEVEL, mtime=0)


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether a value of ``Accept-Encoding`` allows gzip (RFC 9110, section 12.5.3)."""
    weights: dict[str, float] = {}
    for part in accept_encoding.lower().split(","):
        coding, _, parameter = part.partition(";")
        name, _, weight = parameter.strip().partition("=")
        try:
            weights[coding.strip()] = float(weight) if name.strip() == "q" else 1.0
        except ValueError:
            weights[coding.strip()] = 0.0
    return weights.get("gzip", weights.get("*", 0.0)) > 0
