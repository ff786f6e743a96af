"""JSON answers and the bodies of errors, the same at the gateway and on a runner."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy.typing as npt
import orjson
from starlette.responses import Response

from pixano_inference.errors import ModelFailed, PixanoError

from .request_id import current_request_id

_MAX_DETAILS = 20
_MAX_TEXT = 500
_RETRY_AFTER = "2"
"""Seconds, where nobody knows better."""
_PIECE = 65_536
"""Values encoded at a time: about two milliseconds, after which other threads may have the interpreter."""

OIP_PREFIX = "/v2"
"""Below it the Open Inference Protocol is spoken, whose callers look for the text of a failure in ``error``."""


class JSONResponse(Response):
    """JSON through orjson; NaN becomes null, numpy arrays are written as they are."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Encode ``content``."""
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def array_pieces(array: npt.NDArray[Any]) -> Iterator[bytes]:
    """Yield a flat numeric array as JSON; the encoder holds the interpreter for a piece at a time, in a thread too."""
    for start in range(0, max(1, array.size), _PIECE):
        piece = orjson.dumps(array[start : start + _PIECE], option=orjson.OPT_SERIALIZE_NUMPY)
        yield (b"[" if start == 0 else b",") + piece[1:-1]
    yield b"]"


def array_in_pieces(array: npt.NDArray[Any]) -> bytes:
    """Return a flat numeric array as JSON, see :func:`array_pieces`."""
    return b"".join(array_pieces(array))


def failure(
    detail: Any, status: int, *, path: str = "", code: str | None = None, headers: dict[str, str] | None = None
) -> Response:
    """Return ``{"detail": ...}``, with ``error`` beside it on paths of the Open Inference Protocol."""
    body: dict[str, Any] = {"detail": detail}
    if code:
        body["code"] = code
    if path == OIP_PREFIX or path.startswith(f"{OIP_PREFIX}/"):
        body["error"] = _text(detail)
    return JSONResponse(body, status_code=status, headers=headers)


def readiness_response(body: dict[str, Any], *, ready: bool) -> Response:
    """Return what a probe is told: 200, or 503 and when to ask again."""
    headers = {} if ready else {"Retry-After": _RETRY_AFTER}
    return JSONResponse(body, status_code=200 if ready else 503, headers=headers)


def error_response(error: PixanoError, path: str = "") -> Response:
    """Return the answer for an error of a request to ``path``; every 429 and 503 says when to come back."""
    headers = {"Retry-After": _RETRY_AFTER} if error.status in (429, 503) else {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    detail: Any = error.message
    if isinstance(error, ModelFailed) or (error.status == 500):
        detail = f"{error.message} (request {current_request_id()})"
    if error.location is not None:
        detail = [{"loc": list(error.location), "msg": error.message[:_MAX_TEXT], "type": error.code or "value_error"}]
    return failure(detail, error.status, path=path, code=error.code, headers=headers)


def schema_errors(errors: Sequence[Any]) -> list[dict[str, Any]]:
    """Return ``{loc, msg, type}`` for each of pydantic's errors, without the input, which may be huge or secret."""
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


def _text(detail: Any) -> str:
    if not isinstance(detail, list):
        return str(detail)
    return "; ".join(f"{'.'.join(map(str, item['loc'][1:])) or 'body'}: {item['msg']}" for item in detail)
