"""A runner whose machine vanishes: no connection ends, and nothing is answered any more."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from pixano_inference.errors import Unavailable
from pixano_inference.gateway import replica
from pixano_inference.gateway.runner_pool import RunnerPool
from pixano_inference.runner import app
from tests.runner.models import Patient

from .test_runner_pool import SECRET, Start, digest, plain, started, until

__all__ = ["started"]


class Network:
    """The way to a runner: carries bytes until the machine at its end vanishes.

    Args:
        path: The runner's socket.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._carrying: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(self._path)
        self._writers += [writer, inner_writer]
        for source, sink in ((reader, inner_writer), (inner_reader, writer)):
            task = asyncio.create_task(self._carry(source, sink))
            self._carrying.add(task)
            task.add_done_callback(self._carrying.discard)

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
            sink.close()

    @contextlib.asynccontextmanager
    async def vanished(self) -> AsyncIterator[None]:
        """Carry nothing any more, and let nobody in: a full queue of connections answers as an empty rack does."""
        assert self._server is not None
        for task in list(self._carrying):
            task.cancel()
        self._server.close()
        with contextlib.ExitStack() as stack:
            full = stack.enter_context(socket.socket())
            full.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            full.bind(("127.0.0.1", self.port))
            full.listen(0)
            for _ in range(4):
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", self.port))
            yield

    def close(self) -> None:
        for writer in self._writers:
            writer.close()


async def test_a_request_does_not_wait_for_a_machine_that_is_gone(
    started: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the same ratio in less time
    monkeypatch.setattr(replica, "_SILENCE_S", 1.0)
    monkeypatch.setattr(replica, "_CONNECT_S", 0.3)
    monkeypatch.setattr(app, "HEARTBEAT_S", 0.1)
    async with started(1, Patient) as (_, runners):
        runner = runners[0]
        network = Network(runner.address.removeprefix("file://"))
        await network.start()
        pool = RunnerPool(runner.host.resolved, [f"http://127.0.0.1:{network.port}"], SECRET)
        await pool.start()
        try:
            await until(lambda: pool.state[0] == "ready")
            request = asyncio.create_task(pool.predict(plain(), digest(0), 300))
            await until(runner.model.begun.is_set)
            async with network.vanished():
                async with asyncio.timeout(20):
                    with pytest.raises(Unavailable, match="cannot be reached any more") as lost:
                        await request
            assert lost.value.code == "runner_lost"
        finally:
            await pool.close()
            network.close()
