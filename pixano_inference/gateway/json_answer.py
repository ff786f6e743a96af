"""Answers as JSON, with arrays of millions of floats written beside the event loop."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import numpy as np
import orjson
from starlette.responses import Response

from pixano_inference.protocol.answers import JSONResponse, array_in_pieces
from pixano_inference.protocol.messages import with_arrays

_LARGE = 65_536
"""Values from which an array leaves the event loop."""


async def json_answer(envelope: dict[str, Any]) -> Response:
    """Return an envelope, whose arrays are bytes, as JSON; float32 values are written in their shortest form."""
    arrays = {**envelope, "data": with_arrays(envelope["data"])}
    if _values(arrays["data"]) < _LARGE:
        return JSONResponse(arrays)
    # the encoder holds the interpreter while it works, in a thread too; so it works in pieces
    body = await asyncio.to_thread(lambda: orjson.dumps(_with_fragments(arrays), option=orjson.OPT_SERIALIZE_NUMPY))
    return Response(body, media_type=JSONResponse.media_type)


def _values(data: Any) -> int:
    if isinstance(data, dict):
        if isinstance(data.get("values"), np.ndarray):
            return math.prod(data["shape"])
        return sum(_values(item) for item in data.values())
    if isinstance(data, list) and data and isinstance(data[0], dict | list):
        return sum(_values(item) for item in data)
    return 0


def _with_fragments(data: Any) -> Any:
    if isinstance(data, np.ndarray):
        return orjson.Fragment(array_in_pieces(data))
    if isinstance(data, dict):
        return {key: _with_fragments(item) for key, item in data.items()}
    if isinstance(data, list) and data and isinstance(data[0], dict | list):
        return [_with_fragments(item) for item in data]
    return data
