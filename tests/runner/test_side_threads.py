"""What runs beside the model's thread ends with its deadline, or is known to hang."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from pixano_inference.errors import TimedOut
from pixano_inference.protocol.request_id import accept_or_make, current_request_id
from pixano_inference.runner.side_threads import SideThreads


@pytest.fixture
def side() -> Iterator[SideThreads]:
    threads = SideThreads()
    yield threads
    threads.close()


def soon() -> float:
    return time.monotonic() + 5


async def test_the_result_comes_back_and_the_request_is_known(side: SideThreads) -> None:
    accept_or_make("abc")
    assert await side.run(soon(), current_request_id) == "abc"
    assert side.hanging_s == 0


async def test_its_own_errors_are_its_own(side: SideThreads) -> None:
    def fail() -> None:
        raise TimeoutError("a socket of the model's")

    with pytest.raises(TimeoutError, match="a socket"):
        await side.run(soon(), fail)


@pytest.mark.parametrize("ends", ["at the deadline", "with its caller"])
async def test_what_goes_on_when_nobody_waits_is_known_until_it_ends(side: SideThreads, ends: str) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        assert go_on.wait(5)

    deadline = time.monotonic() + 0.05 if ends == "at the deadline" else soon()
    task = asyncio.create_task(side.run(deadline, hang))
    assert await asyncio.to_thread(begun.wait, 5)
    if ends == "with its caller":
        task.cancel()
    with pytest.raises((TimedOut, asyncio.CancelledError)):
        await task
    await asyncio.sleep(0.01)
    assert side.hanging_s >= 0.01
    go_on.set()
    async with asyncio.timeout(5):
        while side.hanging_s:  # noqa: ASYNC110  # a thread ends
            await asyncio.sleep(0.005)


async def test_what_had_not_begun_is_no_hang(side: SideThreads) -> None:
    go_on = threading.Event()
    tasks = [asyncio.create_task(side.run(soon(), go_on.wait, 5)) for _ in range(100)]
    await asyncio.sleep(0.01)
    late = asyncio.create_task(side.run(time.monotonic() + 0.01, go_on.wait, 5))
    with pytest.raises(TimedOut):
        await late
    await asyncio.sleep(0.01)
    assert side.hanging_s == 0
    go_on.set()
    assert all(await asyncio.gather(*tasks))
