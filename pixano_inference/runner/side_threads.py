"""Threads beside the model's: decoding before it and encoding after it, while it works on other requests."""

from __future__ import annotations

import asyncio
import contextvars
import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from pixano_inference.errors import TimedOut

T = TypeVar("T")


class SideThreads:
    """Runs a model's functions in threads, and knows those that go on although nobody waits for them."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(max_workers=max(2, os.cpu_count() or 1), thread_name_prefix="side")
        self._left: dict[Future[Any], float] = {}

    async def run(self, deadline: float, function: Callable[..., T], *arguments: Any) -> T:
        """Return what ``function`` returns; its log lines have the request's id.

        Args:
            deadline: Value of :func:`time.monotonic` after which nobody waits.
            function: What to run.
            arguments: Its arguments.

        Raises:
            TimedOut: The deadline passed.
            Exception: Whatever the function raised.
        """
        running = self._threads.submit(contextvars.copy_context().run, function, *arguments)
        limit = asyncio.timeout(max(0.0, deadline - time.monotonic()))
        try:
            async with limit:
                return await asyncio.wrap_future(running)
        except TimeoutError:
            if limit.expired():  # the function may raise one for reasons of its own
                raise TimedOut("the model took longer than its time limit") from None
            raise
        finally:
            if not running.done():
                self._left[running] = time.monotonic()
                # in the thread that ends: a dict takes that from any
                running.add_done_callback(lambda done: self._left.pop(done, None))

    @property
    def hanging_s(self) -> float:
        """Seconds that the longest of the functions goes on for which nobody waits; 0: there is none."""
        since = min(tuple(self._left.values()), default=None)
        return 0.0 if since is None else time.monotonic() - since

    def close(self) -> None:
        """Start nothing more; what runs ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)
