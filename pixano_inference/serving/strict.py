"""The end of the start-up: ready, or stopped because a model could not be loaded."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pixano_inference.runner.host import ModelHost

if TYPE_CHECKING:
    from pixano_inference.gateway.state import GatewayState

logger = logging.getLogger(__name__)

STRICT_VARIABLE = "PIXANO_STRICT"
"""``1``: a model that cannot be loaded stops the start. Set together with the supervisor's process id."""
SUPERVISOR_VARIABLE = "PIXANO_SUPERVISOR"
FAILURE_FILE_VARIABLE = "PIXANO_FAILURE_FILE"

_tasks: set[asyncio.Task[None]] = set()


def report_when_loaded(state: GatewayState) -> None:
    """Follow the start in the background and tell its end."""
    task = asyncio.create_task(_follow(state), name="start-up report")
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


def stop_when_not_loaded(host: ModelHost) -> None:
    """End a runner that runs alone when its model cannot be loaded: whoever started it then sees it and tries again."""
    task = asyncio.create_task(_follow_one(host), name="start-up of the model")
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


async def _follow_one(host: ModelHost) -> None:
    async with host.changed:
        await host.changed.wait_for(lambda: host.state != "starting")
    if host.state == "failed":
        stop_the_start(f"model {host.resolved.name!r} could not be loaded: {host.reason}")


async def _follow(state: GatewayState) -> None:
    started = time.monotonic()
    strict = os.environ.get(STRICT_VARIABLE) == "1"
    while True:
        states = {name: pool.state for name, pool in state.pools.items()}
        failed = {name: reason for name, (told, reason) in states.items() if told == "failed"}
        if failed and strict:
            stop_the_start(
                "; ".join(f"model {name!r} could not be loaded: {reason}" for name, reason in failed.items())
            )
            return
        if all(told in ("ready", "idle", "failed") for told, _ in states.values()):
            ready = sum(told != "failed" for told, _ in states.values())
            logger.info("ready: %d of %d models after %.1f s", ready, len(states), time.monotonic() - started)
            for name, reason in failed.items():
                logger.error("model %s is left out: %s", name, reason)
            return
        await asyncio.sleep(0.1)


def stop_the_start(reason: str) -> None:
    """End the whole server, and let its command say why."""
    logger.critical("%s", reason)
    file = os.environ.get(FAILURE_FILE_VARIABLE)
    if file:
        Path(file).write_text(reason)
    supervisor = os.environ.get(SUPERVISOR_VARIABLE)
    if supervisor:
        os.kill(int(supervisor), signal.SIGTERM)
