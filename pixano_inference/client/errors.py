"""What a failed request raises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import httpx
import orjson

if TYPE_CHECKING:

    class HTTPException(Exception):
        """The shape that both bases below have."""

        status_code: int
        detail: Any
        headers: Mapping[str, str] | None

        def __init__(self, status_code: int, detail: Any = None, headers: Mapping[str, str] | None = None) -> None: ...

else:
    try:
        # Programs written for Pixano Inference catch `fastapi.HTTPException`. Whoever does so has FastAPI installed,
        # so the class is there to be derived from; whoever has not installed it cannot name the class, and needs only
        # an exception of the same shape. That is why the client asks for FastAPI without depending on it.
        from fastapi import HTTPException
    except ImportError:

        class HTTPException(Exception):
            """Stands in for ``fastapi.HTTPException`` where FastAPI is not installed."""

            def __init__(self, status_code, detail=None, headers=None):
                super().__init__(status_code, detail)
                self.status_code = status_code
                self.detail = detail
                self.headers = headers

            def __str__(self):
                return f"{self.status_code}: {self.detail}"


_LONGEST_TEXT = 2000


class RequestFailed(HTTPException):
    """The server answered with an error.

    It is a ``fastapi.HTTPException`` where FastAPI is installed, and has the same attributes where it is not. Failures
    to reach the server at all stay what they are: ``httpx.ConnectError``, ``httpx.ReadTimeout`` and so on.

    Attributes:
        status_code: HTTP status.
        detail: The server's words; for a request that fails the schema, a list of ``{loc, msg, type}``.
        headers: The headers of the answer.
        code: A word for programs, where the server gives one.
        retry_after_s: Seconds after which the server suggests to try again (429 and 503), or null.
        request_id: Under which the server has logged the request, or null.
    """

    def __init__(
        self, status_code: int, detail: Any = None, headers: Mapping[str, str] | None = None, *, code: str | None = None
    ) -> None:
        super().__init__(status_code=status_code, detail=detail, headers=dict(headers or {}))
        self.code = code
        found = httpx.Headers(dict(headers or {}))
        self.request_id = found.get("x-request-id")
        self.retry_after_s = _seconds(found.get("retry-after"))


def _seconds(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None  # the header may also hold a date, which this server never sends


def failure(response: httpx.Response) -> RequestFailed:
    """Return the exception for an error answer whose body was read."""
    detail: Any = response.text[:_LONGEST_TEXT] or response.reason_phrase
    code = None
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        body = None  # a proxy in between answers in HTML or plain text
    if isinstance(body, dict):
        detail = body.get("detail", detail)
        code = body.get("code")
    return RequestFailed(response.status_code, detail, response.headers, code=code if isinstance(code, str) else None)
