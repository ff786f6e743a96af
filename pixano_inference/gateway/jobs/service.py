"""Jobs as the routes see them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pixano_inference.configs.server_settings import ServerSettings
from pixano_inference.errors import ConfigError, NotFound
from pixano_inference.gateway.auth import Caller
from pixano_inference.gateway.runner_pool import RunnerPool

from .job import Job
from .masks import unpack_output
from .spool import Spool, pack_request
from .sqlite_store import SQLiteJobStore
from .store import JobStore, Quota
from .worker import JobWorker

logger = logging.getLogger(__name__)


class JobService:
    """Takes jobs in, shows them to who sent them, and cancels them.

    Args:
        settings: Where jobs are kept, for how long, and how many.
        pools: The runners of each model that takes jobs.

    Raises:
        ConfigError: The settings name a store that cannot be used.
    """

    def __init__(self, settings: ServerSettings, pools: Mapping[str, RunnerPool]) -> None:
        self._temporary: Path | None = None
        if settings.data_dir is None:
            self._temporary = Path(tempfile.mkdtemp(prefix="pixano-inference-jobs-"))
        self._folder = settings.data_dir or self._temporary or Path()
        self._spool = self._folder / "spool"
        self.store = make_store(settings, self._folder)
        self.quota = Quota(settings.max_jobs_per_key, int(settings.max_jobs_mb * 1024 * 1024))
        self._worker = JobWorker(self.store, pools, settings.job_timeout_s)

    async def start(self) -> None:
        """Open the store and begin to work.

        Raises:
            ConfigError: The store cannot be used.
        """
        await self.store.open()
        await asyncio.to_thread(self._empty_spool)
        await self._worker.start()

    def _empty_spool(self) -> None:
        try:
            self._spool.mkdir(parents=True, exist_ok=True)
            for file in self._spool.glob("*.part"):
                file.unlink(missing_ok=True)  # an upload that was cut off by the end of an earlier gateway
        except OSError as error:
            raise ConfigError(f"the folder of uploads {self._spool} cannot be used: {error}") from error

    async def close(self) -> None:
        """Put unfinished work back and close the store."""
        await self._worker.close()
        await self.store.close()
        if self._temporary is not None:
            await asyncio.to_thread(shutil.rmtree, self._temporary, ignore_errors=True)

    @contextlib.contextmanager
    def spool(self) -> Iterator[Spool]:
        """Open a file for the media of a new job."""
        with Spool(self._spool) as spool:
            yield spool

    async def check_quota(self, caller: Caller) -> None:
        """Refuse a job before its body is read.

        Raises:
            QuotaExceeded: The caller, or all callers together, have too much waiting.
            StoreUnavailable: The store cannot be reached.
        """
        self.quota.check(*await self.store.usage(caller.key_id), new_bytes=0)

    async def submit(
        self, caller: Caller, model: str, fields: dict[str, Any], spool: Spool, *, frames: int | None
    ) -> Job:
        """Put a job into the queue.

        Args:
            caller: Who sends it.
            model: The model that is to work on it.
            fields: The plain fields of the request, without the video.
            spool: Its media.
            frames: Number of frames, or null when the medium is one video.

        Raises:
            QuotaExceeded: The caller, or all callers together, have too much waiting.
            StoreUnavailable: The store cannot be reached.
        """
        job = Job(job_id=uuid.uuid4().hex, key_id=caller.key_id, model=model, media_bytes=spool.size)
        job = await self.store.add(job, pack_request(fields, frames), spool.close(), self.quota)
        logger.info("job %s: %s frames for model %s", job.job_id, frames if frames is not None else "a video of", model)
        self._worker.wake()
        return job

    async def find(self, caller: Caller, job_id: str) -> Job:
        """Return a job of this caller.

        Raises:
            NotFound: There is none of this id, or it is somebody else's.
            StoreUnavailable: The store cannot be reached.
        """
        job = await self.store.get(job_id) if len(job_id) <= 64 else None
        if job is None or job.key_id != caller.key_id:
            raise NotFound(f"Job '{job_id[:64]}' not found")
        return job

    async def output(self, job: Job) -> dict[str, Any]:
        """Return the masks of a completed job, as a plain :class:`~pixano_inference.schemas.TrackingOutput`."""
        chunks = await self.store.chunks(job.job_id)
        return await asyncio.to_thread(unpack_output, chunks)

    async def cancel(self, caller: Caller, job_id: str) -> Job:
        """End a job of this caller; a job that has finished stays as it is.

        When this gateway works on it, its connection to the runner is closed before this returns.

        Raises:
            NotFound: There is none of this id, or it is somebody else's.
            StoreUnavailable: The store cannot be reached.
        """
        await self.find(caller, job_id)
        if await self.store.cancel(job_id):
            await self._worker.stop(job_id)
        return await self.find(caller, job_id)


def make_store(settings: ServerSettings, folder: Path) -> JobStore:
    """Make the store that the settings ask for.

    Raises:
        ConfigError: Its URL is wrong, or its client is not installed.
    """
    if settings.jobs_url is None:
        return SQLiteJobStore(folder, ttl_s=settings.job_ttl_s, queue_s=settings.job_timeout_s)
    try:
        from .redis_store import RedisJobStore
    except ImportError:
        raise ConfigError("PIXANO_JOBS_URL needs: pip install 'pixano-inference[redis]'") from None
    return RedisJobStore(settings.jobs_url, ttl_s=settings.job_ttl_s, queue_s=settings.job_timeout_s)
