"""Places that callers share: none of them keeps the others out."""

from __future__ import annotations

import asyncio
import threading

import pytest

from pixano_inference.media.fair_slots import FairSlots, FairThreads


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_caller_has_at_most_its_share_and_others_the_rest() -> None:
    slots = FairSlots(4, per_caller=3)
    greedy = [asyncio.create_task(slots.take("greedy")) for _ in range(10)]
    await settle()
    assert [task.done() for task in greedy] == [True] * 3 + [False] * 7
    await asyncio.wait_for(slots.take("modest"), 1)
    slots.give_back("modest")
    slots.give_back("greedy")
    await settle()
    assert sum(task.done() for task in greedy) == 4
    for task in greedy:
        task.cancel()


async def test_a_free_place_goes_to_who_holds_the_fewest_in_the_order_of_arrival() -> None:
    slots = FairSlots(2)
    order: list[str] = []

    async def wait(caller: str, name: str) -> None:
        await slots.take(caller)
        order.append(name)

    tasks = [asyncio.create_task(wait("greedy", f"greedy {number}")) for number in range(4)]
    await settle()
    tasks += [asyncio.create_task(wait("modest", f"modest {number}")) for number in range(2)]
    await settle()
    slots.give_back("greedy")
    slots.give_back("greedy")
    await settle()
    assert order == ["greedy 0", "greedy 1", "modest 0", "greedy 2"]
    for task in tasks:
        task.cancel()


async def test_who_gives_up_while_waiting_takes_no_place() -> None:
    slots = FairSlots(1)
    await slots.take("one")
    given_up = asyncio.create_task(slots.take("two"))
    await settle()
    slots.give_back("one")  # granted, and given up before it hears of it
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    await asyncio.wait_for(slots.take("three"), 1)


async def test_a_thread_that_nobody_waits_for_keeps_its_callers_place() -> None:
    threads = FairThreads(2, per_caller=1, name="test")
    go_on, begun = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        go_on.wait(10)

    hanging = asyncio.create_task(threads.run("greedy", hang))
    await asyncio.to_thread(begun.wait, 10)
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging
    second = asyncio.create_task(threads.run("greedy", lambda: "second"))
    assert await threads.run("modest", lambda: "modest") == "modest"
    assert not second.done()
    go_on.set()
    assert await asyncio.wait_for(second, 10) == "second"
    threads.close()
