"""Running a generator of the model in its thread, at the pace of whoever reads it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pixano_inference.errors import Canceled, TimedOut
from pixano_inference.models.cancellation import cancel_signal

from .work import AllAbandoned, Work

STARTED = object()
"""Yielded once, right before the model's thread takes the request up; until then it waits in the queue."""

_END = object()
_AHEAD = 8


async def stream_in_thread(
    generate: Callable[[Any], Iterable[Any]], work: Work, thread: ThreadPoolExecutor
) -> AsyncIterator[Any]:
    """Yield :data:`STARTED`, then what ``generate(work.input)`` yields.

    The generator runs at most a few pieces ahead of the reader. When the reader stops, or the deadline passes, the
    generator is closed at its next piece or :func:`~pixano_inference.models.check_canceled`.

    Raises:
        TimedOut: The deadline passed.
        Exception: Whatever the generator raised.
    """
    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[Any] = asyncio.Queue()
    room = asyncio.Semaphore(_AHEAD)

    def put(piece: Any) -> None:
        # the semaphore is what bounds the queue: only its owner, the event loop, may wait for it
        asyncio.run_coroutine_threadsafe(room.acquire(), loop).result(
            timeout=max(0.1, work.deadline - time.monotonic())
        )
        loop.call_soon_threadsafe(pieces.put_nowait, piece)

    def run() -> None:
        signal = AllAbandoned([work])
        with cancel_signal(signal):
            iterator = iter(generate(work.input))
            try:
                for piece in iterator:
                    if signal.is_set():
                        raise Canceled("the request was canceled")
                    put(piece)
            finally:
                close = getattr(iterator, "close", None)
                if close is not None:
                    close()

    work.queue_seconds = time.monotonic() - work.queued_at
    yield STARTED  # the reader has told it by the time that it asks for more: not even a crash comes before
    future = loop.run_in_executor(thread, work.context.run, run)
    future.add_done_callback(lambda _: pieces.put_nowait(_END))
    try:
        while True:
            try:
                async with asyncio.timeout(max(0.0, work.deadline - time.monotonic())):
                    piece = await pieces.get()
            except TimeoutError:
                raise TimedOut("the model took longer than its time limit") from None
            if piece is _END:
                future.result()
                return
            room.release()
            yield piece
    finally:
        work.canceled.set()
        room.release()  # lets a generator that waits for room see that nobody reads
        if not future.done():
            future.cancel()
            future.add_done_callback(lambda done: done.cancelled() or done.exception())
