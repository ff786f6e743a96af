"""Putting requests together: the batcher honours ``max_batch_size`` and ``batch_wait_timeout_s``."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from pixano_inference.errors import Canceled, ModelFailed, Overloaded, TimedOut
from pixano_inference.models.cancellation import cancel_signal

from .fair_queue import FairQueue
from .work import AllAbandoned, Work

logger = logging.getLogger(__name__)

RunBatch = Callable[[Sequence[Work]], list[Any]]


class Arrival:
    """A request on its way to the queue; ends once, when it has joined or failed.

    Attributes:
        caller: Opaque id of who sends it.
    """

    def __init__(self, end: Callable[[], None], caller: str = "") -> None:
        self.caller = caller
        self._end: Callable[[], None] | None = end

    def end(self) -> None:
        """Tell that nobody needs to wait for this request any more."""
        end, self._end = self._end, None
        if end is not None:
            end()


class Batcher:
    """A bounded queue before one model thread, fair between callers.

    A request goes to the model at once when the model is idle and no other request is on its way
    (:meth:`arrive`). Otherwise it waits for others up to ``wait_s`` while the model is idle; while the model works,
    requests gather by themselves.

    Callers take turns. One that fills the queue does not keep the others out, either: a full queue still admits a
    caller that has less than an equal share of it waiting, until twice ``max_queue`` wait in all. Nobody who was
    admitted is sent away for it.

    Args:
        run_batch: Called in the model thread; returns one result or exception per work, in order.
        max_size: Most requests in a batch.
        wait_s: Seconds that the first request of a batch waits for others.
        max_queue: Most requests waiting; for callers below their equal share of it, up to twice as many.
    """

    def __init__(self, run_batch: RunBatch, *, max_size: int, wait_s: float, max_queue: int) -> None:
        self._run_batch = run_batch
        self._max_size = max_size
        self._wait_s = wait_s
        self._max_queue = max_queue
        self._queue = FairQueue()
        self._wakeup = asyncio.Event()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._arriving: Counter[str] = Counter()
        self._task: asyncio.Task[None] | None = None
        self.running: list[Work] = []

    def start(self) -> None:
        """Begin to serve the queue, in the running event loop."""
        self._task = asyncio.create_task(self._loop(), name="batcher")

    async def close(self) -> None:
        """Stop serving; requests that are not answered yet fail."""
        unanswered = [*self.running, *self._queue]
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for work in unanswered:
            work.canceled.set()
            if not work.result.done():
                work.result.set_exception(Canceled("the runner is stopping"))
        self._thread.shutdown(wait=False, cancel_futures=True)

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._queue)

    @property
    def thread(self) -> ThreadPoolExecutor:
        """The model's thread, for work that needs the model and is no batch (streams)."""
        return self._thread

    def arrive(self, caller: str = "") -> Arrival:
        """Tell that a request is on its way: being received, or prepared. A batch may wait for it.

        Args:
            caller: Opaque id of who sends it.

        Raises:
            Overloaded: The queue is full; refused before any work is spent on it.
        """
        waiting = len(self._queue) + self._arriving.total()
        if waiting >= self._max_queue:
            callers = self._queue.callers | self._arriving.keys() | {caller}
            share = max(1, self._max_queue // len(callers))
            own = self._queue.waiting(caller) + self._arriving[caller]
            # one caller alone has all of it as its share, and that is what waits already
            if own >= share or waiting >= 2 * self._max_queue:
                raise Overloaded(
                    f"the model's queue is full: {waiting} requests are waiting, {self._max_queue} may", retry_after_s=1
                )
        self._arriving[caller] += 1
        return Arrival(lambda: self._arrived(caller), caller)

    def _arrived(self, caller: str) -> None:
        self._arriving[caller] -= 1
        if self._arriving[caller] == 0:
            del self._arriving[caller]
        if not self._arriving:
            self._wakeup.set()

    async def submit(self, work: Work) -> Any:
        """Queue a request and wait for its answer.

        Raises:
            TimedOut: Its deadline passed. Work in the model is told to stop.
            Exception: Whatever the model raised for this request.
        """
        work.queued_at = time.monotonic()
        self._queue.append(work)
        self._wakeup.set()
        limit = asyncio.timeout_at(asyncio.get_running_loop().time() + work.deadline - time.monotonic())
        try:
            async with limit:
                return await work.result
        except (TimeoutError, Canceled) as error:
            # a model may raise TimeoutError for reasons of its own; one that stopped at the deadline says Canceled
            if limit.expired() or (isinstance(error, Canceled) and time.monotonic() >= work.deadline):
                raise TimedOut("the model took longer than its time limit") from None
            raise
        finally:
            work.canceled.set()
            if work in self._queue:
                self._queue.remove(work)

    @asynccontextmanager
    async def turn(self, work: Work) -> AsyncGenerator[None]:
        """Queue a request that uses the model's thread by itself, and hold the thread while the context lasts.

        Raises:
            TimedOut: The deadline passed before its turn came.
            Canceled: The runner is stopping.
        """
        work.alone = True
        work.queued_at = time.monotonic()
        self._queue.append(work)
        self._wakeup.set()
        try:
            try:
                async with asyncio.timeout(max(0.0, work.deadline - time.monotonic())):
                    await work.result
            except TimeoutError:
                raise TimedOut("the model took longer than its time limit") from None
            yield
        finally:
            work.canceled.set()
            work.turn_over.set()
            if work in self._queue:
                self._queue.remove(work)

    async def _loop(self) -> None:
        while True:
            batch = await self._next_batch()
            if batch and batch[0].alone:
                await self._give_turn(batch[0])
            elif batch:
                await self._run(batch)

    async def _give_turn(self, work: Work) -> None:
        self.running = [work]
        try:
            if not work.result.done():
                work.result.set_result(None)
            await work.turn_over.wait()
            # a model that does not stop still has the thread, and who looks for hangs must see it
            await asyncio.get_running_loop().run_in_executor(self._thread, _nothing)
        finally:
            self.running = []

    async def _next_batch(self) -> list[Work]:
        while not self._queue:
            self._wakeup.clear()
            await self._wakeup.wait()
        give_up = time.monotonic() + self._wait_s
        while self._arriving and len(self._queue) < self._max_size and (left := give_up - time.monotonic()) > 0:
            self._wakeup.clear()
            try:
                async with asyncio.timeout(left):
                    await self._wakeup.wait()
            except TimeoutError:
                break
        batch: list[Work] = []
        while self._queue and len(batch) < self._max_size:
            if batch and self._queue.next().alone:
                break
            work = self._queue.pop()
            if work.abandoned:
                continue
            batch.append(work)
            if work.alone:
                break
        return batch

    async def _run(self, batch: list[Work]) -> None:
        started = time.monotonic()
        for work in batch:
            work.queue_seconds = started - work.queued_at
            work.batch_size = len(batch)
        self.running = batch
        try:
            for work in batch:
                if work.on_begin is not None:
                    await work.on_begin()
            # what is logged in the thread has the request's id, where it is one request's
            context = batch[0].context if len(batch) == 1 else contextvars.copy_context()
            results = await asyncio.get_running_loop().run_in_executor(
                self._thread, context.run, self._in_thread, batch
            )
        finally:
            self.running = []
        if len(results) != len(batch):
            logger.error("predict_batch answered %d results for %d requests", len(results), len(batch))
            results = [ModelFailed(f"the model answered {len(results)} results for {len(batch)} requests")] * len(batch)
        seconds = time.monotonic() - started
        for work, result in zip(batch, results, strict=True):
            work.model_seconds = seconds
            if work.result.done():
                continue
            if isinstance(result, BaseException):
                # a future refuses StopIteration
                work.result.set_exception(RuntimeError(repr(result)) if isinstance(result, StopIteration) else result)
            else:
                work.result.set_result(result)

    def _in_thread(self, batch: list[Work]) -> list[Any]:
        try:
            with cancel_signal(AllAbandoned(batch)):
                return self._run_batch(batch)
        except Exception as error:
            # one failure of the whole call: nobody knows whose fault it was
            return [error] * len(batch)
        except BaseException as error:
            # a model that calls sys.exit() is no reason to stop serving
            failure = RuntimeError(f"the model raised {type(error).__name__}")
            failure.__cause__ = error
            return [failure] * len(batch)


def _nothing() -> None:
    """Run in the model's thread to learn that it is free."""
