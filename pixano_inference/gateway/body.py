"""Reading request bodies within bounds, straight to a schema."""

from __future__ import annotations

import asyncio
from typing import TypeVar

import orjson
from pydantic import ValidationError
from starlette.requests import Request

from pixano_inference.errors import InvalidInput
from pixano_inference.protocol.body import UnsupportedMediaType, read_body
from pixano_inference.protocol.messages import MEDIA_TYPE, ProtocolError, decode
from pixano_inference.schemas import Schema

from .array_json import ARRAY_KEY, LARGE, load_json

SchemaT = TypeVar("SchemaT", bound=Schema)


def media_type(request: Request) -> str:
    """Return the media type of the body, ``application/json`` when none is given.

    Raises:
        UnsupportedMediaType: It is neither JSON nor msgpack.
    """
    declared = request.headers.get("content-type", "application/json").split(";")[0].strip().lower()
    if declared == MEDIA_TYPE:
        return MEDIA_TYPE
    if declared in ("", "application/json", "text/json") or declared.endswith("+json"):
        return "application/json"
    raise UnsupportedMediaType(f"Content-Type must be application/json or {MEDIA_TYPE}", code="content_type")


async def read_schema(request: Request, schema: type[SchemaT], max_bytes: int) -> SchemaT:
    """Read and validate a request.

    Raises:
        TooLarge: The body is over ``max_bytes``.
        UnsupportedMediaType: It is neither JSON nor msgpack.
        pydantic.ValidationError: It does not fit the schema.
    """
    kind = media_type(request)
    body = await read_body(request, max_bytes)
    if kind == MEDIA_TYPE:
        try:
            return schema.model_validate(decode(body))
        except ProtocolError as error:
            raise InvalidInput(f"the body is {error}", code="msgpack", location=("body",)) from None
    if len(body) >= LARGE and ARRAY_KEY in body:
        found = await asyncio.to_thread(_with_long_arrays, body, schema)
        if found is not None:
            return found
    return schema.model_validate_json(body)


def _with_long_arrays(body: bytes, schema: type[SchemaT]) -> SchemaT | None:
    # pydantic reads JSON more patiently than orjson, and has the words for what is wrong with it
    try:
        return schema.model_validate(load_json(body))
    except (ValidationError, orjson.JSONDecodeError):
        return None
