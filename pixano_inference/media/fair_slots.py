"""A bounded number of places at something slow, which callers share."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class FairSlots:
    """Places that a caller (API key) cannot have all of.

    A place that becomes free goes to the caller that holds the fewest, so that one with a hundred requests delays
    another one's by one of them. Belongs to one event loop.

    Args:
        total: Places.
        per_caller: Most places of one caller; null: all.
    """

    def __init__(self, total: int, per_caller: int | None = None) -> None:
        self._total = total
        self._per_caller = total if per_caller is None else per_caller
        self._held: Counter[str] = Counter()
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def hold(self, caller: str) -> AsyncGenerator[None]:
        """Wait for a place, and hold it while the context lasts."""
        await self.take(caller)
        try:
            yield
        finally:
            self.give_back(caller)

    async def take(self, caller: str) -> None:
        """Wait for a place. :meth:`give_back` must follow, whatever happens."""
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((caller, granted))
        self._grant()
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self.give_back(caller)
            raise

    def give_back(self, caller: str) -> None:
        """Free a place that the caller has taken."""
        self._held[caller] -= 1
        if not self._held[caller]:
            del self._held[caller]
        self._grant()

    def _grant(self) -> None:
        self._waiting = [(caller, granted) for caller, granted in self._waiting if not granted.done()]
        while self._held.total() < self._total:
            # the first of those with the fewest places, in the order of arrival
            index = min(range(len(self._waiting)), key=lambda i: self._held[self._waiting[i][0]], default=None)
            if index is None or self._held[self._waiting[index][0]] >= self._per_caller:
                return
            caller, granted = self._waiting.pop(index)
            self._held[caller] += 1
            granted.set_result(None)


class FairThreads:
    """Threads that a caller cannot have all of.

    A thread cannot be interrupted: one that waits for a slow disk or a silent name server goes on when nobody wants
    its result any more, and its caller's place is taken for as long.

    Args:
        threads: How many.
        per_caller: Most of them for one caller; null: all.
        name: Prefix of the threads' names.
    """

    def __init__(self, threads: int, per_caller: int | None, name: str) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._slots = FairSlots(threads, per_caller)

    async def run(self, caller: str, work: Callable[[], T]) -> T:
        """Run something in a thread, in the context of whoever calls, and return its result."""
        loop = asyncio.get_running_loop()
        await self._slots.take(caller)

        def free(_: Future[Any] | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits for a place any more
                loop.call_soon_threadsafe(self._slots.give_back, caller)

        try:
            running = self._threads.submit(contextvars.copy_context().run, work)
        except BaseException:  # the slot is given back, whatever it was
            free(None)
            raise
        running.add_done_callback(free)
        return await asyncio.wrap_future(running)

    def close(self) -> None:
        """Start nothing more; what runs ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)
