"""Which replica gets a request, and when another one is asked: real runners behind real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from pixano_inference.configs import DeploymentConfig
from pixano_inference.errors import InvalidInput, Overloaded, TimedOut, Unavailable
from pixano_inference.gateway import metrics
from pixano_inference.gateway.runner_pool import RunnerPool
from pixano_inference.model_sets import ModelSet, ResolvedModel
from pixano_inference.protocol.messages import to_plain
from pixano_inference.protocol.repeated_media import ReceivedMedia
from pixano_inference.runner.app import RunnerApp
from pixano_inference.runner.host import ModelHost
from pixano_inference.schemas import Capability, ImageBytes, SegmentationInput
from tests.runner.models import Answering, Patient, Streaming

SECRET = "between gateway and runners"


def resolved(model_class: type[Any] = Answering, **deployment: Any) -> ResolvedModel:
    return ResolvedModel(
        name="test",
        capability=Capability.SEGMENTATION,
        model_class=model_class.__name__,
        target=f"{model_class.__module__}:{model_class.__qualname__}",
        params={},
        deployment=DeploymentConfig(**deployment),
    )


class Runner:
    """A runner in this process, behind a Unix socket."""

    def __init__(self, model: ResolvedModel, path: Path) -> None:
        self.address = f"file://{path}"
        self.host = ModelHost(model, ModelSet(source="test", module_paths=[], models=[model]))
        self.requests = 0
        self._app = RunnerApp(self.host, SECRET)
        self._path = path
        self._server: uvicorn.Server | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def model(self) -> Any:
        assert self.host.model is not None
        return self.host.model

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.requests += scope["type"] == "http" and scope["method"] == "POST"
        await self._app({**scope, "root_path": "/rpc"}, receive, send)

    async def start(self) -> None:
        await self.host.start()
        config = uvicorn.Config(
            app=_as_app(self), uds=str(self._path), log_config=None, lifespan="off", timeout_graceful_shutdown=0
        )
        self._server = uvicorn.Server(config)
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(self._path))
        self._task = asyncio.create_task(self._server.serve([sock]))

    async def stop(self) -> None:
        """Cut all connections, as a killed process does."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = self._server.force_exit = True
            for connection in list(self._server.server_state.connections):
                transport = getattr(connection, "transport", None)
                if transport is not None:
                    transport.abort()
            await asyncio.gather(self._task, return_exceptions=True)
        self._path.unlink(missing_ok=True)


def _as_app(runner: Runner) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await runner(scope, receive, send)

    return app


Start = Callable[..., "contextlib.AbstractAsyncContextManager[tuple[RunnerPool, list[Runner]]]"]


@pytest.fixture
def started(tmp_path: Path) -> Start:
    @contextlib.asynccontextmanager
    async def start(
        replicas: int = 2, model_class: type[Any] = Answering, **deployment: Any
    ) -> AsyncIterator[tuple[RunnerPool, list[Runner]]]:
        model = resolved(model_class, **deployment)
        runners = [Runner(model, tmp_path / f"{index}.sock") for index in range(replicas)]
        for runner in runners:
            await runner.start()
        pool = RunnerPool(model, [runner.address for runner in runners], SECRET)
        await pool.start()
        try:
            async with asyncio.timeout(10):
                while not all(replica.ready for replica in pool.replicas.values()):
                    await pool.wait_for_change(0.2)
            yield pool, runners
        finally:
            await pool.close()
            for runner in runners:
                await runner.stop()
                await runner.host.close()

    return start


def plain(left: int = 1, image: bytes = b"image") -> dict[str, Any]:
    value: dict[str, Any] = to_plain(SegmentationInput(image=ImageBytes(image), boxes=[[left, 0, left + 1, 1]]))
    return value


def digest(index: int) -> str:
    return ImageBytes(str(index).encode()).digest


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  # conditions of several objects, some of threads
            await asyncio.sleep(0.005)


async def test_an_answer_comes_back_with_the_times_of_its_way(started: Start) -> None:
    async with started(1) as (pool, _):
        answer = await pool.predict(plain(7), digest(0), 5)
        assert answer["data"]["scores"]["shape"] == [1, 1]
        assert answer["batch_size"] == 1
        assert answer["model_seconds"] >= 0 <= answer["queue_seconds"]


async def test_a_stream_counts_in_the_metrics_of_queue_and_model(started: Start) -> None:
    def counted() -> list[float]:
        text = metrics.exposition().decode()
        return [float(n) for n in re.findall(r'^pixano_(?:queue|model)_seconds_count\{model="test"\} (.+)', text, re.M)]

    async with started(1, Streaming) as (pool, _):
        before = counted() or [0.0, 0.0]
        messages = [message async for message in pool.stream(plain(), digest(0), 5)]
        assert [message.get("piece") for message in messages] == [None, "one", "two", None]
        assert counted() == [count + 1 for count in before]


async def test_clicks_on_one_image_go_to_one_replica_and_images_spread(started: Start) -> None:
    async with started(3) as (pool, runners):
        chosen = {index: pool._ranked(digest(index))[0].address for index in range(90)}
        assert chosen == {index: pool._ranked(digest(index))[0].address for index in range(90)}
        assert min(Counter(chosen.values()).values()) >= 15
        for _ in range(5):
            await pool.predict(plain(), digest(0), 5)
        assert sorted(runner.requests for runner in runners) == [0, 0, 5]


async def test_when_a_replica_goes_only_its_images_move(started: Start) -> None:
    async with started(3) as (pool, runners):
        before = {index: pool._ranked(digest(index))[0].address for index in range(90)}
        await runners[0].stop()
        await until(lambda: not pool.replicas[runners[0].address].ready)
        after = {index: pool._ranked(digest(index))[0].address for index in range(90)}
        moved = {index for index in before if before[index] != after[index]}
        assert moved == {index for index in before if before[index] == runners[0].address}


async def test_a_replica_with_more_than_its_share_is_passed_over(started: Start) -> None:
    async with started(2, Patient) as (pool, runners):
        tasks = [asyncio.create_task(pool.predict(plain(), digest(0), 5)) for _ in range(16)]
        await until(lambda: sum(replica.in_flight for replica in pool.replicas.values()) == 16)
        loads = sorted(replica.in_flight for replica in pool.replicas.values())
        assert loads[1] <= 9, "the preferred replica may hold one request more than the average of 8"
        for runner in runners:
            runner.model.go_on.set()
        await asyncio.gather(*tasks)


async def test_a_request_without_an_image_goes_to_the_least_loaded(started: Start) -> None:
    async with started(2, Patient) as (pool, runners):
        tasks = [asyncio.create_task(pool.predict(plain(), None, 5)) for _ in range(2)]
        await until(lambda: [runner.requests for runner in runners] == [1, 1])
        for runner in runners:
            runner.model.go_on.set()
        await asyncio.gather(*tasks)


async def test_a_replica_that_cannot_be_reached_is_passed_over(started: Start) -> None:
    async with started(2) as (pool, runners):
        first = pool._ranked(digest(0))[0]
        dead, alive = sorted(runners, key=lambda runner: runner.address != first.address)
        await dead.stop()
        # the gateway still believes that the replica is there, as in the moment after a crash
        first.status = {"state": "ready"}
        await pool.predict(plain(), digest(0), 5)
        assert alive.requests == 1


async def test_a_full_replica_sends_its_request_elsewhere(started: Start) -> None:
    async with started(2, Patient, max_queue_size=1, max_batch_size=1) as (pool, runners):
        first = pool._ranked(digest(0))[0]
        preferred, other = sorted(runners, key=lambda runner: runner.address != first.address)
        preferred_load = [asyncio.create_task(first.predict(plain(), 5)) for _ in range(1)]
        await until(preferred.model.begun.is_set)
        preferred_load.append(asyncio.create_task(first.predict(plain(), 5)))
        await until(lambda: preferred.requests == 2)
        first.in_flight = 0  # the load of another gateway
        other.model.go_on.set()
        await pool.predict(plain(), digest(0), 5)
        assert (preferred.requests, other.requests) == (3, 1)
        preferred.model.go_on.set()
        await asyncio.gather(*preferred_load)


async def test_when_all_are_full_the_caller_is_told_to_come_back(started: Start) -> None:
    async with started(1, Patient, max_queue_size=1, max_batch_size=1) as (pool, runners):
        tasks = [asyncio.create_task(pool.predict(plain(), None, 5))]
        await until(runners[0].model.begun.is_set)
        tasks.append(asyncio.create_task(pool.predict(plain(), None, 5)))
        await until(lambda: runners[0].requests == 2)
        with pytest.raises(Overloaded) as refused:
            await pool.predict(plain(), None, 5)
        assert refused.value.retry_after_s == 1
        runners[0].model.go_on.set()
        await asyncio.gather(*tasks)


async def test_a_request_that_a_model_has_begun_is_not_sent_again(started: Start) -> None:
    async with started(2, Patient) as (pool, runners):
        first = pool._ranked(digest(0))[0]
        worker, other = sorted(runners, key=lambda runner: runner.address != first.address)
        task = asyncio.create_task(pool.predict(plain(), digest(0), 5))
        await until(worker.model.begun.is_set)
        await worker.stop()
        with pytest.raises(Unavailable, match="ended while it worked") as lost:
            await task
        assert lost.value.code == "runner_lost"
        assert other.requests == 0


async def test_a_request_that_was_only_waiting_goes_to_another_replica(started: Start) -> None:
    async with started(2, Patient, max_batch_size=1) as (pool, runners):
        first = pool._ranked(digest(0))[0]
        worker, other = sorted(runners, key=lambda runner: runner.address != first.address)
        begun = asyncio.create_task(first.predict(plain(), 5))
        await until(worker.model.begun.is_set)
        waiting = asyncio.create_task(pool.predict(plain(), digest(0), 5))
        await until(lambda: worker.host.status()["waiting"] == 1)
        await worker.stop()
        other.model.go_on.set()
        with pytest.raises(Unavailable, match="ended while it worked"):
            await begun
        assert (await waiting)["data"]["masks"]
        assert other.requests == 1


async def test_losses_are_counted_beyond_the_replicas_that_had_them(started: Start) -> None:
    counted = metrics.RUNNER_RESTARTS.labels("test")._value.get
    async with started(2) as (pool, runners):
        before = counted()
        await runners[0].stop()
        await until(lambda: counted() == before + 1)
        pool._update({runners[1].address})
        assert pool.replicas.keys() == {runners[1].address}
        await runners[1].stop()
        await until(lambda: counted() == before + 2)


async def test_errors_of_the_request_itself_are_not_tried_elsewhere(started: Start) -> None:
    async with started(2) as (pool, runners):
        with pytest.raises(InvalidInput, match="outside of the image"):
            await pool.predict(plain(left=-5), digest(0), 5)
        assert sum(runner.requests for runner in runners) == 1


async def test_a_caller_that_goes_away_stops_the_model(started: Start) -> None:
    async with started(1, Patient) as (pool, runners):
        task = asyncio.create_task(pool.predict(plain(), None, 5))
        await until(runners[0].model.begun.is_set)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await until(runners[0].model.stopped.is_set)
        await until(lambda: runners[0].host.in_flight == 0)


async def test_the_time_limit_stops_the_model(started: Start) -> None:
    async with started(1, Patient) as (pool, runners):
        with pytest.raises(TimedOut):
            await pool.predict(plain(), None, 0.05)
        await until(runners[0].model.stopped.is_set)


async def test_without_a_replica_the_model_is_unavailable(tmp_path: Path) -> None:
    pool = RunnerPool(resolved(), [f"file://{tmp_path}/none.sock"], SECRET)
    await pool.start()
    try:
        with pytest.raises(Unavailable, match="no runner process answers") as refused:
            await pool.predict(plain(), digest(0), 5)
        assert refused.value.retry_after_s == 2
    finally:
        await pool.close()


async def test_a_gateway_without_the_secret_never_sees_a_ready_runner(started: Start) -> None:
    async with started(1) as (_, runners):
        stranger = RunnerPool(resolved(), [runners[0].address], "a guess")
        await stranger.start()
        try:
            await asyncio.sleep(0.1)
            assert stranger.state[0] == "down"
        finally:
            await stranger.close()


async def test_a_runner_of_another_model_is_not_used(started: Start, caplog: pytest.LogCaptureFixture) -> None:
    async with started(1) as (_, runners):
        other = resolved().model_copy(update={"name": "other"})
        pool = RunnerPool(other, [runners[0].address], SECRET)
        await pool.start()
        try:
            await until(lambda: "serves test, not other" in caplog.text)
            assert pool.state[0] == "down"
        finally:
            await pool.close()


async def test_an_image_that_the_runner_lost_is_sent_again_without_the_caller_noticing(started: Start) -> None:
    image = b"i" * 100_000
    async with started(1) as (pool, runners):
        await pool.predict(plain(1, image), digest(0), 5)
        await pool.predict(plain(2, image), digest(0), 5)
        assert runners[0].requests == 2, "the second went by digest"
        runners[0].host._received = ReceivedMedia(0)
        answer = await pool.predict(plain(3, image), digest(0), 5)
        assert runners[0].requests == 4
        assert answer["data"]["scores"]["values"] == np.float32(3).tobytes()


async def test_the_caller_is_told_to_the_runner_which_is_fair_between_them(started: Start) -> None:
    async with started(1, Patient, max_queue_size=1, max_batch_size=1) as (pool, runners):
        model = runners[0].model
        tasks = [asyncio.create_task(pool.predict(plain(), None, 5, "greedy"))]
        await until(model.begun.is_set)
        tasks.append(asyncio.create_task(pool.predict(plain(), None, 5, "greedy")))
        await until(lambda: runners[0].host.status()["waiting"] == 1)
        with pytest.raises(Overloaded):
            await pool.predict(plain(), None, 5, "greedy")
        tasks.append(asyncio.create_task(pool.predict(plain(), None, 5, "modest")))
        await until(lambda: runners[0].host.status()["waiting"] == 2)
        model.go_on.set()
        await asyncio.gather(*tasks)
