"""What ``max_batch_size`` and ``batch_wait_timeout_s`` promise, and what happens when someone gives up."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from pixano_inference.errors import Canceled, ModelFailed, Overloaded, TimedOut
from pixano_inference.models import check_canceled
from pixano_inference.runner.stream import stream_in_thread
from pixano_inference.runner.work import Work

from .conftest import MakeBatcher, echo, work


class Gated:
    """A model that works until it is let go, and remembers its batches."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.begun = threading.Event()
        self.go_on = threading.Event()

    def __call__(self, batch: Sequence[Work]) -> list[Any]:
        names = echo(batch)
        self.batches.append(names)
        self.begun.set()
        assert self.go_on.wait(5)
        return names

    async def wait_until_begun(self) -> None:
        assert await asyncio.to_thread(self.begun.wait, 5)


async def test_a_lone_request_does_not_wait_for_others(serving: MakeBatcher) -> None:
    async with serving(wait_s=5.0) as batcher:
        async with asyncio.timeout(2):
            assert await batcher.submit(work("a")) == "a"


async def test_requests_on_their_way_are_waited_for_and_share_a_batch(serving: MakeBatcher) -> None:
    async with serving(wait_s=5.0) as batcher:
        arrival = batcher.arrive()
        first, second = work("a"), work("b")
        task = asyncio.create_task(batcher.submit(first))
        await asyncio.sleep(0.02)
        assert not task.done()
        other = asyncio.create_task(batcher.submit(second))
        arrival.end()
        assert list(await asyncio.gather(task, other)) == ["a", "b"]
        assert (first.batch_size, second.batch_size) == (2, 2)


async def test_the_wait_for_others_ends_after_the_wait_timeout(serving: MakeBatcher) -> None:
    async with serving(wait_s=0.05) as batcher:
        batcher.arrive()  # never ends
        item = work("a")
        async with asyncio.timeout(2):
            await batcher.submit(item)
        assert item.queue_seconds >= 0.045


async def test_a_full_batch_goes_without_waiting_further(serving: MakeBatcher) -> None:
    async with serving(wait_s=5.0, max_size=2) as batcher:
        batcher.arrive()  # never ends
        async with asyncio.timeout(2):
            assert await asyncio.gather(*(batcher.submit(work(name)) for name in "ab")) == ["a", "b"]


async def test_requests_gather_while_the_model_works_up_to_the_largest_batch(serving: MakeBatcher) -> None:
    model = Gated()
    async with serving(model, max_size=3) as batcher:
        tasks = [asyncio.create_task(batcher.submit(work("first")))]
        await model.wait_until_begun()
        tasks += [asyncio.create_task(batcher.submit(work(str(n)))) for n in range(5)]
        await asyncio.sleep(0)
        model.go_on.set()
        assert await asyncio.gather(*tasks) == ["first", "0", "1", "2", "3", "4"]
        assert model.batches == [["first"], ["0", "1", "2"], ["3", "4"]]


async def test_one_bad_item_fails_alone(serving: MakeBatcher) -> None:
    def run(batch: Sequence[Work]) -> list[Any]:
        return [ValueError("bad") if name == "bad" else name for name in echo(batch)]

    async with serving(run, wait_s=5.0, max_size=3) as batcher:
        batcher.arrive()
        results = await asyncio.gather(*(batcher.submit(work(n)) for n in ("a", "bad", "b")), return_exceptions=True)
        assert [results[0], results[2]] == ["a", "b"]
        assert isinstance(results[1], ValueError)


@pytest.mark.parametrize("answers", [0, 1, 3])
async def test_a_wrong_number_of_results_fails_all_of_the_batch(serving: MakeBatcher, answers: int) -> None:
    async with serving(lambda batch: ["x"] * answers, wait_s=5.0, max_size=2) as batcher:
        batcher.arrive()
        results = await asyncio.gather(*(batcher.submit(work(n)) for n in "ab"), return_exceptions=True)
        assert [type(result) for result in results] == [ModelFailed, ModelFailed]


@pytest.mark.parametrize("error", [StopIteration(), SystemExit(1), KeyboardInterrupt(), TimeoutError("mine")])
async def test_whatever_a_model_raises_the_next_request_is_served(serving: MakeBatcher, error: BaseException) -> None:
    def run(batch: Sequence[Work]) -> list[Any]:
        if echo(batch) == ["bad"]:
            raise error
        return echo(batch)

    async with serving(run) as batcher:
        with pytest.raises((RuntimeError, TimeoutError)):
            await batcher.submit(work("bad"))
        async with asyncio.timeout(2):
            assert await batcher.submit(work("good")) == "good"


async def test_a_caller_that_goes_away_frees_its_place_and_never_reaches_the_model(serving: MakeBatcher) -> None:
    model = Gated()
    async with serving(model) as batcher:
        first = asyncio.create_task(batcher.submit(work("first")))
        await model.wait_until_begun()
        gone = asyncio.create_task(batcher.submit(work("gone")))
        await asyncio.sleep(0)
        assert batcher.waiting == 1
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        assert batcher.waiting == 0
        model.go_on.set()
        await first
        assert await batcher.submit(work("next")) == "next"
        assert model.batches == [["first"], ["next"]]


async def test_twenty_callers_that_gave_up_do_not_delay_the_next(serving: MakeBatcher) -> None:
    model = Gated()
    async with serving(model, max_size=1) as batcher:
        tasks = [asyncio.create_task(batcher.submit(work(str(n)))) for n in range(20)]
        await model.wait_until_begun()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        after = asyncio.create_task(batcher.submit(work("next")))
        model.go_on.set()
        assert await after == "next"
        assert model.batches == [["0"], ["next"]]


async def test_a_running_model_learns_that_all_callers_of_its_batch_are_gone(serving: MakeBatcher) -> None:
    begun, stopped = threading.Event(), threading.Event()

    def run(batch: Sequence[Work]) -> list[Any]:
        begun.set()
        try:
            while True:
                check_canceled()
                time.sleep(0.002)
        finally:
            stopped.set()

    async with serving(run) as batcher:
        task = asyncio.create_task(batcher.submit(work()))
        assert await asyncio.to_thread(begun.wait, 5)
        task.cancel()
        assert await asyncio.to_thread(stopped.wait, 5)


async def test_a_stream_that_does_not_stop_is_seen_to_run_until_it_leaves_the_thread(serving: MakeBatcher) -> None:
    go_on = threading.Event()

    def generate(input: Any) -> Iterator[int]:
        assert go_on.wait(5)
        yield 1

    async with serving() as batcher:
        hung = work("a", timeout_s=0.05)

        async def stream() -> None:
            async with batcher.turn(hung):
                async for _ in stream_in_thread(generate, hung, batcher.thread):
                    pass

        with pytest.raises(TimedOut):
            await stream()
        other = asyncio.create_task(batcher.submit(work("b")))
        await asyncio.sleep(0.02)
        # what the search for hangs looks at
        assert batcher.running == [hung]
        assert hung.abandoned
        go_on.set()
        assert await other == "b"
        assert batcher.running == []


async def test_one_caller_that_stays_keeps_its_batch_running(serving: MakeBatcher) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def run(batch: Sequence[Work]) -> list[Any]:
        begun.set()
        assert go_on.wait(5)
        check_canceled()
        return echo(batch)

    async with serving(run, max_size=2, wait_s=5.0) as batcher:
        batcher.arrive()
        leaves, stays = (asyncio.create_task(batcher.submit(work(n))) for n in ("leaves", "stays"))
        assert await asyncio.to_thread(begun.wait, 5)
        leaves.cancel()
        go_on.set()
        assert await stays == "stays"


async def test_the_deadline_ends_the_wait_with_timed_out_and_stops_the_model(serving: MakeBatcher) -> None:
    stopped = threading.Event()

    def run(batch: Sequence[Work]) -> list[Any]:
        try:
            while True:
                check_canceled()
                time.sleep(0.002)
        except Canceled:
            stopped.set()
            raise

    async with serving(run) as batcher:
        with pytest.raises(TimedOut):
            await batcher.submit(work(timeout_s=0.05))
        assert await asyncio.to_thread(stopped.wait, 5)


async def test_a_full_queue_refuses_and_says_when_to_come_back(serving: MakeBatcher) -> None:
    model = Gated()
    async with serving(model, max_queue=2) as batcher:
        tasks = [asyncio.create_task(batcher.submit(work("running")))]
        await model.wait_until_begun()
        batcher.arrive()  # still being received: it has a place, too
        tasks.append(asyncio.create_task(batcher.submit(work("waits"))))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="2 requests are waiting, 2 may") as refused:
            batcher.arrive()
        assert refused.value.retry_after_s == 1
        model.go_on.set()
        await asyncio.gather(*tasks)
        batcher.arrive().end()


async def test_an_arrival_that_ends_twice_counts_once(serving: MakeBatcher) -> None:
    async with serving(max_queue=2) as batcher:
        first = batcher.arrive()
        first.end()
        first.end()
        batcher.arrive()
        batcher.arrive()
        with pytest.raises(Overloaded):
            batcher.arrive()


async def test_closing_fails_what_is_not_answered(serving: MakeBatcher) -> None:
    model = Gated()
    async with serving(model, max_size=1) as batcher:
        tasks = [asyncio.create_task(batcher.submit(work(name))) for name in ("running", "waits")]
        await model.wait_until_begun()
        await batcher.close()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results] == [Canceled, Canceled]
        model.go_on.set()
