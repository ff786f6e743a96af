"""Leaving without losing anything: a runner that is told to stop goes when its gateway has let go of it."""

from __future__ import annotations

import asyncio
import logging
import signal
from types import FrameType

from pixano_inference.runner.app import RunnerApp
from pixano_inference.runner.host import ModelHost

logger = logging.getLogger(__name__)

GRACE_S = 120.0
"""Longest time between the signal and the end."""


def drain_on_signal(host: ModelHost, app: RunnerApp) -> None:
    """Put a drain before what SIGTERM and SIGINT do now. Call it in the event loop, in the main thread."""
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    def install(number: signal.Signals) -> None:
        stop = signal.getsignal(number)

        async def drain() -> None:
            await host.set_state("draining", "the runner is stopping")
            give_up = loop.time() + GRACE_S
            while not app.idle and loop.time() < give_up:  # noqa: ASYNC110  # two counters, seldom looked at
                await asyncio.sleep(0.05)
            if callable(stop):
                stop(int(number), None)

        def begin() -> None:
            if not tasks:
                tasks.add(asyncio.create_task(drain()))

        def handle(received: int, frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(begin)

        signal.signal(number, handle)

    for number in (signal.SIGTERM, signal.SIGINT):
        install(number)
