"""How a model learns that nobody waits for its answer any more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from pixano_inference.errors import Canceled


class CancelSignal(Protocol):
    """Anything that tells whether work was canceled, such as :class:`threading.Event`."""

    def is_set(self) -> bool:
        """Return whether the work is to stop."""


_signal: ContextVar[CancelSignal | None] = ContextVar("cancel_signal", default=None)


def check_canceled() -> None:
    """Stop here if the request was canceled or its time limit has passed.

    Call it between the frames, tokens or stages of a long ``predict``.

    Raises:
        Canceled: Nobody waits for the answer.
    """
    signal = _signal.get()
    if signal is not None and signal.is_set():
        raise Canceled("the request was canceled")


@contextmanager
def cancel_signal(signal: CancelSignal | None) -> Iterator[None]:
    """Make ``signal`` the one that :func:`check_canceled` looks at inside this block, in this thread."""
    token = _signal.set(signal)
    try:
        yield
    finally:
        _signal.reset(token)
