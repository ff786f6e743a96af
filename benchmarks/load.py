"""A closed loop of callers, in a process of its own: each sends its next request when it has its answer."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import httptools


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


class _Connection(asyncio.Protocol):
    """A connection of one caller. Sends bytes that are ready and counts what comes: the machine is the server's."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser: Any = None
        self._done: asyncio.Future[None] | None = None
        self.status = self.size = 0
        self.first_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # of a TCP connection

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._done is not None and not self._done.done():
            self._done.set_exception(ConnectionError("the server closed the connection"))

    def on_body(self, data: bytes) -> None:
        """A part of the answer's body has come."""
        self.first_at = self.first_at or time.perf_counter()
        self.size += len(data)

    def on_message_complete(self) -> None:
        """The answer is complete."""
        self.status = self._parser.get_status_code()
        if self._done is not None:
            self._done.set_result(None)

    @property
    def closed(self) -> bool:
        """Whether another connection is needed."""
        return self._transport is None

    async def send(self, request: bytes) -> None:
        """Send a request and wait for the whole answer."""
        if self._transport is None:
            raise ConnectionError("not connected")
        self._parser = httptools.HttpResponseParser(self)
        self._done = asyncio.get_running_loop().create_future()
        self.size, self.first_at = 0, 0.0
        self._transport.write(request)
        await self._done


async def _run(load: Load, bodies: list[bytes]) -> Measured:
    url = urlparse(load.url)
    host, port = url.hostname, url.port
    if host is None or port is None:
        raise ValueError(f"a URL with host and port is needed, got {load.url}")
    head = f"POST {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in load.headers.items())
    requests = [f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body for body in bodies]
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    first_chunk: list[float] = []
    failures: Counter[str] = Counter()
    size = 0

    async def caller(connection: _Connection | None, indexes: Iterator[int], *, counts: bool) -> _Connection | None:
        nonlocal size
        for index in indexes:
            started = time.perf_counter()
            if connection is None or connection.closed:
                _, connection = await loop.create_connection(_Connection, host, port)
            await connection.send(requests[index % len(requests)])
            if connection.status != 200:
                failures[str(connection.status)] += 1
            if counts:
                size = connection.size
                latencies.append(time.perf_counter() - started)
                first_chunk.append(connection.first_at - started)
        return connection

    warm_up = iter(range(load.warm_up))
    connections = await asyncio.gather(*(caller(None, warm_up, counts=False) for _ in range(load.concurrency)))
    sys.stdout.write("warm\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.readline)
    indexes = iter(range(load.requests))
    started = time.perf_counter()
    await asyncio.gather(*(caller(connection, indexes, counts=True) for connection in connections))
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
