"""Every failure as JSON: ``{"detail": ...}`` with the right status, and nothing that is not for the caller."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from pixano_inference.errors import PixanoError, TooLarge
from pixano_inference.protocol.answers import error_response, failure, schema_errors
from pixano_inference.protocol.request_id import current_request_id

logger = logging.getLogger(__name__)


def install(app: FastAPI) -> None:
    """Make ``app`` answer errors so."""

    @app.exception_handler(PixanoError)
    async def on_pixano_error(request: Request, error: PixanoError) -> Response:
        return error_response(error, request.url.path)

    @app.exception_handler(ValidationError)
    @app.exception_handler(RequestValidationError)
    async def on_schema_error(request: Request, error: ValidationError | RequestValidationError) -> Response:
        return failure(schema_errors(error.errors()), 422, path=request.url.path)

    @app.exception_handler(HTTPException)
    async def on_http_exception(request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers) if error.headers else None
        return failure(error.detail, error.status_code, path=request.url.path, headers=headers)

    @app.exception_handler(MemoryError)
    async def on_memory_error(request: Request, error: MemoryError) -> Response:
        return error_response(TooLarge("the request needs more memory than there is"), request.url.path)

    @app.exception_handler(Exception)
    async def on_anything_else(request: Request, error: Exception) -> Response:
        logger.error("request %s failed", current_request_id(), exc_info=error)
        return error_response(PixanoError("the server failed on this request"), request.url.path)
