"""Answers as newline-delimited JSON: one object per line, sent as soon as it exists."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pixano_inference.errors import PixanoError
from pixano_inference.protocol.answers import error_response
from pixano_inference.protocol.messages import with_arrays
from pixano_inference.protocol.request_id import current_request_id

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/x-ndjson"


def error_line(error: PixanoError) -> dict[str, Any]:
    """Return the line that ends a stream which failed after its start: the body of the error, and its status."""
    body: dict[str, Any] = orjson.loads(bytes(error_response(error).body))
    return {"error": {**body, "status": error.status}}


class NDJSONResponse(Response):
    """Sends objects, each as one line.

    The generator ``rest`` is closed as soon as the caller goes away, also while it waits for its next line or for room
    on the network: closing it is what stops the model. An error that it raises becomes the last line.

    Args:
        first: The first line, which has been waited for.
        rest: The other lines. The request's body must have been read.
    """

    media_type = MEDIA_TYPE

    def __init__(self, first: dict[str, Any], rest: AsyncGenerator[dict[str, Any]]) -> None:
        self._first = first
        self._rest = rest
        self.status_code = 200
        self.background = None
        # proxies such as nginx would collect lines before they pass them on
        self.init_headers({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer."""
        sending = asyncio.create_task(self._send(send))
        gone = asyncio.create_task(_disconnected(receive))
        try:
            await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            for task in (sending, gone):
                task.cancel()
            await asyncio.gather(sending, gone, return_exceptions=True)

    async def _send(self, send: Send) -> None:
        async with contextlib.aclosing(self._rest) as lines:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": _encode(self._first), "more_body": True})
            try:
                async for line in lines:
                    await send({"type": "http.response.body", "body": _encode(line), "more_body": True})
            except PixanoError as error:
                await send({"type": "http.response.body", "body": _encode(error_line(error)), "more_body": True})
            except Exception as error:  # the head is sent: the failure can only be told as a line
                logger.error("request %s failed", current_request_id(), exc_info=error)
                line = error_line(PixanoError("the server failed on this request"))
                await send({"type": "http.response.body", "body": _encode(line), "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def _encode(line: dict[str, Any]) -> bytes:
    return orjson.dumps(with_arrays(line), option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
