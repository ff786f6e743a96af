"""What a job is, wherever it is kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

MAX_ATTEMPTS = 2
"""How often a job may be begun: it is run again once when its runner or its gateway dies."""

LEASE_S = 10.0
"""A gateway that has not been heard of for this long has lost its jobs to the others."""

QUEUE_S = 86400.0
"""How long a job may wait."""


class JobStatus(StrEnum):
    """The states of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def finished(self) -> bool:
        """Whether the job stays as it is until it expires."""
        return self not in (JobStatus.QUEUED, JobStatus.RUNNING)


@dataclass(frozen=True)
class Job:
    """A job without its media and its masks.

    Attributes:
        job_id: Its name in URLs.
        key_id: Who sent it; nobody else sees it.
        model: The model that works on it.
        media_bytes: Size of its media in the store.
        status: Its state.
        detail: What went wrong, for the caller.
        error_status: The HTTP status that the same error has in an answer.
        attempts: How often it has been begun.
        frames_done: Frames answered so far.
        frames_total: Frames to answer, as far as the model has told.
        created: When it was sent, in seconds since the epoch.
        started: When the model took it up.
        finished: When it ended.
        metadata: What the model tells about itself, once the job has completed.
    """

    job_id: str
    key_id: str
    model: str
    media_bytes: int = 0
    status: JobStatus = JobStatus.QUEUED
    detail: str | None = None
    error_status: int | None = None
    attempts: int = 0
    frames_done: int = 0
    frames_total: int | None = None
    created: float = 0.0
    started: float | None = None
    finished: float | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    def processing_time(self, now: float) -> float:
        """Return the seconds of work so far; time in the queue does not count."""
        if self.started is None:
            return 0.0
        return max(0.0, (now if self.finished is None else self.finished) - self.started)


@dataclass(frozen=True)
class Ending:
    """How a job ends.

    Attributes:
        status: A finished state.
        detail: What went wrong, for the caller.
        error_status: The HTTP status that the same error has in an answer.
        metadata: What the model tells about itself.
    """

    status: JobStatus
    detail: str | None = None
    error_status: int | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


CANCELED = Ending(JobStatus.CANCELED, "the job was canceled")
LOST = Ending(
    JobStatus.FAILED, f"the server ended {MAX_ATTEMPTS} times while it worked on this job; it is not tried again", 500
)
"""For a job that has been begun as often as it may be when its lease runs out."""

NOT_TAKEN_UP = Ending(JobStatus.FAILED, "no runner took the job up in time", 504)
"""For a job that has waited too long, for instance because its model is not served any more."""
