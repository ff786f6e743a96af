"""What FastAPI cannot see of routes that read their bodies themselves, for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from pixano_inference import __version__
from pixano_inference.oip.metadata import InferBody
from pixano_inference.oip.request import BINARY_TYPE
from pixano_inference.schemas import CAPABILITIES, Schema

from .openapi_examples import EXAMPLES

_REF = "#/components/schemas/{model}"
_MEANINGS = {
    400: "The model does something else, or the multipart body is broken",
    401: "No API key, or an unknown one",
    404: "No such model, job or stored image",
    413: "The body or a medium is over its limit",
    415: "The body is of a type that is not read here",
    422: "The body does not fit the schema, or its content cannot be used",
    429: "The queue of the model is full",
    500: "The model failed",
    503: "The model is not up",
    504: "The model took longer than its time limit",
}


class ErrorDetail(BaseModel):
    """One problem of a request."""

    loc: list[str | int]
    msg: str
    type: str


class ErrorBody(BaseModel):
    """The body of every error."""

    detail: str | list[ErrorDetail]
    code: str | None = None


class OipErrorBody(ErrorBody):
    """The body of every error of the Open Inference Protocol: the detail, and its text."""

    error: str


def oip_error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the ``responses`` of a route of the Open Inference Protocol."""
    return {status: {"model": OipErrorBody, "description": _MEANINGS[status]} for status in statuses}


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the ``responses`` of a route."""
    return {status: {"model": ErrorBody, "description": _MEANINGS[status]} for status in statuses}


def json_body(schema: type[Schema]) -> dict[str, Any]:
    """Return the request body of a route that reads ``schema``."""
    examples = {title: {"value": body} for title, body in EXAMPLES.get(schema.__name__, {}).items()}
    content = {"schema": {"$ref": _REF.format(model=schema.__name__)}, **({"examples": examples} if examples else {})}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


def oip_body(schema: type[BaseModel]) -> dict[str, Any]:
    """Return the request body of a route that reads tensors: JSON, or JSON with binary sections."""
    content = {
        "application/json": {"schema": {"$ref": _REF.format(model=schema.__name__)}},
        BINARY_TYPE: {"schema": {"type": "string", "format": "binary"}},
    }
    header = {
        "name": "Inference-Header-Content-Length",
        "in": "header",
        "description": "Bytes of JSON at the beginning of a body with binary sections",
        "schema": {"type": "integer", "minimum": 0},
    }
    return {"requestBody": {"required": True, "content": content}, "parameters": [header]}


def multipart_body(schema: type[Schema], field: str) -> dict[str, Any]:
    """Return the request body of a route that reads ``schema`` as metadata beside uploaded media."""
    part: dict[str, Any] = {"type": "string", "format": "binary"}
    if field == "frames":
        part = {"type": "array", "items": part, "minItems": 1}
    properties = {
        "metadata": {"type": "string", "description": f"{schema.__name__} as JSON, without its media"},
        field: part,
    }
    body = {"type": "object", "properties": properties, "required": ["metadata", field]}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": body}}}}


def install(app: FastAPI) -> None:
    """Make the document of ``app`` hold the request schemas."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = make()
            requests: list[Any] = [(schemas.request, "validation") for schemas in CAPABILITIES.values()]
            requests.append((InferBody, "validation"))
            _, extra = models_json_schema(requests, ref_template=_REF)
            components = document.setdefault("components", {}).setdefault("schemas", {})
            for name, definition in extra.get("$defs", {}).items():
                components.setdefault(name, definition)
            document["info"]["version"] = __version__
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the document
