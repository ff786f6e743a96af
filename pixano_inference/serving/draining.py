"""Leaving without losing anything: what comes between the signal to stop and the end."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from types import FrameType

from pixano_inference.gateway.leaving import Leaving
from pixano_inference.runner.app import RunnerApp
from pixano_inference.runner.host import ModelHost

logger = logging.getLogger(__name__)

GRACE_S = 120.0
"""Longest time between the signal and the end of a runner."""


def drain_on_signal(host: ModelHost, app: RunnerApp) -> None:
    """Let a runner that is told to stop go when its gateways have let go of it. Call it in the event loop."""

    async def drain() -> None:
        await host.set_state("draining", "the runner is stopping")
        give_up = asyncio.get_running_loop().time() + GRACE_S
        while not app.idle and asyncio.get_running_loop().time() < give_up:  # noqa: ASYNC110  # two counters
            await asyncio.sleep(0.05)

    _on_signal(drain)


def leave_on_signal(leaving: Leaving) -> None:
    """Let a gateway that is told to stop go when its callers have gone elsewhere. Call it in the event loop."""
    _on_signal(leaving.wait_until_quiet)


def _on_signal(before: Callable[[], Awaitable[None]]) -> None:
    """Put ``before`` before what SIGTERM and SIGINT do now; in the main thread."""
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    def install(number: signal.Signals) -> None:
        stop = signal.getsignal(number)

        async def end() -> None:
            await before()
            if callable(stop):
                stop(int(number), None)

        def begin() -> None:
            if not tasks:
                tasks.add(asyncio.create_task(end()))

        def handle(received: int, frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(begin)

        signal.signal(number, handle)

    for number in (signal.SIGTERM, signal.SIGINT):
        install(number)
