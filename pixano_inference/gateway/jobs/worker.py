"""The part of a gateway that works on jobs: as many at a time as runners can take."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from typing import Any

from pixano_inference.errors import ModelFailed, Overloaded, PixanoError, TimedOut, Unavailable
from pixano_inference.gateway import metrics
from pixano_inference.gateway.replica import RUNNER_LOST
from pixano_inference.gateway.runner_pool import RunnerPool
from pixano_inference.protocol.request_id import accept_or_make

from .job import MAX_ATTEMPTS, Ending, Job, JobStatus
from .masks import pack_frames
from .spool import request_body
from .store import JobStore, StoreUnavailable

logger = logging.getLogger(__name__)

_POLL_S = 1.0
_RETRY_S = 1.0
_RUNNER_WAIT_S = 900.0
"""How long a job waits for a runner that is neither up nor loading its model."""
_CHUNK_FRAMES = 64
_CHUNK_S = 0.5


class JobWorker:
    """Claims jobs, streams them through the runners, and writes down what comes.

    Args:
        store: Where the jobs are.
        pools: The runners of each model.
        timeout_s: Seconds that the model may work on one job.
    """

    def __init__(self, store: JobStore, pools: Mapping[str, RunnerPool], timeout_s: float) -> None:
        self._store = store
        self._pools = pools
        self._timeout_s = timeout_s
        self._owner = uuid.uuid4().hex
        self._running: dict[str, asyncio.Task[None]] = {}
        self._busy: Counter[str] = Counter()
        self._wakeup = asyncio.Event()
        self._loops: list[asyncio.Task[None]] = []
        self._closing = False

    async def start(self) -> None:
        """Begin to claim jobs."""
        self._loops = [
            asyncio.create_task(loop, name=name)
            for name, loop in (
                ("claim jobs", self._claim_jobs()),
                ("sweep jobs", self._sweep()),
                ("events of jobs", self._listen()),
            )
        ]

    async def close(self) -> None:
        """Stop; jobs in work go back into the queue, for this gateway's successor or another one."""
        self._closing = True
        for task in self._loops:
            task.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        await asyncio.gather(*(self.stop(job_id) for job_id in list(self._running)))

    def wake(self) -> None:
        """Look for a job now."""
        self._wakeup.set()

    async def stop(self, job_id: str) -> None:
        """Stop working on a job that was canceled; return when its connection to the runner is closed."""
        task = self._running.get(job_id)
        if task is not None:
            if not task.cancelling():  # the event of one's own cancelation comes back from the store
                task.cancel()
            await asyncio.wait({task})

    def _free(self) -> list[str]:
        # one job per replica: a runner works on one at a time, and what waits in the store can go to any other
        return [
            name
            for name, pool in self._pools.items()
            if self._busy[name] < max(1, sum(replica.ready for replica in pool.replicas.values()))
        ]

    async def _claim_jobs(self) -> None:
        while True:
            self._wakeup.clear()
            job: Job | None = None
            try:
                if models := self._free():
                    job = await self._store.claim(self._owner, models)
            except StoreUnavailable as error:
                logger.warning("no jobs can be claimed: %s", error)
            except Exception:  # the loop that serves all jobs outlives one failure
                logger.exception("claiming a job failed")
            if job is not None:
                self._busy[job.model] += 1
                self._running[job.job_id] = asyncio.create_task(self._hold(job), name=f"job {job.job_id}")
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_S):
                    await self._wakeup.wait()

    async def _sweep(self) -> None:
        while True:
            try:
                await self._store.sweep()
                for status, count in (await self._store.counts()).items():
                    metrics.JOBS.labels(status).set(count)
            except StoreUnavailable as error:
                logger.warning("jobs cannot be swept: %s", error)
            except Exception:  # the loop that serves all jobs outlives one failure
                logger.exception("sweeping jobs failed")
            await asyncio.sleep(_POLL_S)

    async def _listen(self) -> None:
        async with contextlib.aclosing(self._store.events()) as events:
            async for event in events:
                kind, _, job_id = event.partition(" ")
                if kind == "queued":
                    self.wake()
                elif kind == "canceled":
                    await self.stop(job_id)

    async def _hold(self, job: Job) -> None:
        """Work on a job while its lease can be renewed; its id is that of all its log lines, the runner's too."""
        accept_or_make(job.job_id)
        work = asyncio.create_task(self._work(job))
        done: set[asyncio.Task[None]] = set()
        try:
            while not done:
                done, _ = await asyncio.wait({work}, timeout=self._store.lease_s / 3)
                if not done and not await self._store.renew(job.job_id, self._owner):
                    logger.info("job %s is not this gateway's any more", job.job_id)
                    return
            work.result()
        except StoreUnavailable as error:
            # the lease runs out, and whoever reaches the store first takes the job up
            logger.warning("job %s was let go: %s", job.job_id, error)
        except Exception:  # nobody waits for this task: its failure would be lost
            logger.exception("job %s was let go", job.job_id)
        finally:
            try:
                work.cancel()
                await asyncio.wait({work})
                if self._closing and not done:
                    await self._store.release(job.job_id, self._owner, forgive=True)
            except StoreUnavailable as error:
                logger.warning("job %s could not be put back: %s", job.job_id, error)
            finally:
                del self._running[job.job_id]
                self._busy[job.model] -= 1
                self.wake()

    async def _work(self, job: Job) -> None:
        attempt = _Attempt(self._store, job, self._owner)
        try:
            ending = await self._run(job, attempt)
        except StoreUnavailable:
            raise
        except PixanoError as error:
            await self._after(error, job, attempt)
            return
        except Exception:  # a job ends by the contract, whatever happened
            logger.exception("job %s failed", job.job_id)
            ending = Ending(JobStatus.FAILED, "the server failed on this job", 500)
        if ending is not None:
            await self._store.finish(job.job_id, self._owner, ending)
            logger.info("job %s on model %s: %s", job.job_id, job.model, ending.status)

    async def _run(self, job: Job, attempt: _Attempt) -> Ending | None:
        pool = self._pools[job.model]
        with metrics.IN_FLIGHT.labels(job.model).track_inprogress():  # counted while it waits, so that runners wake
            await _runner_up(pool)
        request = await self._store.request(job.job_id)
        if request is None:
            return None
        body = request_body(request, lambda: self._store.media(job.job_id), self._timeout_s)
        async with contextlib.aclosing(pool.stream(body, None, self._timeout_s, job.key_id)) as messages:
            async for message in messages:
                if message.get("done"):
                    if not await attempt.write_down():
                        return None
                    told = message.get("metadata")
                    return Ending(JobStatus.COMPLETED, metadata=told if isinstance(told, dict) else {})
                if not await attempt.take(message):
                    return None
        raise ModelFailed("the model's answer has no end")

    async def _after(self, error: PixanoError, job: Job, attempt: _Attempt) -> None:
        lost = error.code == RUNNER_LOST
        attempts = job.attempts + attempt.begun
        may_wait = time.time() - job.created < self._timeout_s
        if isinstance(error, Unavailable | Overloaded) and may_wait and not (lost and attempts >= MAX_ATTEMPTS):
            logger.info("job %s goes back into the queue: %s", job.job_id, error.message)
            await self._store.release(job.job_id, self._owner, delay_s=_RETRY_S, forgive=not lost)
            return
        detail = error.message
        if lost:
            detail = f"the model's process ended {attempts} times while it worked on this job"
        await self._store.finish(job.job_id, self._owner, Ending(JobStatus.FAILED, detail, error.status))
        logger.info("job %s on model %s failed: %s", job.job_id, job.model, detail)


class _Attempt:
    """What one attempt at a job has brought so far."""

    def __init__(self, store: JobStore, job: Job, owner: str) -> None:
        self._store = store
        self._job_id = job.job_id
        self._owner = owner
        self._frames: list[dict[str, Any]] = []
        self._done = 0
        self._total: int | None = None
        self._last = 0.0
        self.begun = False

    async def take(self, message: dict[str, Any]) -> bool:
        """Take one message of the runner; false when the job is no longer this gateway's."""
        if "piece" not in message:
            if message.get("started"):
                self.begun = True
                return await self._store.begin(self._job_id, self._owner)
            return True
        piece = message["piece"]
        try:
            self._done, self._total = int(piece["frames_done"]), piece["frames_total"]
            self._frames.append(piece)
        except (TypeError, KeyError, ValueError):
            raise ModelFailed("the model yielded something that is not the masks of a frame") from None
        if len(self._frames) >= _CHUNK_FRAMES or time.monotonic() - self._last > _CHUNK_S:
            return await self.write_down()
        return True

    async def write_down(self) -> bool:
        """Store what has come since the last time; false when the job is no longer this gateway's."""
        frames, self._frames = self._frames, []
        self._last = time.monotonic()
        chunk = pack_frames(frames) if frames else None
        return await self._store.progress(self._job_id, self._owner, self._done, self._total, chunk)


async def _runner_up(pool: RunnerPool) -> None:
    """Return when a runner is ready.

    Raises:
        ModelFailed: The model could not be loaded.
        TimedOut: No runner came up in time.
    """
    give_up = time.monotonic() + _RUNNER_WAIT_S
    while True:
        state, reason = pool.state
        if state == "ready":
            return
        if state == "failed":
            raise ModelFailed(f"model {pool.model.name!r} could not be loaded")
        if state == "starting":
            give_up = time.monotonic() + _RUNNER_WAIT_S
        if time.monotonic() > give_up:
            raise TimedOut(f"no runner of model {pool.model.name!r} came up: {reason}")
        await pool.wait_for_change(1.0)
