"""Bodies: requests to JSON or MessagePack, answers back, float arrays never as Python lists where it can be helped.

MessagePack is used for what carries arrays: the same object as in JSON, except that the ``values`` of an NDArrayFloat
are a binary section of little-endian float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import httpx
import msgspec
import numpy as np
import orjson

from pixano_inference.schemas import MediaBytes, NDArrayFloat, Schema

JSON = "application/json"
MSGPACK = "application/msgpack"

SchemaT = TypeVar("SchemaT", bound=Schema)


def plain(value: Any, media: Callable[[MediaBytes], str] = str) -> Any:
    """Return a request as dicts and lists, arrays left as they are.

    Args:
        value: A schema, or a value of one of its fields.
        media: What to put in place of an image or video that is held as bytes; the default puts its digest.
    """
    if isinstance(value, NDArrayFloat):
        return value
    if isinstance(value, Schema):
        fields = {name: plain(getattr(value, name), media) for name in type(value).model_fields}
        return {name: item for name, item in fields.items() if item is not None}  # null is every field's default
    if isinstance(value, list):
        return [plain(item, media) for item in value]
    if isinstance(value, MediaBytes):
        return media(value)
    return value


def holds_arrays(fields: dict[str, Any]) -> bool:
    """Return whether the fields of :func:`plain` hold a float array."""
    return any(
        isinstance(item, NDArrayFloat)
        for value in fields.values()
        for item in (value if isinstance(value, list) else [value])
    )


def to_json(fields: dict[str, Any]) -> bytes:
    """Write JSON; float32 values are written in their shortest form."""
    return orjson.dumps(fields, default=_array_for_json, option=orjson.OPT_SERIALIZE_NUMPY)


def to_msgpack(fields: dict[str, Any]) -> bytes:
    """Write MessagePack with binary arrays."""
    return msgspec.msgpack.encode(fields, enc_hook=_array_for_msgpack)


def _array_for_json(value: Any) -> Any:
    if isinstance(value, NDArrayFloat):
        return {"values": value.to_numpy().ravel(), "shape": value.shape}
    raise TypeError(f"a request cannot hold a {type(value).__name__}")


def _array_for_msgpack(value: Any) -> Any:
    if isinstance(value, NDArrayFloat):
        return {"values": value.to_numpy().astype("<f4", copy=False).tobytes(), "shape": value.shape}
    raise TypeError(f"a request cannot hold a {type(value).__name__}")


def from_response(response: httpx.Response) -> Any:
    """Return the body of an answer as dicts and lists, float arrays as :class:`NDArrayFloat`.

    Raises:
        ValueError: The body is neither JSON nor MessagePack.
    """
    media_type = response.headers.get("content-type", "").partition(";")[0].strip()
    try:
        body = msgspec.msgpack.decode(response.content) if media_type == MSGPACK else orjson.loads(response.content)
    except (msgspec.DecodeError, orjson.JSONDecodeError) as error:
        raise ValueError(
            f"{response.request.url} answered {len(response.content)} bytes of {media_type or 'no type'} "
            f"that cannot be read: {error}"
        ) from error
    return _with_arrays(body)


def _with_arrays(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"values", "shape"}:
            return _array(value["values"], value["shape"])
        return {key: _with_arrays(item) for key, item in value.items()}
    # lists of numbers can be long and hold nothing to convert
    if isinstance(value, list) and value and isinstance(value[0], dict | list):
        return [_with_arrays(item) for item in value]
    return value


def _array(values: Any, shape: Any) -> NDArrayFloat:
    # null is how the server writes NaN; numpy reads it as such
    flat = np.frombuffer(values, dtype="<f4") if isinstance(values, bytes) else np.array(values, dtype=np.float32)
    return NDArrayFloat.from_numpy(flat.reshape(shape))


def parse(response: httpx.Response, schema: type[SchemaT]) -> SchemaT:
    """Return an answer as its schema.

    Raises:
        ValueError: The server answered something else.
    """
    return schema.model_validate(from_response(response))
