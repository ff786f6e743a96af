"""Callers take turns at an overloaded model, and none of them can fill the queue for the others."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixano_inference.errors import Overloaded, TimedOut
from pixano_inference.runner.batcher import Batcher
from pixano_inference.runner.fair_queue import FairQueue
from pixano_inference.runner.stream import stream_in_thread
from pixano_inference.runner.work import Work
from pixano_inference.schemas import ImageBytes, SegmentationInput

from .conftest import MakeBatcher, name_of, work
from .test_batcher import Gated


def of(caller: str, name: str, timeout_s: float = 10.0) -> Work:
    one = work(f"{caller}{name}", timeout_s)
    one.caller = caller
    return one


async def submitted(batcher: Batcher, *works: Work) -> list[asyncio.Task[Any]]:
    tasks = [asyncio.create_task(batcher.submit(one)) for one in works]
    await asyncio.sleep(0)
    return tasks


async def test_callers_take_turns_and_each_ones_oldest_request_goes_first(serving: MakeBatcher) -> None:
    model = Gated()
    async with serving(model, max_size=1) as batcher:
        tasks = await submitted(batcher, of("a", "0"))
        await model.wait_until_begun()
        tasks += await submitted(batcher, *(of("a", str(index)) for index in range(1, 5)))
        tasks += await submitted(batcher, of("b", "1"), of("b", "2"), of("c", "1"))
        model.go_on.set()
        await asyncio.gather(*tasks)
    assert [name for batch in model.batches for name in batch] == ["a0", "a1", "b1", "c1", "a2", "b2", "a3", "a4"]


async def test_a_batch_is_shared_between_callers(serving: MakeBatcher) -> None:
    model = Gated()
    async with serving(model, max_size=4) as batcher:
        tasks = await submitted(batcher, of("a", "0"))
        await model.wait_until_begun()
        tasks += await submitted(batcher, *(of("a", str(index)) for index in range(1, 7)), of("b", "1"), of("b", "2"))
        model.go_on.set()
        await asyncio.gather(*tasks)
    assert model.batches[1] == ["a1", "b1", "a2", "b2"]


async def test_a_full_queue_admits_a_caller_below_its_share_and_evicts_nobody(serving: MakeBatcher) -> None:
    async with serving(max_queue=4) as batcher:
        for _ in range(4):
            batcher.arrive("greedy")
        with pytest.raises(Overloaded, match="4 requests are waiting, 4 may"):
            batcher.arrive("greedy")
        batcher.arrive("modest")
        batcher.arrive("modest")
        with pytest.raises(Overloaded):
            batcher.arrive("modest")  # two callers: a share of two each
        batcher.arrive("third")  # three callers: a share of one each
        with pytest.raises(Overloaded):
            batcher.arrive("third")
        batcher.arrive("fourth")
        with pytest.raises(Overloaded, match="8 requests are waiting"):
            batcher.arrive("fifth")  # twice the bound, whoever asks


async def test_a_caller_that_leaves_gives_its_share_back(serving: MakeBatcher) -> None:
    async with serving(max_queue=2) as batcher:
        arrivals = [batcher.arrive("greedy"), batcher.arrive("greedy"), batcher.arrive("modest")]
        with pytest.raises(Overloaded):
            batcher.arrive("modest")
        for arrival in arrivals:
            arrival.end()
        assert batcher.waiting == 0
        assert [batcher.arrive("modest").caller for _ in range(2)] == ["modest", "modest"]


async def test_a_request_that_is_given_up_leaves_its_line(serving: MakeBatcher) -> None:
    model = Gated()
    async with serving(model, max_size=1) as batcher:
        tasks = await submitted(batcher, of("a", "0"))
        await model.wait_until_begun()
        with pytest.raises(TimedOut):
            await batcher.submit(of("b", "1", timeout_s=0.02))
        assert batcher.waiting == 0
        tasks += await submitted(batcher, of("b", "2"))
        model.go_on.set()
        await asyncio.gather(*tasks)
    assert model.batches == [["a0"], ["b2"]]


async def test_streams_take_turns_with_the_others_too(serving: MakeBatcher) -> None:
    order: list[str] = []

    def run(batch: Sequence[Work]) -> list[Any]:
        order.extend(name_of(one) for one in batch)
        return [None] * len(batch)

    begun, go_on = asyncio.Event(), threading.Event()
    async with serving(run) as batcher:

        async def stream(one: Work) -> None:
            def generate(input: SegmentationInput) -> Iterator[int]:
                order.append(name_of(one))
                assert go_on.wait(5)
                yield 1

            async with batcher.turn(one):
                async for _ in stream_in_thread(generate, one, batcher.thread):
                    begun.set()

        tasks = [asyncio.create_task(stream(of("a", str(index)))) for index in range(3)]
        await asyncio.wait_for(begun.wait(), 5)
        tasks += await submitted(batcher, of("b", "1"), of("b", "2"))
        go_on.set()
        await asyncio.gather(*tasks)
    assert order == ["a0", "a1", "b1", "a2", "b2"]


async def test_a_stream_whose_turn_does_not_come_times_out_and_leaves_the_queue(serving: MakeBatcher) -> None:
    model = Gated()
    async with serving(model) as batcher:
        tasks = await submitted(batcher, of("a", "0"))
        await model.wait_until_begun()
        with pytest.raises(TimedOut):
            async with batcher.turn(of("b", "1", timeout_s=0.02)):
                pytest.fail("the model is taken")
        assert batcher.waiting == 0
        model.go_on.set()
        await asyncio.gather(*tasks)
        async with batcher.turn(of("b", "2")):
            assert batcher.waiting == 0


@given(st.lists(st.sampled_from("abcde"), max_size=40))
def test_nothing_is_lost_and_nobody_waits_for_more_than_one_turn_of_each_other(callers: list[str]) -> None:
    loop = asyncio.new_event_loop()
    queue = FairQueue()
    works = [
        Work(SegmentationInput(image=ImageBytes(b"image")), 0.0, loop.create_future(), caller) for caller in callers
    ]
    loop.close()
    for one in works:
        queue.append(one)
    popped = [queue.pop() for _ in works]
    assert len(queue) == 0
    assert queue.callers == set()
    assert {id(one) for one in popped} == {id(one) for one in works}
    for caller in set(callers):
        mine = [one for one in works if one.caller == caller]
        places = [place for place, one in enumerate(popped) if one.caller == caller]
        assert [popped[place] for place in places] == mine
        assert all(place < (turn + 1) * len(set(callers)) for turn, place in enumerate(places))
