"""One request inside a runner."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from pixano_inference.schemas import Schema


@dataclass(eq=False)
class Work:
    """A request on its way through the runner.

    Attributes:
        input: The model's input.
        deadline: Value of :func:`time.monotonic` after which nobody waits.
        result: Gets the answer or the error.
        caller: Opaque id of who sent it; the queue is fair between these.
        on_begin: Awaited right before the model takes the request up, for whoever must know that it was begun.
        context: Of the request: its id for log lines, its span.
        alone: Whether it shares no batch but uses the model's thread by itself for its turn (a stream).
        prepared: What ``preprocess`` made of the input, for a pipelined model.
        canceled: Set when nobody waits for the answer any more; the model looks at it between its steps.
        turn_over: Set when a request that is ``alone`` needs the thread no longer.
        queued_at: When it joined the queue.
        queue_seconds: How long it waited there.
        model_seconds: How long the model worked on its batch.
        batch_size: How many requests shared the batch.
    """

    input: Schema
    deadline: float
    result: asyncio.Future[Any]
    caller: str = ""
    on_begin: Callable[[], Awaitable[None]] | None = None
    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    alone: bool = False
    prepared: Any = None
    canceled: threading.Event = field(default_factory=threading.Event)
    turn_over: asyncio.Event = field(default_factory=asyncio.Event)
    queued_at: float = field(default_factory=time.monotonic)
    queue_seconds: float = 0.0
    model_seconds: float = 0.0
    batch_size: int = 0

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits for the answer."""
        return self.canceled.is_set() or time.monotonic() >= self.deadline


class AllAbandoned:
    """Cancel signal of a batch: set once every request in it is abandoned."""

    def __init__(self, batch: list[Work]) -> None:
        self._batch = batch

    def is_set(self) -> bool:
        """Return whether nobody waits for any answer of the batch."""
        return all(work.abandoned for work in self._batch)
