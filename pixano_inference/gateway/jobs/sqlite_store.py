"""Jobs in SQLite, for one gateway: nothing to install, and they survive its restart."""

# ruff: noqa: S608  # statements are put together from this module's own constants, never from values

from __future__ import annotations

import asyncio
import fcntl
import functools
import json
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import aiosqlite

from pixano_inference.errors import ConfigError

from .job import CANCELED, LEASE_S, LOST, MAX_ATTEMPTS, NOT_TAKEN_UP, QUEUE_S, Ending, Job, JobStatus
from .spool import CHUNK_BYTES
from .store import JobStore, Quota, StoreUnavailable

P = ParamSpec("P")
R = TypeVar("R")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    job_id TEXT PRIMARY KEY, key_id TEXT NOT NULL, model TEXT NOT NULL, media_bytes INTEGER NOT NULL,
    status TEXT NOT NULL, detail TEXT, error_status INTEGER, attempts INTEGER NOT NULL DEFAULT 0,
    frames_done INTEGER NOT NULL DEFAULT 0, frames_total INTEGER,
    created REAL NOT NULL, started REAL, finished REAL, metadata TEXT NOT NULL DEFAULT '{}',
    request BLOB, owner TEXT, lease REAL, not_before REAL NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS jobs_by_status ON jobs (status, created);
CREATE TABLE IF NOT EXISTS masks (
    job_id TEXT NOT NULL REFERENCES jobs ON DELETE CASCADE, number INTEGER NOT NULL, chunk BLOB NOT NULL,
    PRIMARY KEY (job_id, number)
) STRICT, WITHOUT ROWID;
"""
_VERSION = 1
_COLUMNS = (
    "job_id, key_id, model, media_bytes, status, detail, error_status, attempts, frames_done, frames_total, "
    "created, started, finished, metadata"
)
_UNFINISHED = "status IN ('queued', 'running')"
_MINE = f"job_id = :job_id AND owner = :owner AND {_UNFINISHED}"
_BACK = "status = 'queued', owner = NULL, lease = NULL, started = NULL, frames_done = 0, frames_total = NULL"
_LOCK_WAIT_S = 10.0


def _guarded(
    method: Callable[Concatenate[SQLiteJobStore, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[SQLiteJobStore, P], Coroutine[Any, Any, R]]:
    @functools.wraps(method)
    async def call(self: SQLiteJobStore, /, *args: P.args, **kwargs: P.kwargs) -> R:
        async with self._lock:
            try:
                return await method(self, *args, **kwargs)
            except (sqlite3.Error, OSError) as error:
                await self._rollback()
                raise StoreUnavailable(
                    f"the store of jobs cannot be used: {type(error).__name__}", retry_after_s=5
                ) from error
            except BaseException:  # cancellation, too, must end the transaction
                await self._rollback()
                raise

    return call


class SQLiteJobStore(JobStore):
    """Jobs and masks in ``jobs.sqlite``, media as files in ``media``.

    Args:
        folder: Where both are; one gateway at a time uses it.
        ttl_s: Seconds that a finished job is kept.
        queue_s: Seconds that a job may wait.
        lease_s: Seconds after which a lease that was not renewed has run out.
        clock: The time in seconds since the epoch.
    """

    def __init__(
        self,
        folder: Path,
        *,
        ttl_s: float,
        queue_s: float = QUEUE_S,
        lease_s: float = LEASE_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(ttl_s=ttl_s, queue_s=queue_s, lease_s=lease_s)
        self._folder = folder
        self._media = folder / "media"
        self._clock = clock
        self._lock = asyncio.Lock()
        self._claim_on_folder: int | None = None
        self._connection: aiosqlite.Connection | None = None
        self._turns: dict[str, int] = {}  # of API keys: whose number is lowest, or missing, comes next

    async def open(self) -> None:
        """Connect, and take up what an earlier gateway has left.

        Raises:
            ConfigError: Another gateway uses the folder, or it cannot be used.
        """
        try:
            self._media.mkdir(parents=True, exist_ok=True)
            await self._claim_folder()
            self._connection = await aiosqlite.connect(self._folder / "jobs.sqlite", isolation_level=None)
            self._db.row_factory = sqlite3.Row
            await self._db.execute("PRAGMA journal_mode = WAL")
            await self._db.execute("PRAGMA synchronous = NORMAL")
            await self._db.execute("PRAGMA foreign_keys = ON")
            await self._check_version()
            await self._db.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            await self.close()
            raise ConfigError(f"the folder of jobs {self._folder} cannot be used: {error}") from error
        except ConfigError:
            await self.close()
            raise
        # nobody else can hold a job of this folder now
        await self._expire_leases(1e300)
        await self._remove_orphans()

    async def _claim_folder(self) -> None:
        descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        give_up = time.monotonic() + _LOCK_WAIT_S  # a gateway that is being replaced may still be ending
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > give_up:
                    os.close(descriptor)
                    raise ConfigError(
                        f"another gateway uses the folder of jobs {self._folder}: give each its own PIXANO_DATA_DIR, "
                        "or share a Redis with PIXANO_JOBS_URL"
                    ) from None
                await asyncio.sleep(0.1)
            else:
                self._claim_on_folder = descriptor
                return

    async def _check_version(self) -> None:
        (version,) = await self._row("PRAGMA user_version") or (0,)
        if version not in (0, _VERSION):
            raise ConfigError(f"the jobs in {self._folder} were kept by another version of this server ({version})")
        await self._db.execute(f"PRAGMA user_version = {_VERSION}")

    async def close(self) -> None:
        """Disconnect; jobs stay."""
        async with self._lock:
            if self._connection is not None:
                await self._connection.close()
            if self._claim_on_folder is not None:
                os.close(self._claim_on_folder)
            self._connection, self._claim_on_folder = None, None

    @property
    def _db(self) -> aiosqlite.Connection:
        if self._connection is None:
            raise StoreUnavailable("the store of jobs is closed")
        return self._connection

    async def _row(self, sql: str, parameters: Any = ()) -> sqlite3.Row | None:
        async with self._db.execute(sql, parameters) as cursor:
            return await cursor.fetchone()

    async def _rollback(self) -> None:
        try:
            if self._db.in_transaction:
                await self._db.rollback()
        except (sqlite3.Error, ValueError, StoreUnavailable):  # the connection is closed: so is its transaction
            pass

    async def _change(self, sql: str, **parameters: Any) -> bool:
        async with self._db.execute(sql, parameters) as cursor:
            return cursor.rowcount > 0

    def _file(self, job_id: str) -> Path:
        return self._media / job_id

    @_guarded
    async def add(self, job: Job, request: bytes, media: Path, quota: Quota) -> Job:
        """Put a job into the queue; the media file is moved."""
        now = self._clock()
        await self._db.execute("BEGIN IMMEDIATE")
        quota.check(*await self._usage(job.key_id), new_bytes=job.media_bytes)
        await self._db.execute(
            "INSERT INTO jobs (job_id, key_id, model, media_bytes, status, created, request) "
            "VALUES (?, ?, ?, ?, 'queued', ?, ?)",
            (job.job_id, job.key_id, job.model, job.media_bytes, now, request),
        )
        await asyncio.to_thread(media.rename, self._file(job.job_id))
        await self._db.commit()
        return _job(await self._row(f"SELECT {_COLUMNS} FROM jobs WHERE job_id = ?", (job.job_id,)))

    async def _usage(self, key_id: str) -> tuple[int, int]:
        row = await self._row(
            f"SELECT COALESCE(SUM(key_id = ?), 0), COALESCE(SUM(media_bytes), 0) FROM jobs WHERE {_UNFINISHED}",
            (key_id,),
        )
        return (row[0], row[1]) if row is not None else (0, 0)

    @_guarded
    async def usage(self, key_id: str) -> tuple[int, int]:
        """Return the number of unfinished jobs of a key, and the bytes of media of all unfinished jobs."""
        return await self._usage(key_id)

    @_guarded
    async def get(self, job_id: str) -> Job | None:
        """Return a job."""
        row = await self._row(f"SELECT {_COLUMNS} FROM jobs WHERE job_id = ?", (job_id,))
        return _job(row) if row is not None else None

    @_guarded
    async def request(self, job_id: str) -> bytes | None:
        """Return the request of a job."""
        row = await self._row("SELECT request FROM jobs WHERE job_id = ?", (job_id,))
        return row[0] if row is not None else None

    async def media(self, job_id: str) -> AsyncIterator[bytes]:
        """Yield the media of a job in chunks."""
        try:
            file = await asyncio.to_thread(self._file(job_id).open, "rb")
        except OSError as error:
            raise StoreUnavailable("the media of the job cannot be read") from error
        with file:
            while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
                yield chunk

    @_guarded
    async def chunks(self, job_id: str) -> list[bytes]:
        """Return the chunks of masks."""
        rows = await self._db.execute_fetchall("SELECT chunk FROM masks WHERE job_id = ? ORDER BY number", (job_id,))
        return [row[0] for row in rows]

    @_guarded
    async def claim(self, owner: str, models: Sequence[str]) -> Job | None:
        """Take the oldest queued job of these models, of the API key whose turn it is."""
        now = self._clock()
        row = await self._row(
            "UPDATE jobs SET owner = ?, lease = ? WHERE job_id = (SELECT job_id FROM jobs WHERE status = 'queued' "
            "AND owner IS NULL AND not_before <= ? AND model IN (SELECT value FROM json_each(?)) "
            "ORDER BY COALESCE((SELECT value FROM json_each(?) WHERE key = key_id), 0), created, rowid LIMIT 1) "
            f"RETURNING {_COLUMNS}",
            (owner, now + self.lease_s, now, json.dumps(list(models)), json.dumps(self._turns)),
        )
        if row is None:
            return None
        job = _job(row)
        self._turns[job.key_id] = max(self._turns.values(), default=0) + 1
        return job

    @_guarded
    async def begin(self, job_id: str, owner: str) -> bool:
        """Tell that the model has taken a claimed job up."""
        now = self._clock()
        return await self._change(
            "UPDATE jobs SET status = 'running', started = :now, attempts = attempts + 1, lease = :lease "
            f"WHERE {_MINE}",
            job_id=job_id, owner=owner, now=now, lease=now + self.lease_s,
        )  # fmt: skip

    @_guarded
    async def renew(self, job_id: str, owner: str) -> bool:
        """Renew the lease."""
        return await self._change(
            f"UPDATE jobs SET lease = :lease WHERE {_MINE}",
            job_id=job_id, owner=owner, lease=self._clock() + self.lease_s,
        )  # fmt: skip

    @_guarded
    async def progress(
        self, job_id: str, owner: str, frames_done: int, frames_total: int | None, chunk: bytes | None
    ) -> bool:
        """Tell how far a running job is, add a chunk of masks, and renew the lease."""
        await self._db.execute("BEGIN IMMEDIATE")
        mine = await self._change(
            f"UPDATE jobs SET frames_done = :done, frames_total = :total, lease = :lease WHERE {_MINE}",
            job_id=job_id, owner=owner, done=frames_done, total=frames_total, lease=self._clock() + self.lease_s,
        )  # fmt: skip
        if mine and chunk is not None:
            await self._db.execute(
                "INSERT INTO masks SELECT ?, COALESCE(MAX(number), 0) + 1, ? FROM masks WHERE job_id = ?",
                (job_id, chunk, job_id),
            )
        await self._db.commit()
        return mine

    async def _end(self, condition: str, ending: Ending, **parameters: Any) -> bool:
        await self._db.execute("BEGIN IMMEDIATE")
        ids = [
            row[0]
            for row in await self._db.execute_fetchall(
                "UPDATE jobs SET status = :status, detail = :detail, error_status = :error_status, "
                "metadata = :metadata, finished = :now, owner = NULL, lease = NULL, request = NULL, media_bytes = 0 "
                f"WHERE {condition} RETURNING job_id",
                {
                    **parameters,
                    "status": ending.status,
                    "detail": ending.detail,
                    "error_status": ending.error_status,
                    "metadata": json.dumps(ending.metadata),
                    "now": self._clock(),
                },
            )
        ]
        if ending.status is not JobStatus.COMPLETED:
            await self._db.executemany("DELETE FROM masks WHERE job_id = ?", [(job_id,) for job_id in ids])
        await self._db.commit()
        for job_id in ids:
            self._file(job_id).unlink(missing_ok=True)
        return bool(ids)

    @_guarded
    async def finish(self, job_id: str, owner: str, ending: Ending) -> bool:
        """End a job."""
        return await self._end(_MINE, ending, job_id=job_id, owner=owner)

    @_guarded
    async def release(self, job_id: str, owner: str, *, delay_s: float = 0.0, forgive: bool = False) -> bool:
        """Put a job back into the queue."""
        await self._db.execute("BEGIN IMMEDIATE")
        mine = await self._change(
            f"UPDATE jobs SET {_BACK}, not_before = :not_before, "
            "attempts = attempts - (:forgive AND status = 'running') "
            f"WHERE {_MINE}",
            job_id=job_id, owner=owner, not_before=self._clock() + delay_s, forgive=forgive,
        )  # fmt: skip
        if mine:
            await self._db.execute("DELETE FROM masks WHERE job_id = ?", (job_id,))
        await self._db.commit()
        return mine

    @_guarded
    async def cancel(self, job_id: str) -> bool:
        """End an unfinished job as canceled."""
        return await self._end(f"job_id = :job_id AND {_UNFINISHED}", CANCELED, job_id=job_id)

    @_guarded
    async def _expire_leases(self, now: float) -> None:
        lost = f"owner IS NOT NULL AND lease < :before AND {_UNFINISHED}"
        if await self._row(f"SELECT 1 FROM jobs WHERE {lost} LIMIT 1", {"before": now}) is None:
            return
        await self._end(f"{lost} AND attempts >= :most AND status = 'running'", LOST, before=now, most=MAX_ATTEMPTS)
        await self._db.execute("BEGIN IMMEDIATE")
        await self._change(f"DELETE FROM masks WHERE job_id IN (SELECT job_id FROM jobs WHERE {lost})", before=now)
        await self._change(f"UPDATE jobs SET {_BACK} WHERE {lost}", before=now)
        await self._db.commit()

    async def sweep(self) -> None:
        """Remove expired jobs; a lease can only run out when this process stood still."""
        now = self._clock()
        await self._expire_leases(now)
        await self._expire_queue(now - self.queue_s)
        await self._remove_expired(now - self.ttl_s)

    @_guarded
    async def _expire_queue(self, before: float) -> None:
        waiting = "status = 'queued' AND owner IS NULL AND created < :before"
        if await self._row(f"SELECT 1 FROM jobs WHERE {waiting} LIMIT 1", {"before": before}) is not None:
            await self._end(waiting, NOT_TAKEN_UP, before=before)

    @_guarded
    async def _remove_expired(self, before: float) -> None:
        await self._change("DELETE FROM jobs WHERE finished IS NOT NULL AND finished < :before", before=before)

    @_guarded
    async def _remove_orphans(self) -> None:
        rows = await self._db.execute_fetchall(f"SELECT job_id FROM jobs WHERE {_UNFINISHED}")
        known = {row[0] for row in rows}
        for file in self._media.iterdir():
            if file.name not in known:
                file.unlink(missing_ok=True)

    @_guarded
    async def counts(self) -> dict[str, int]:
        """Return the number of jobs in each state."""
        rows = await self._db.execute_fetchall("SELECT status, COUNT(*) FROM jobs GROUP BY status")
        return dict.fromkeys(JobStatus, 0) | {row[0]: row[1] for row in rows}


def _job(row: sqlite3.Row | None) -> Job:
    if row is None:
        raise StoreUnavailable("the job is gone")
    fields = dict(row)
    return Job(**{**fields, "status": JobStatus(fields["status"]), "metadata": json.loads(fields["metadata"])})
