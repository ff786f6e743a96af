"""The model of a runner: its states, its queue, and the way of a request through it."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Literal

from pydantic import ValidationError

from pixano_inference.configs.server_settings import server_settings
from pixano_inference.errors import Canceled, ConfigError, InvalidInput, PixanoError, TimedOut, Unavailable
from pixano_inference.model_sets import ModelSet, ResolvedModel
from pixano_inference.model_sets.instantiate import instantiate
from pixano_inference.models.base import InferenceModel
from pixano_inference.models.pipeline import PipelinedModel
from pixano_inference.protocol.messages import from_plain, to_plain
from pixano_inference.protocol.repeated_media import ReceivedMedia
from pixano_inference.protocol.tracing import record_step, step_span
from pixano_inference.schemas import Schema

from .batcher import Arrival, Batcher
from .devices import gpu_memory, host_name, limit_threads, node_name, visible_gpus
from .execution import checked, public_error, run_batch
from .side_threads import SideThreads
from .stream import STARTED, stream_in_thread
from .work import Work

logger = logging.getLogger(__name__)

State = Literal["starting", "ready", "failed", "draining"]


class ModelHost:
    """Loads one model and answers requests with it.

    Args:
        model: What to serve.
        model_set: The set it belongs to, for the folders of custom modules.
        hang_grace_s: Seconds that the model may go on after everybody who waited has given up, before its process is
            replaced.
    """

    def __init__(self, model: ResolvedModel, model_set: ModelSet, hang_grace_s: float = 30.0) -> None:
        self.resolved = model
        self._model_set = model_set
        self._hang_grace_s = hang_grace_s
        self.state: State = "starting"
        self.reason: str | None = "the model is being loaded"
        self.load_seconds: float | None = None
        self.model: InferenceModel[Any, Any] | None = None
        self.in_flight = 0
        self.changed = asyncio.Condition()
        deployment = model.deployment
        self._batcher = Batcher(
            self._run_batch,
            max_size=deployment.max_batch_size,
            wait_s=deployment.batch_wait_timeout_s,
            max_queue=deployment.max_queue_size,
        )
        self._side = SideThreads()
        self._received = ReceivedMedia(int(server_settings().runner_media_mb * 1024 * 1024))
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, wait_s: float = 0.0) -> None:
        """Begin to load the model after ``wait_s`` seconds, and return at once."""
        self._batcher.start()
        self._tasks = [asyncio.create_task(self._load(wait_s)), asyncio.create_task(self._watch_for_hangs())]

    async def close(self) -> None:
        """Stop the queue and unload the model."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._batcher.close()
        self._side.close()
        if self.model is not None and self.state != "failed":
            self.model.unload()

    async def set_state(self, state: State, reason: str | None = None) -> None:
        """Change the state and tell who watches it."""
        async with self.changed:
            self.state, self.reason = state, reason
            self.changed.notify_all()

    def differs_from(self, told: tuple[State, str | None]) -> bool:
        """Whether state or reason changed since they were ``told``."""
        return (self.state, self.reason) != told

    def status(self) -> dict[str, Any]:
        """Return what the gateway is told about this runner."""
        return {
            "name": self.resolved.name,
            "state": self.state,
            "reason": self.reason,
            "pid": os.getpid(),
            "node": node_name(),
            "host": host_name(),
            "cpus": os.cpu_count() or 1,
            "gpus": visible_gpus() if self.resolved.deployment.num_gpus else [],
            "gpu_memory": gpu_memory(),
            "load_seconds": self.load_seconds,
            "in_flight": self.in_flight,
            "waiting": self._batcher.waiting,
            "metadata": self._metadata(),
        }

    def _metadata(self) -> dict[str, Any]:
        return dict(self.model.metadata) if self.model is not None and self.state in ("ready", "draining") else {}

    async def _load(self, wait_s: float) -> None:
        name, params = self.resolved.name, self.resolved.params
        if wait_s:
            logger.warning("the process of model %s keeps ending; loading it again in %.0f s", name, wait_s)
            await self.set_state("starting", f"its process keeps ending; it is loaded again in {wait_s:.0f} s")
            await asyncio.sleep(wait_s)
        where = f" from {self.resolved.model_path}" if self.resolved.model_path else ""
        logger.info("loading model %s: %s%s", name, self.resolved.model_class, where)
        started = time.monotonic()
        try:
            self.model = await asyncio.get_running_loop().run_in_executor(self._batcher.thread, self._load_in_thread)
        except BaseException as error:  # a model that calls sys.exit() has failed to load as well
            if isinstance(error, asyncio.CancelledError):
                raise
            reason = str(error) if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"
            logger.error("model %s could not be loaded: %s", name, reason, exc_info=error)
            await self.set_state("failed", reason)
            return
        self.load_seconds = time.monotonic() - started
        device, dtype = self.model.device, params.get("torch_dtype") or params.get("dtype")
        logger.info(
            "model %s is ready: on %s%s, loaded in %.1f s",
            name,
            device,
            f", {dtype}" if dtype else "",
            self.load_seconds,
        )
        await self.set_state("ready")

    def _load_in_thread(self) -> InferenceModel[Any, Any]:
        limit_threads(self.resolved.deployment)
        model = instantiate(self.resolved, self._model_set)
        model.load_model()
        return model

    async def _watch_for_hangs(self) -> None:
        # A thread cannot be killed. When everybody has given up on a batch, or on what runs beside the model's thread,
        # and it goes on regardless, the process makes room for a new one.
        hopeless: list[Work] = []
        hopeless_since = 0.0
        while True:
            await asyncio.sleep(1.0)
            running = self._batcher.running
            if self._side.hanging_s > self._hang_grace_s:
                self._end_for_a_hang()
            if not running or not all(work.abandoned for work in running):
                hopeless = []
            elif running is not hopeless:  # given up anew: another batch each time is no hang
                hopeless, hopeless_since = running, time.monotonic()
            elif time.monotonic() - hopeless_since > self._hang_grace_s:
                self._end_for_a_hang()

    def _end_for_a_hang(self) -> None:
        logger.critical("model %s does not stop; replacing its process", self.resolved.name)
        os._exit(70)

    def _run_batch(self, batch: Any) -> list[Any]:
        assert self.model is not None, "requests are refused until the model is loaded"  # noqa: S101  # an invariant
        return run_batch(self.model, batch)

    def _ready_model(self) -> InferenceModel[Any, Any]:
        if self.model is None or self.state not in ("ready", "draining"):
            raise Unavailable(f"model {self.resolved.name!r} is not ready: {self.reason}", retry_after_s=2)
        return self.model

    def _work(self, model: InferenceModel[Any, Any], plain: Any, timeout_s: float, caller: str) -> Work:
        try:
            parsed: Schema = from_plain(model.input_class, self._received.complete(plain))
        except ValidationError as error:
            raise InvalidInput(
                f"the request does not fit {model.input_class.__name__}: {error.error_count()} errors"
            ) from error
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        return Work(parsed, time.monotonic() + timeout_s, future, caller)

    def arrive(self, caller: str = "") -> Arrival:
        """Tell that a request of a caller is being received; end the arrival whatever becomes of the request.

        Raises:
            Unavailable: The model is not ready.
            Overloaded: Its queue is full.
        """
        self._ready_model()
        return self._batcher.arrive(caller)

    async def predict(
        self,
        plain: Any,
        timeout_s: float,
        arrival: Arrival,
        on_begin: Callable[[], Awaitable[None]] | None = None,
    ) -> dict[str, Any]:
        """Answer one request.

        Args:
            plain: The input as plain values, see :mod:`pixano_inference.protocol.messages`.
            timeout_s: Seconds that the caller waits.
            arrival: What :meth:`arrive` gave; ended when the request has joined the queue.
            on_begin: Awaited right before the model takes the request up.

        Returns:
            ``data``, ``metadata`` and timings, as plain values.

        Raises:
            PixanoError: Anything that a caller may see.
        """
        model = self._ready_model()
        self.in_flight += 1
        try:
            work = self._work(model, plain, timeout_s, arrival.caller)
            work.on_begin = on_begin
            if isinstance(model, PipelinedModel):
                with step_span("preprocess"):
                    work.prepared = await self._side.run(work.deadline, model.preprocess, work.input)
            arrival.end()
            raw = await self._batcher.submit(work)
            self._record_steps(work, work.model_seconds)
            with step_span("postprocess"):
                data = await self._side.run(work.deadline, self._finish, model, raw)
        except (PixanoError, asyncio.CancelledError):
            raise
        except Exception as error:  # a model may raise anything; its words stay in the log
            raise public_error(model, error) from error
        finally:
            self.in_flight -= 1
            arrival.end()
        return {
            "data": data,
            "metadata": self._metadata(),
            "queue_seconds": work.queue_seconds,
            "model_seconds": work.model_seconds,
            "batch_size": work.batch_size,
        }

    def _record_steps(self, work: Work, model_seconds: float) -> None:
        record_step("queue", work.queued_at, work.queue_seconds)
        batch: dict[str, str | int | float] = {
            "pixano.model": self.resolved.name,
            "pixano.batch_size": work.batch_size,
        }
        record_step("model", work.queued_at + work.queue_seconds, model_seconds, batch)

    def _finish(self, model: InferenceModel[Any, Any], raw: Any) -> dict[str, Any]:
        output = model.postprocess(raw) if isinstance(model, PipelinedModel) else raw
        plain: dict[str, Any] = to_plain(checked(model, output))
        return plain

    async def stream(self, plain: Any, timeout_s: float, arrival: Arrival) -> AsyncGenerator[dict[str, Any]]:
        """Answer one request piece by piece: ``started`` once the model takes it up, ``piece``s, and ``done`` at last.

        Args:
            plain: The input as plain values.
            timeout_s: Seconds that the caller waits.
            arrival: What :meth:`arrive` gave; ended when the request has joined the queue.

        Raises:
            PixanoError: Anything that a caller may see.
        """
        model = self._ready_model()
        predict_stream: Callable[[Any], Any] | None = getattr(model, "predict_stream", None)
        if predict_stream is None:
            raise InvalidInput(f"model {self.resolved.name!r} does not stream")
        work = self._work(model, plain, timeout_s, arrival.caller)
        self.in_flight += 1
        try:
            arrival.end()
            async with self._batcher.turn(work):
                async for piece in stream_in_thread(predict_stream, work, self._batcher.thread):
                    yield {"started": True} if piece is STARTED else {"piece": to_plain(piece)}
            seconds = time.monotonic() - work.queued_at - work.queue_seconds
            self._record_steps(work, seconds)
            yield {
                "done": True,
                "metadata": self._metadata(),
                "queue_seconds": work.queue_seconds,
                "model_seconds": seconds,
                "batch_size": 1,
            }
        except (PixanoError, asyncio.CancelledError) as error:
            if isinstance(error, Canceled) and time.monotonic() >= work.deadline:
                raise TimedOut("the model took longer than its time limit") from None
            raise
        except Exception as error:  # a model may raise anything; its words stay in the log
            raise public_error(model, error) from error
        finally:
            work.canceled.set()
            self.in_flight -= 1
