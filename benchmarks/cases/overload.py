"""A model that takes half a second per batch, and everybody at once."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import aiohttp

from benchmarks import bodies, load, servers
from benchmarks.pictures import SMALL
from benchmarks.results import Bar, Outcome, Result, Setup

from .small import PATH

CALLERS = 64


def run(setup: Setup) -> Outcome:
    """Measure a crowd with one replica and with two, a bystander, and who comes after callers that gave up."""
    uris = bodies.pictures(SMALL, 16)
    crowd = bodies.write(setup.folder, *(bodies.segmentation("slow", uri) for uri in uris))
    spread = bodies.write(setup.folder, *(bodies.segmentation("slow-replicated", uri) for uri in uris))
    bystander = bodies.write(setup.folder, bodies.segmentation("one-mask", uris[0]))
    looks = setup.count(100, 25)
    with servers.server(["slow", "slow-replicated", "one-mask"]) as ours:
        url = ours.url + PATH
        one = load.run(load.Load(url, crowd, CALLERS, CALLERS, warm_up=1))
        two = load.run(load.Load(url, spread, CALLERS, CALLERS, warm_up=1))
        idle = load.run(load.Load(url, bystander, 1, looks, warm_up=20))
        busy = load.Generator(load.Load(url, crowd, CALLERS, CALLERS * 4, warm_up=1))
        meanwhile = load.Generator(load.Load(url, bystander, 1, looks, warm_up=20))
        busy.go()
        time.sleep(0.3)
        meanwhile.go()
        beside = meanwhile.result()
        busy.result()
        after = asyncio.run(_after_those_who_gave_up(url, Path(crowd[0]).read_bytes()))
    return Outcome(
        [
            Result("64 callers, batches of 8 in 500 ms", "seconds until all are answered", one.seconds, bar=Bar(5.0)),
            Result("the same with two local replicas", "seconds until all are answered", two.seconds, bar=Bar(2.8)),
            Result(
                "another model meanwhile", "median latency, ms", beside.quantile(0.5) * 1000, idle.quantile(0.5) * 1000,
                "idle", bar=Bar(1.5),
            ),
            Result("after 20 callers that gave up", "seconds until the next is answered", after, bar=Bar(1.1)),
        ]
    )  # fmt: skip


async def _after_those_who_gave_up(url: str, body: bytes) -> float:
    async with aiohttp.ClientSession(
        headers={"Content-Type": "application/json"}, connector=aiohttp.TCPConnector(limit=0)
    ) as session:

        async def ask() -> None:
            async with session.post(url, data=body) as response:
                await response.read()
                response.raise_for_status()

        callers = [asyncio.create_task(ask()) for _ in range(20)]
        await asyncio.sleep(0.3)
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
        began = time.perf_counter()
        await ask()
        return time.perf_counter() - began
