"""Jobs in Redis, for several gateways."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.backoff import ExponentialBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from pixano_inference.errors import ConfigError

from . import redis_scripts as scripts
from .job import CANCELED, LEASE_S, LOST, MAX_ATTEMPTS, NOT_TAKEN_UP, QUEUE_S, Ending, Job, JobStatus
from .redis_scripts import PREFIX
from .spool import CHUNK_BYTES
from .store import JobStore, Quota, StoreUnavailable

P = ParamSpec("P")
R = TypeVar("R")

_UNADDED_MEDIA_S = 3600
"""Media of a job that was never added, because its gateway died meanwhile, are gone after this many seconds."""
_RECONNECT_S = 1.0


def _reached(
    method: Callable[Concatenate[RedisJobStore, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[RedisJobStore, P], Coroutine[Any, Any, R]]:
    @functools.wraps(method)
    async def call(self: RedisJobStore, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await method(self, *args, **kwargs)
        except (RedisError, OSError, TimeoutError) as error:
            raise StoreUnavailable(
                f"the store of jobs cannot be reached: {type(error).__name__}", retry_after_s=5
            ) from error

    return call


class RedisJobStore(JobStore):
    """Jobs, media and masks in Redis; each change of state is one script, see :mod:`.redis_scripts`.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``.
        ttl_s: Seconds that a finished job is kept.
        queue_s: Seconds that a job may wait.
        lease_s: Seconds after which a lease that was not renewed has run out.

    Raises:
        ConfigError: The URL is none of Redis.
    """

    def __init__(self, url: str, *, ttl_s: float, queue_s: float = QUEUE_S, lease_s: float = LEASE_S) -> None:
        super().__init__(ttl_s=ttl_s, queue_s=queue_s, lease_s=lease_s)
        try:
            self._redis: Redis = Redis.from_url(
                url, socket_connect_timeout=3, socket_timeout=20, retry=Retry(ExponentialBackoff(cap=0.5), 2)
            )
        except ValueError as error:
            raise ConfigError(f"PIXANO_JOBS_URL is not the URL of a Redis: {error}") from error

    async def open(self) -> None:
        """Connect; a Redis that is not up yet is waited for by whoever uses the store."""

    async def close(self) -> None:
        """Disconnect; jobs stay."""
        await self._redis.aclose()

    @functools.cache  # noqa: B019  # a store lives as long as its process
    def _script(self, text: str) -> Any:
        return self._redis.register_script(text)

    async def _run(self, text: str, *arguments: str | bytes | float) -> Any:
        return await self._script(text)(keys=[PREFIX], args=list(arguments))

    @_reached
    async def add(self, job: Job, request: bytes, media: Path, quota: Quota) -> Job:
        """Put a job into the queue; the media file is copied and removed."""
        key = f"{PREFIX}media:{job.job_id}"
        try:
            with await asyncio.to_thread(media.open, "rb") as file:
                while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
                    await self._redis.rpush(key, chunk)
                    await self._redis.expire(key, _UNADDED_MEDIA_S)
            added, waiting, stored = await self._run(
                scripts.ADD,
                job.job_id, job.key_id, job.model, request, job.media_bytes, quota.jobs_per_key, quota.media_bytes,
            )  # fmt: skip
            quota.check(waiting, stored, job.media_bytes)
        except BaseException:  # cancellation, too, must not leave the media behind
            with contextlib.suppress(RedisError, OSError):
                await self._redis.delete(key)
            raise
        await asyncio.to_thread(media.unlink, missing_ok=True)
        found = await self._get(job.job_id)
        if not added or found is None:
            raise StoreUnavailable("the store of jobs lost a job", retry_after_s=5)
        return found

    @_reached
    async def usage(self, key_id: str) -> tuple[int, int]:
        """Return the number of unfinished jobs of a key, and the bytes of media of all unfinished jobs."""
        waiting = await self._redis.scard(f"{PREFIX}unfinished:{key_id}")
        return waiting, int(await self._redis.get(f"{PREFIX}media_bytes") or 0)

    async def _get(self, job_id: str) -> Job | None:
        names = ["job_id", "key_id", "model", "status", "detail", "metadata"]
        integers = ["media_bytes", "error_status", "attempts", "frames_done", "frames_total"]
        floats = ["created", "started", "finished"]
        values = await cast(
            "Awaitable[list[bytes | None]]", self._redis.hmget(f"{PREFIX}job:{job_id}", names + integers + floats)
        )
        texts = {
            name: value.decode()
            for name, value in zip(names + integers + floats, values, strict=True)
            if value is not None
        }
        if "status" not in texts:
            return None
        fields: dict[str, Any] = {
            name: int(text) if name in integers else float(text) if name in floats else text
            for name, text in texts.items()
        }
        return Job(**{**fields, "status": JobStatus(fields["status"]), "metadata": json.loads(fields["metadata"])})

    @_reached
    async def get(self, job_id: str) -> Job | None:
        """Return a job."""
        return await self._get(job_id)

    @_reached
    async def request(self, job_id: str) -> bytes | None:
        """Return the request of a job."""
        return await cast("Awaitable[bytes | None]", self._redis.hget(f"{PREFIX}job:{job_id}", "request"))

    async def media(self, job_id: str) -> AsyncIterator[bytes]:
        """Yield the media of a job in chunks."""
        number = 0
        while chunk := await self._media_chunk(job_id, number):
            yield chunk
            number += 1

    @_reached
    async def _media_chunk(self, job_id: str, number: int) -> bytes | None:
        return await cast("Awaitable[bytes | None]", self._redis.lindex(f"{PREFIX}media:{job_id}", number))

    @_reached
    async def chunks(self, job_id: str) -> list[bytes]:
        """Return the chunks of masks."""
        return await cast("Awaitable[list[bytes]]", self._redis.lrange(f"{PREFIX}masks:{job_id}", 0, -1))

    @_reached
    async def claim(self, owner: str, models: Sequence[str]) -> Job | None:
        """Take the oldest queued job of these models, of the API key whose turn it is."""
        job_id = await self._run(scripts.CLAIM, owner, self.lease_s, *models)
        return await self._get(job_id.decode()) if job_id else None

    @_reached
    async def begin(self, job_id: str, owner: str) -> bool:
        """Tell that the model has taken a claimed job up."""
        return bool(await self._run(scripts.BEGIN, job_id, owner, self.lease_s))

    @_reached
    async def renew(self, job_id: str, owner: str) -> bool:
        """Renew the lease."""
        return bool(await self._run(scripts.PROGRESS, job_id, owner, self.lease_s, "", "", ""))

    @_reached
    async def progress(
        self, job_id: str, owner: str, frames_done: int, frames_total: int | None, chunk: bytes | None
    ) -> bool:
        """Tell how far a running job is, add a chunk of masks, and renew the lease."""
        total = "" if frames_total is None else frames_total
        return bool(await self._run(scripts.PROGRESS, job_id, owner, self.lease_s, frames_done, total, chunk or ""))

    def _ending(self, ending: Ending) -> tuple[str, str, str | int, str]:
        error_status = "" if ending.error_status is None else ending.error_status
        return ending.status, ending.detail or "", error_status, json.dumps(ending.metadata)

    @_reached
    async def finish(self, job_id: str, owner: str, ending: Ending) -> bool:
        """End a job."""
        return bool(await self._run(scripts.FINISH, job_id, owner, self.ttl_s, *self._ending(ending)))

    @_reached
    async def release(self, job_id: str, owner: str, *, delay_s: float = 0.0, forgive: bool = False) -> bool:
        """Put a job back into the queue."""
        return bool(await self._run(scripts.RELEASE, job_id, owner, delay_s, int(forgive)))

    @_reached
    async def cancel(self, job_id: str) -> bool:
        """End an unfinished job as canceled."""
        return bool(await self._run(scripts.CANCEL, job_id, self.ttl_s, *self._ending(CANCELED)))

    @_reached
    async def sweep(self) -> None:
        """Remove expired jobs, end those that have waited too long, and take those back whose lease has run out."""
        await self._run(
            scripts.SWEEP,
            self.ttl_s, self.queue_s, MAX_ATTEMPTS, *self._ending(LOST), *self._ending(NOT_TAKEN_UP),
        )  # fmt: skip

    @_reached
    async def counts(self) -> dict[str, int]:
        """Return the number of jobs in each state."""
        return {status: await self._redis.zcard(f"{PREFIX}status:{status}") for status in JobStatus}

    async def events(self) -> AsyncGenerator[str]:
        """Yield what other gateways tell; events of a time without connection are lost, and polling makes up."""
        while True:
            pubsub: PubSub = self._redis.pubsub(ignore_subscribe_messages=True)
            try:
                await pubsub.subscribe(f"{PREFIX}events")
                while True:
                    message = await pubsub.get_message(timeout=10.0)
                    if message is not None:
                        yield message["data"].decode()
            except (RedisError, OSError, TimeoutError):
                await asyncio.sleep(_RECONNECT_S)
            finally:
                with contextlib.suppress(RedisError, OSError):
                    await pubsub.aclose()  # type: ignore[no-untyped-call]  # redis-py has no annotation there
