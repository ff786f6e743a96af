"""Schemas as msgpack: media and arrays travel as raw bytes inside ordinary maps.

An array is ``{"shape": [...], "values": <float32, little-endian, row-major>}``, a medium is
``{"media": "image" | "video", "digest": <hex>, "data": <bytes>}``. The same encoding serves requests and answers of
the media type ``application/msgpack`` at the gateway.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
import numpy as np

from pixano_inference.schemas import CompressedRLE, ImageBytes, MediaBytes, NDArrayFloat, Schema, VideoBytes

MEDIA_TYPE = "application/msgpack"

SchemaT = TypeVar("SchemaT", bound=Schema)

_encoder = msgspec.msgpack.Encoder()


class ProtocolError(ValueError):
    """Bytes that are no message of the protocol."""


def _refuse_extension(code: int, data: memoryview) -> None:
    raise ProtocolError("extension types are not part of the protocol")


_decoder = msgspec.msgpack.Decoder(ext_hook=_refuse_extension)


def encode(message: dict[str, Any]) -> bytes:
    """Encode a message made of plain values and bytes."""
    return _encoder.encode(message)


def decode(data: bytes | memoryview) -> dict[str, Any]:
    """Decode one message.

    Raises:
        ProtocolError: The bytes are not msgpack, are cut short, or hold no map with string keys.
    """
    try:
        message = _decoder.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ProtocolError("not a msgpack message") from error
    if not isinstance(message, dict) or not all(isinstance(key, str) for key in message):
        raise ProtocolError("a message is a map with string keys")
    return message


def to_plain(value: Any) -> Any:
    """Return a schema as plain values that :func:`encode` takes; arrays and media become bytes."""
    if isinstance(value, NDArrayFloat):
        array = value.to_numpy()
        return {"shape": value.shape, "values": np.ascontiguousarray(array, dtype="<f4").tobytes()}
    if isinstance(value, CompressedRLE):
        return {"size": value.size, "counts": value.counts}
    if isinstance(value, Schema):
        return {name: to_plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, MediaBytes):
        kind = "video" if isinstance(value, VideoBytes) else "image"
        return {"media": kind, "digest": value.digest, "data": value.data}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    return value


def _with_media(value: Any) -> Any:
    if isinstance(value, dict):
        if "media" in value and isinstance(value.get("data"), bytes) and isinstance(value.get("digest"), str):
            return (VideoBytes if value["media"] == "video" else ImageBytes)(value["data"], value["digest"])
        return {key: _with_media(item) for key, item in value.items()}
    if isinstance(value, list):
        # lists of numbers are the bulk of prompts; only lists of containers can hold media
        return [_with_media(item) for item in value] if value and isinstance(value[0], dict | list) else value
    return value


def from_plain(schema: type[SchemaT], plain: Any) -> SchemaT:
    """Make the schema again that :func:`to_plain` wrote.

    Raises:
        pydantic.ValidationError: The values do not fit the schema.
    """
    return schema.model_validate(_with_media(plain))


def with_arrays(plain: Any) -> Any:
    """Return decoded values with the bytes of arrays as flat float32 numpy arrays, as the JSON encoder wants them."""
    if isinstance(plain, dict):
        values = plain.get("values")
        if isinstance(values, bytes) and "shape" in plain:
            return {"values": np.frombuffer(values, dtype="<f4"), "shape": plain["shape"]}
        return {key: with_arrays(item) for key, item in plain.items()}
    if isinstance(plain, list) and plain and isinstance(plain[0], dict | list):
        return [with_arrays(item) for item in plain]
    return plain
