"""Every failure as JSON: ``{"detail": ...}`` with the right status, and nothing that is not for the caller."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from pixano_inference.errors import ModelFailed, PixanoError, TooLarge
from pixano_inference.protocol.request_id import current_request_id

logger = logging.getLogger(__name__)

_MAX_DETAILS = 20
_MAX_TEXT = 500


class JSONResponse(Response):
    """JSON through orjson; NaN becomes null, numpy arrays are written as they are."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Encode ``content``."""
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def error_response(error: PixanoError) -> Response:
    """Return the answer for an error."""
    headers = {"Retry-After": str(max(1, round(error.retry_after_s)))} if error.retry_after_s is not None else {}
    detail: Any = error.message
    if isinstance(error, ModelFailed) or (error.status == 500):
        detail = f"{error.message} (request {current_request_id()})"
    if error.location is not None:
        detail = [{"loc": list(error.location), "msg": error.message[:_MAX_TEXT], "type": error.code or "value_error"}]
    body: dict[str, Any] = {"detail": detail}
    if error.code:
        body["code"] = error.code
    return JSONResponse(body, status_code=error.status, headers=headers)


def schema_errors(error: ValidationError | RequestValidationError) -> list[dict[str, Any]]:
    """Return ``{loc, msg, type}`` for each problem, without any of the input, which may be megabytes or secret."""
    errors: Sequence[Any] = error.errors()
    details = []
    for item in errors[:_MAX_DETAILS]:
        location = [part if isinstance(part, int) else str(part)[:64] for part in item["loc"]]
        if not location or location[0] != "body":
            location.insert(0, "body")
        details.append({"loc": location, "msg": str(item["msg"])[:_MAX_TEXT], "type": item["type"]})
    if len(errors) > _MAX_DETAILS:
        details.append(
            {"loc": ["body"], "msg": f"{len(errors) - _MAX_DETAILS} more errors are not listed", "type": "truncated"}
        )
    return details


def install(app: FastAPI) -> None:
    """Make ``app`` answer errors so."""

    @app.exception_handler(PixanoError)
    async def on_pixano_error(request: Request, error: PixanoError) -> Response:
        return error_response(error)

    @app.exception_handler(ValidationError)
    @app.exception_handler(RequestValidationError)
    async def on_schema_error(request: Request, error: ValidationError | RequestValidationError) -> Response:
        return JSONResponse({"detail": schema_errors(error)}, status_code=422)

    @app.exception_handler(HTTPException)
    async def on_http_exception(request: Request, error: HTTPException) -> Response:
        return JSONResponse({"detail": error.detail}, status_code=error.status_code, headers=error.headers)

    @app.exception_handler(MemoryError)
    async def on_memory_error(request: Request, error: MemoryError) -> Response:
        return error_response(TooLarge("the request needs more memory than there is"))

    @app.exception_handler(Exception)
    async def on_anything_else(request: Request, error: Exception) -> Response:
        logger.error("request %s failed", current_request_id(), exc_info=error)
        return error_response(PixanoError("the server failed on this request"))
