"""What every store of jobs promises, held to SQLite and to a real Redis."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pixano_inference.gateway.jobs.job import CANCELED, Ending, Job, JobStatus
from pixano_inference.gateway.jobs.sqlite_store import SQLiteJobStore
from pixano_inference.gateway.jobs.store import JobStore, Quota, QuotaExceeded
from tests.redis_server import redis_server

DONE = Ending(JobStatus.COMPLETED, metadata={"device": "cpu"})
BROKEN = Ending(JobStatus.FAILED, "it broke", 500)
PLENTY = Quota(jobs_per_key=100, media_bytes=1 << 30)

Submit = Callable[..., Awaitable[Job]]


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


async def make_store(kind: str, folder: Path, request: pytest.FixtureRequest, **options: Any) -> JobStore:
    options = {"ttl_s": 100.0, **options}
    if kind == "sqlite":
        return SQLiteJobStore(folder / "data", **options)
    from pixano_inference.gateway.jobs.redis_store import RedisJobStore

    return RedisJobStore(request.getfixturevalue("redis_url"), **options)


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.system)])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[JobStore]:
    options = {"ttl_s": 0.2, "lease_s": 0.2, "queue_s": 0.2} if "forgetful" in request.fixturenames else {}
    store = await make_store(request.param, tmp_path, request, **options)
    await store.open()
    if request.param == "redis":
        await store._redis.flushall()  # type: ignore[attr-defined]  # the Redis is this module's own
    yield store
    await store.close()


@pytest.fixture
def forgetful() -> None:
    """Makes leases, waiting and finished jobs of the store last for 0.2 s."""


@pytest.fixture
def submit(store: JobStore, tmp_path: Path) -> Submit:
    async def submit(
        *, model: str = "sam2", key_id: str = "a", media: bytes = b"media", quota: Quota = PLENTY, request: bytes = b"r"
    ) -> Job:
        file = tmp_path / f"{uuid.uuid4().hex}.part"
        file.write_bytes(media)
        job = Job(uuid.uuid4().hex, key_id, model, media_bytes=len(media))
        return await store.add(job, request, file, quota)

    return submit


async def found(store: JobStore, job: Job) -> Job:
    again = await store.get(job.job_id)
    assert again is not None
    return again


async def media(store: JobStore, job: Job) -> bytes:
    return b"".join([chunk async for chunk in store.media(job.job_id)])


async def test_a_job_goes_from_the_queue_to_its_end(store: JobStore, submit: Submit) -> None:
    big = bytes(range(256)) * 10_000
    job = await submit(media=big, request=b"request")
    assert job.status is JobStatus.QUEUED
    assert job.created > 0
    claimed = await store.claim("me", ["sam2"])
    assert claimed is not None
    assert claimed.job_id == job.job_id
    assert claimed.status is JobStatus.QUEUED
    assert await store.request(job.job_id) == b"request"
    assert await media(store, job) == big
    assert await store.begin(job.job_id, "me")
    assert await store.progress(job.job_id, "me", 1, 3, b"one")
    running = await found(store, job)
    assert (running.status, running.frames_done, running.frames_total) == (JobStatus.RUNNING, 1, 3)
    assert running.attempts == 1
    assert await store.progress(job.job_id, "me", 3, 3, b"two")
    assert await store.finish(job.job_id, "me", DONE)
    done = await found(store, job)
    assert done.status is JobStatus.COMPLETED
    assert done.metadata == {"device": "cpu"}
    assert done.started is not None
    assert done.finished is not None
    assert done.created <= done.started <= done.finished
    assert await store.chunks(job.job_id) == [b"one", b"two"]
    assert await store.request(job.job_id) is None


async def test_an_unknown_job_is_none(store: JobStore) -> None:
    assert await store.get("nothing") is None
    assert await store.cancel("nothing") is False


async def test_the_oldest_job_of_the_models_asked_for_comes_first(store: JobStore, submit: Submit) -> None:
    other = await submit(model="other")
    first = await submit()
    second = await submit()
    claims = [await store.claim("me", ["sam2"]) for _ in range(3)]
    assert [claim.job_id if claim else None for claim in claims] == [first.job_id, second.job_id, None]
    last = await store.claim("me", ["sam2", "other"])
    assert last is not None
    assert last.job_id == other.job_id


async def test_keys_take_turns(store: JobStore, submit: Submit) -> None:
    many = [await submit(key_id="a") for _ in range(4)]
    few = [await submit(key_id="b") for _ in range(2)]
    claims = [await store.claim("me", ["sam2"]) for _ in range(6)]
    expected = [many[0], few[0], many[1], few[1], many[2], many[3]]
    assert [claim and claim.job_id for claim in claims] == [job.job_id for job in expected]


async def test_a_job_is_claimed_once_however_many_ask(store: JobStore, submit: Submit) -> None:
    jobs = {(await submit()).job_id for _ in range(10)}
    claims = await asyncio.gather(*(store.claim(f"owner {number}", ["sam2"]) for number in range(30)))
    claimed = [claim.job_id for claim in claims if claim is not None]
    assert len(claimed) == 10
    assert set(claimed) == jobs


async def test_only_its_owner_changes_a_job(store: JobStore, submit: Submit) -> None:
    job = await submit()
    await store.claim("me", ["sam2"])
    assert not await store.begin(job.job_id, "you")
    assert not await store.renew(job.job_id, "you")
    assert not await store.progress(job.job_id, "you", 9, 9, b"wrong")
    assert not await store.finish(job.job_id, "you", DONE)
    assert not await store.release(job.job_id, "you")
    assert (await found(store, job)).status is JobStatus.QUEUED
    assert await store.chunks(job.job_id) == []
    assert await store.renew(job.job_id, "me")


async def test_a_canceled_job_is_not_its_owners_any_more(store: JobStore, submit: Submit) -> None:
    job = await submit()
    await store.claim("me", ["sam2"])
    await store.begin(job.job_id, "me")
    await store.progress(job.job_id, "me", 1, 2, b"one")
    assert await store.cancel(job.job_id)
    assert not await store.progress(job.job_id, "me", 2, 2, b"two")
    assert not await store.finish(job.job_id, "me", DONE)
    canceled = await found(store, job)
    assert (canceled.status, canceled.detail) == (CANCELED.status, CANCELED.detail)
    assert await store.chunks(job.job_id) == []
    assert not await store.cancel(job.job_id), "it is canceled already"


async def test_a_queued_job_that_is_canceled_is_never_claimed(store: JobStore, submit: Submit) -> None:
    job = await submit()
    assert await store.cancel(job.job_id)
    assert await store.claim("me", ["sam2"]) is None


async def test_a_failed_job_says_why(store: JobStore, submit: Submit) -> None:
    job = await submit()
    await store.claim("me", ["sam2"])
    assert await store.finish(job.job_id, "me", BROKEN)
    failed = await found(store, job)
    assert (failed.status, failed.detail, failed.error_status) == (JobStatus.FAILED, "it broke", 500)
    assert failed.processing_time(1e12) == 0.0, "it was never begun"


async def test_a_released_job_starts_over(store: JobStore, submit: Submit) -> None:
    job = await submit(media=b"still here")
    await store.claim("me", ["sam2"])
    await store.begin(job.job_id, "me")
    await store.progress(job.job_id, "me", 1, 2, b"one")
    assert await store.release(job.job_id, "me")
    again = await store.claim("you", ["sam2"])
    assert again is not None
    assert (again.job_id, again.frames_done, again.attempts, again.started) == (job.job_id, 0, 1, None)
    assert await store.chunks(job.job_id) == []
    assert await media(store, job) == b"still here"


async def test_a_forgiven_attempt_does_not_count(store: JobStore, submit: Submit) -> None:
    job = await submit()
    await store.claim("me", ["sam2"])
    await store.release(job.job_id, "me", forgive=True)
    assert (await found(store, job)).attempts == 0, "it had not been begun"
    await store.claim("me", ["sam2"])
    await store.begin(job.job_id, "me")
    await store.release(job.job_id, "me", forgive=True)
    assert (await found(store, job)).attempts == 0


async def test_a_job_released_for_later_waits(store: JobStore, submit: Submit) -> None:
    job = await submit()
    await store.claim("me", ["sam2"])
    await store.release(job.job_id, "me", delay_s=0.2)
    assert await store.claim("me", ["sam2"]) is None
    behind = await submit()
    claimed = await store.claim("me", ["sam2"])
    assert claimed is not None
    assert claimed.job_id == behind.job_id, "a waiting job does not hold up the others"
    await asyncio.sleep(0.25)
    assert (await store.claim("me", ["sam2"])) is not None


async def test_quotas_are_per_key_and_for_all_media(store: JobStore, submit: Submit) -> None:
    two = Quota(jobs_per_key=2, media_bytes=1 << 20)
    first = await submit(quota=two)
    await submit(quota=two)
    with pytest.raises(QuotaExceeded, match="allowed are 2") as refused:
        await submit(quota=two)
    assert refused.value.status == 429
    assert await store.usage("a") == (2, 10)
    await submit(key_id="b", quota=two)
    await store.cancel(first.job_id)
    assert await store.usage("a") == (1, 10)
    await submit(quota=two)
    with pytest.raises(QuotaExceeded, match="full"):
        await submit(key_id="c", media=b"x" * 100, quota=Quota(10, 100))
    assert await store.usage("c") == (0, 15)


async def test_a_refused_job_leaves_nothing_behind(store: JobStore, submit: Submit) -> None:
    with pytest.raises(QuotaExceeded):
        await submit(quota=Quota(0, 1 << 20))
    assert await store.claim("me", ["sam2"]) is None
    assert sum((await store.counts()).values()) == 0


async def test_counts_follow_the_states(store: JobStore, submit: Submit) -> None:
    for _ in range(4):
        await submit()
    claimed = [await store.claim("me", ["sam2"]) for _ in range(3)]
    ids = [job.job_id for job in claimed if job is not None]
    for job_id in ids:
        await store.begin(job_id, "me")
    await store.finish(ids[0], "me", DONE)
    await store.finish(ids[1], "me", BROKEN)
    assert await store.counts() == {"queued": 1, "running": 1, "completed": 1, "failed": 1, "canceled": 0}


@pytest.mark.usefixtures("forgetful")
async def test_a_lease_that_runs_out_gives_the_job_to_another(store: JobStore, submit: Submit) -> None:
    store.queue_s = 100.0
    job = await submit()
    await store.claim("dead", ["sam2"])
    await store.begin(job.job_id, "dead")
    await store.sweep()
    assert (await found(store, job)).status is JobStatus.RUNNING, "the lease is still good"
    await asyncio.sleep(0.25)
    await store.sweep()
    again = await store.claim("alive", ["sam2"])
    assert again is not None
    assert again.job_id == job.job_id
    assert not await store.progress(job.job_id, "dead", 5, 5, b"late")
    assert await store.begin(job.job_id, "alive")
    assert (await found(store, job)).attempts == 2


@pytest.mark.usefixtures("forgetful")
async def test_a_renewed_lease_does_not_run_out(store: JobStore, submit: Submit) -> None:
    store.queue_s = 100.0
    job = await submit()
    await store.claim("me", ["sam2"])
    await store.begin(job.job_id, "me")
    for _ in range(4):
        await asyncio.sleep(0.08)
        assert await store.renew(job.job_id, "me")
        await store.sweep()
    assert (await found(store, job)).status is JobStatus.RUNNING


@pytest.mark.usefixtures("forgetful")
async def test_a_job_whose_owners_die_twice_fails(store: JobStore, submit: Submit) -> None:
    store.queue_s = 100.0
    store.ttl_s = 100.0
    job = await submit()
    for owner in ("first", "second"):
        assert await store.claim(owner, ["sam2"])
        await store.begin(job.job_id, owner)
        await asyncio.sleep(0.25)
        await store.sweep()
    failed = await found(store, job)
    assert failed.status is JobStatus.FAILED
    assert failed.detail is not None
    assert "not tried again" in failed.detail


@pytest.mark.usefixtures("forgetful")
async def test_a_job_that_nobody_takes_up_fails(store: JobStore, submit: Submit) -> None:
    store.ttl_s = 100.0
    job = await submit(model="gone")
    await store.sweep()
    assert (await found(store, job)).status is JobStatus.QUEUED
    await asyncio.sleep(0.25)
    await store.sweep()
    assert (await found(store, job)).status is JobStatus.FAILED
    assert await store.claim("me", ["gone"]) is None


@pytest.mark.usefixtures("forgetful")
async def test_finished_jobs_expire(store: JobStore, submit: Submit) -> None:
    job = await submit()
    await store.claim("me", ["sam2"])
    await store.begin(job.job_id, "me")
    await store.progress(job.job_id, "me", 1, 1, b"one")
    await store.finish(job.job_id, "me", DONE)
    await store.sweep()
    assert await store.get(job.job_id) is not None
    await asyncio.sleep(0.25)
    await store.sweep()
    assert await store.get(job.job_id) is None
    assert await store.chunks(job.job_id) == []
    assert sum((await store.counts()).values()) == 0
