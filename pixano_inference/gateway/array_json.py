"""Reading JSON that holds arrays of millions of floats without holding up everything else.

A JSON parser keeps the interpreter for as long as it works, in a thread too: half a second for the embeddings of one
image, in which the gateway would answer nobody. So the long arrays are cut out first and read in pieces.
"""

from __future__ import annotations

import re
import uuid
from typing import Any

import numpy as np
import orjson

LARGE = 1024 * 1024
"""Bytes of JSON from which arrays are looked for."""
_LONG = 64 * 1024
"""Bytes of an array from which it is cut out."""
_PIECE = 256 * 1024
"""Bytes read at a time: about two milliseconds, after which other threads may have the interpreter."""
_LONGEST_NUMBER = 64
"""Bytes; a number that has more is left to the parser."""
_OPENING = re.compile(rb'"values"[ \t\r\n]*:[ \t\r\n]*\[')
ARRAY_KEY = b'"values"'
_LARGEST = float(np.finfo(np.float32).max)


def load_json(data: bytes) -> Any:
    """Parse JSON; a long flat array of numbers under the key ``values`` becomes the bytes of a float32 array.

    This is the form in which such arrays come with ``application/msgpack``. An array that float32 cannot hold, or that
    holds anything but numbers, stays as it is.

    Raises:
        orjson.JSONDecodeError: ``data`` is not JSON.
    """
    arrays: dict[str, bytes] = {}
    rest = _without_arrays(data, arrays) if len(data) >= LARGE else data
    if not arrays:
        return orjson.loads(data)
    try:
        return _put_back(orjson.loads(rest), arrays)
    except (orjson.JSONDecodeError, RecursionError):
        return orjson.loads(data)  # its error names the place in what was sent


def _without_arrays(data: bytes, arrays: dict[str, bytes]) -> bytes:
    # Inside a string the quotes of "values" would be escaped, so what is found here is a key.
    token = uuid.uuid4().hex
    kept: list[bytes] = []
    done = at = 0
    while (at := data.find(ARRAY_KEY, at)) >= 0:
        opening = _OPENING.match(data, at)
        at += len(ARRAY_KEY)
        if opening is None:
            continue
        end = data.find(b"]", opening.end())
        if end - opening.end() < _LONG:
            continue
        values = _numbers(memoryview(data)[opening.end() : end])
        if values is not None:
            name = f"{token}-{len(arrays)}"
            arrays[name] = values
            kept += [data[done : opening.end() - 1], b'"', name.encode(), b'"']
            done = end + 1
        at = end
    return b"".join([*kept, data[done:]])


def _numbers(text: memoryview) -> bytes | None:
    pieces: list[bytes] = []
    start = 0
    while start < len(text):
        end = min(start + _PIECE, len(text))
        if end < len(text):
            after = bytes(text[end : end + _LONGEST_NUMBER])
            comma = after.find(b",")
            if comma < 0 and end + len(after) < len(text):
                return None
            end += comma if comma >= 0 else len(after)
        try:
            values = np.array(orjson.loads(b"".join((b"[", text[start:end], b"]"))))
        except (orjson.JSONDecodeError, ValueError):
            return None
        # strings, nulls and nested lists make other kinds; the schema has the words for them
        if values.ndim != 1 or values.size == 0 or values.dtype.kind not in "if":
            return None
        if not max(abs(float(values.min())), abs(float(values.max()))) <= _LARGEST:
            return None
        pieces.append(values.astype("<f4").tobytes())
        start = end + 1
        if start == len(text):  # the array ends with a comma
            return None
    return b"".join(pieces)


def _put_back(value: Any, arrays: dict[str, bytes]) -> Any:
    if isinstance(value, dict):
        return {key: _put_back(item, arrays) for key, item in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], dict | list):
        return [_put_back(item, arrays) for item in value]
    return arrays.get(value, value) if isinstance(value, str) else value
