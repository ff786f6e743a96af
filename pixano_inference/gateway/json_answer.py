"""Answers as JSON, with arrays of millions of floats written beside the event loop and sent while they are written."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from starlette.responses import Response, StreamingResponse

from pixano_inference.protocol.answers import JSONResponse, array_pieces
from pixano_inference.protocol.messages import with_arrays

Array = npt.NDArray[np.float32]

_LARGE = 65_536
"""Values from which an array leaves the event loop."""
_STREAMED_FROM = 786_432
"""Values from which an answer is sent piece by piece: more than 8 MB, which is never compressed."""
_GAP = b"\0"
"""Marks the place of an array; no JSON holds this byte."""


async def json_answer(envelope: dict[str, Any]) -> Response:
    """Return an envelope, whose arrays are bytes, as JSON; float32 values are written in their shortest form."""
    arrays = {**envelope, "data": with_arrays(envelope["data"])}
    size = _values(arrays["data"])
    if size < _LARGE:
        return JSONResponse(arrays)
    if size < _STREAMED_FROM:
        body = await asyncio.to_thread(lambda: b"".join(_pieces(arrays)))
        return Response(body, media_type=JSONResponse.media_type)
    return StreamingResponse(_one_ahead(_pieces(arrays)), media_type=JSONResponse.media_type)


def _values(data: Any) -> int:
    if isinstance(data, dict):
        if isinstance(data.get("values"), np.ndarray):
            return math.prod(data["shape"])
        return sum(_values(item) for item in data.values())
    if isinstance(data, list) and data and isinstance(data[0], dict | list):
        return sum(_values(item) for item in data)
    return 0


def _pieces(envelope: dict[str, Any]) -> Iterator[bytes]:
    found: list[Array] = []
    around = orjson.dumps(_with_gaps(envelope, found)).split(_GAP)
    yield around[0]
    for array, after in zip(found, around[1:], strict=True):
        yield from array_pieces(array)
        yield after


def _with_gaps(data: Any, found: list[Array]) -> Any:
    if isinstance(data, np.ndarray):
        found.append(data)
        return orjson.Fragment(_GAP)
    if isinstance(data, dict):
        return {key: _with_gaps(item, found) for key, item in data.items()}
    if isinstance(data, list) and data and isinstance(data[0], dict | list):
        return [_with_gaps(item, found) for item in data]
    return data


async def _one_ahead(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    # the next piece is encoded while this one is on its way
    coming = asyncio.ensure_future(asyncio.to_thread(next, pieces, None))
    try:
        while (piece := await coming) is not None:
            coming = asyncio.ensure_future(asyncio.to_thread(next, pieces, None))
            yield piece
    finally:
        coming.cancel()
