"""What a store of jobs does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pixano_inference.errors import Overloaded, Unavailable

from .job import Ending, Job


class StoreUnavailable(Unavailable):
    """The store of jobs cannot be reached."""


class QuotaExceeded(Overloaded):
    """The caller, or all callers together, have too much waiting."""


@dataclass(frozen=True)
class Quota:
    """What may wait in a store.

    Attributes:
        jobs_per_key: Most unfinished jobs of one API key.
        media_bytes: Most bytes of media of all unfinished jobs.
    """

    jobs_per_key: int
    media_bytes: int

    def check(self, unfinished: int, stored_bytes: int, new_bytes: int) -> None:
        """Let a job in, or not.

        Raises:
            QuotaExceeded: There is too much already.
        """
        if unfinished >= self.jobs_per_key:
            raise QuotaExceeded(
                f"{unfinished} jobs of this caller have not finished; allowed are {self.jobs_per_key}",
                retry_after_s=10,
                code="jobs",
            )
        if stored_bytes + new_bytes > self.media_bytes:
            raise QuotaExceeded("the store of jobs is full; try again once some have finished", retry_after_s=30)


class JobStore(ABC):
    """Keeps jobs, their media and their masks, and hands each job to one gateway at a time.

    A gateway is an ``owner``. It claims a queued job, renews the lease while it holds it, and finishes or releases
    it. Whatever an owner does to a job that is no longer its own has no effect, and the call says so.

    All methods raise :class:`StoreUnavailable` when the store cannot be reached.

    Args:
        ttl_s: Seconds that a finished job is kept.
        queue_s: Seconds that a job may wait.
        lease_s: Seconds after which a lease that was not renewed has run out.
    """

    def __init__(self, *, ttl_s: float, queue_s: float, lease_s: float) -> None:
        self.ttl_s = ttl_s
        self.queue_s = queue_s
        self.lease_s = lease_s

    @abstractmethod
    async def open(self) -> None:
        """Connect, and take up what earlier gateways have left."""

    @abstractmethod
    async def close(self) -> None:
        """Disconnect; jobs stay."""

    @abstractmethod
    async def add(self, job: Job, request: bytes, media: Path, quota: Quota) -> Job:
        """Put a job into the queue.

        Args:
            job: The job.
            request: What :func:`~pixano_inference.gateway.jobs.spool.pack_request` made.
            media: File of its media; the store moves or removes it.
            quota: Checked once more, together with the insertion.

        Returns:
            The job with its time.

        Raises:
            QuotaExceeded: There is too much already.
        """

    @abstractmethod
    async def usage(self, key_id: str) -> tuple[int, int]:
        """Return the number of unfinished jobs of a key, and the bytes of media of all unfinished jobs."""

    @abstractmethod
    async def get(self, job_id: str) -> Job | None:
        """Return a job."""

    @abstractmethod
    async def request(self, job_id: str) -> bytes | None:
        """Return what :meth:`add` was given as ``request``; null once the job has finished."""

    @abstractmethod
    def media(self, job_id: str) -> AsyncIterator[bytes]:
        """Yield the media of a job in chunks."""

    @abstractmethod
    async def chunks(self, job_id: str) -> list[bytes]:
        """Return the chunks of masks that :meth:`progress` was given."""

    @abstractmethod
    async def claim(self, owner: str, models: Sequence[str]) -> Job | None:
        """Take a queued job of these models under a lease; it stays ``queued`` until :meth:`begin`.

        API keys take turns: the next job is that of the key whose last one was taken longest ago, the oldest first.
        """

    @abstractmethod
    async def begin(self, job_id: str, owner: str) -> bool:
        """Tell that the model has taken a claimed job up."""

    @abstractmethod
    async def renew(self, job_id: str, owner: str) -> bool:
        """Renew the lease."""

    @abstractmethod
    async def progress(
        self, job_id: str, owner: str, frames_done: int, frames_total: int | None, chunk: bytes | None
    ) -> bool:
        """Tell how far a running job is, add a chunk of masks, and renew the lease."""

    @abstractmethod
    async def finish(self, job_id: str, owner: str, ending: Ending) -> bool:
        """End a job; its media are removed, and unless it has completed its masks too."""

    @abstractmethod
    async def release(self, job_id: str, owner: str, *, delay_s: float = 0.0, forgive: bool = False) -> bool:
        """Put a job back into the queue, its masks dropped.

        Args:
            job_id: The job.
            owner: Who holds it.
            delay_s: Seconds before it may be claimed again.
            forgive: Whether the attempt does not count, because nothing went wrong with the job.
        """

    @abstractmethod
    async def cancel(self, job_id: str) -> bool:
        """End an unfinished job as canceled, whoever holds it."""

    @abstractmethod
    async def sweep(self) -> None:
        """Remove expired jobs, end those that have waited too long, and take those back whose lease has run out.

        A job whose lease has run out goes back into the queue, or fails when it has been begun too often.
        """

    @abstractmethod
    async def counts(self) -> dict[str, int]:
        """Return the number of jobs in each state."""

    async def events(self) -> AsyncGenerator[str]:
        """Yield what other gateways tell: ``queued``, or ``canceled <job id>``. A store of one gateway has none."""
        return
        yield ""
