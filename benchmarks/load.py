"""A closed loop of callers, in a process of its own: each sends its next request when it has its answer."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import aiohttp


@dataclass
class Load:
    """What to send.

    Attributes:
        url: Where to.
        bodies: Files that hold the bodies, sent in turn.
        concurrency: How many callers.
        requests: How many requests in all.
        headers: Headers of every request.
        warm_up: Requests before the clock starts.
    """

    url: str
    bodies: list[str]
    concurrency: int
    requests: int
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    warm_up: int = 0


@dataclass
class Measured:
    """What came back.

    Attributes:
        seconds: From the first request to the last answer.
        latencies: Seconds per request, sorted.
        answer_bytes: Size of an answer.
        failures: Answers that were no 200, by status; empty in a valid run.
        first_chunk: Seconds to the first bytes of the body per request, sorted.
    """

    seconds: float
    latencies: list[float]
    answer_bytes: int
    failures: dict[str, int]
    first_chunk: list[float]

    def quantile(self, q: float) -> float:
        """Return the latency, in seconds, that a share ``q`` of the requests stayed below."""
        return self.latencies[min(len(self.latencies) - 1, int(q * len(self.latencies)))]

    @property
    def per_second(self) -> float:
        """Requests answered per second."""
        return len(self.latencies) / self.seconds


async def _run(load: Load, bodies: list[bytes]) -> Measured:
    latencies: list[float] = []
    first_chunk: list[float] = []
    failures: dict[str, int] = {}
    size = 0

    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), headers=load.headers, auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=600), skip_auto_headers=("Accept-Encoding",),
    ) as session:  # fmt: skip

        async def one(index: int, *, counts: bool) -> None:
            nonlocal size
            started = time.perf_counter()
            async with session.post(load.url, data=bodies[index % len(bodies)]) as response:
                size_now, first = 0, 0.0
                async for chunk in response.content.iter_any():
                    first = first or time.perf_counter() - started
                    size_now += len(chunk)
                if response.status != 200:
                    failures[str(response.status)] = failures.get(str(response.status), 0) + 1
            if counts:
                size = size_now
                latencies.append(time.perf_counter() - started)
                first_chunk.append(first)

        async def caller(indexes: Any, *, counts: bool) -> None:
            for index in indexes:
                await one(index, counts=counts)

        warm_up = iter(range(load.warm_up))
        await asyncio.gather(*(caller(warm_up, counts=False) for _ in range(load.concurrency)))
        sys.stdout.write("warm\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        indexes = iter(range(load.requests))
        started = time.perf_counter()
        await asyncio.gather(*(caller(indexes, counts=True) for _ in range(load.concurrency)))
        seconds = time.perf_counter() - started
    return Measured(seconds, sorted(latencies), size, failures, sorted(first_chunk))


class Generator:
    """A load generator that has warmed up; :meth:`go` starts the clock, :meth:`result` waits for the end."""

    def __init__(self, load: Load) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.load", json.dumps(asdict(load))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if self._line() != "warm":
            raise RuntimeError("the load generator did not start")

    def _line(self) -> str:
        if self._process.stdout is None:
            raise RuntimeError("the load generator has no output")
        return self._process.stdout.readline().strip()

    def go(self) -> None:
        """Begin to send."""
        if self._process.stdin is None:
            raise RuntimeError("the load generator has no input")
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def result(self) -> Measured:
        """Wait for the end.

        Raises:
            RuntimeError: A request failed; figures of such a run mean nothing.
        """
        measured = Measured(**json.loads(self._line()))
        self._process.wait(timeout=30)
        if measured.failures:
            raise RuntimeError(f"requests failed, by status: {measured.failures}")
        return measured


def run(load: Load) -> Measured:
    """Send the load and return what came back."""
    generator = Generator(load)
    generator.go()
    return generator.result()


if __name__ == "__main__":
    import uvloop

    _load = Load(**json.loads(sys.argv[1]))
    _measured = uvloop.run(_run(_load, [Path(body).read_bytes() for body in _load.bodies]))
    print(json.dumps(asdict(_measured)))
