"""One id per request, in every answer and every log line, of the gateway and of the runner."""

from __future__ import annotations

import re
import uuid
from contextvars import ContextVar

HEADER = "x-request-id"
_PATTERN = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_current: ContextVar[str] = ContextVar("request_id", default="-")


def accept_or_make(sent: str | None) -> str:
    """Take the caller's id if it is short and plain, otherwise make one, and remember it for this request."""
    request_id = sent if sent is not None and _PATTERN.fullmatch(sent) else uuid.uuid4().hex
    _current.set(request_id)
    return request_id


def current_request_id() -> str:
    """Return the id of the request that is being answered; ``-`` outside of one."""
    return _current.get()
