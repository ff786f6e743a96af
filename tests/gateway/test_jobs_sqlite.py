"""What the SQLite store promises beyond the others: it is a folder that outlives the gateway."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from pixano_inference.errors import ConfigError
from pixano_inference.gateway.jobs import sqlite_store
from pixano_inference.gateway.jobs.job import Job, JobStatus
from pixano_inference.gateway.jobs.sqlite_store import SQLiteJobStore
from pixano_inference.gateway.jobs.store import Quota, StoreUnavailable

PLENTY = Quota(jobs_per_key=100, media_bytes=1 << 30)


async def opened(folder: Path) -> SQLiteJobStore:
    store = SQLiteJobStore(folder, ttl_s=100)
    await store.open()
    return store


async def add(store: SQLiteJobStore, folder: Path, job_id: str) -> None:
    (folder / "part").write_bytes(b"media")
    await store.add(Job(job_id, "a", "sam2", media_bytes=5), b"request", folder / "part", PLENTY)


async def test_jobs_outlive_the_gateway(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    await add(store, tmp_path, "waiting")
    await add(store, tmp_path, "working")
    # a gateway that is killed leaves its claim and its lease behind
    for _ in range(2):
        job = await store.claim("killed", ["sam2"])
        assert job is not None
        if job.job_id == "working":
            await store.begin("working", "killed")
            await store.progress("working", "killed", 3, 9, b"chunk")
    await store.close()

    store = await opened(tmp_path)
    working = await store.get("working")
    assert working is not None
    assert (working.status, working.frames_done, working.attempts) == (JobStatus.QUEUED, 0, 1)
    claims = [await store.claim("new", ["sam2"]) for _ in range(2)]
    assert [job.job_id for job in claims if job] == ["waiting", "working"]
    assert b"".join([chunk async for chunk in store.media("working")]) == b"media"
    await store.close()


async def test_media_are_removed_with_the_job_and_orphans_at_the_start(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    await add(store, tmp_path, "one")
    assert (tmp_path / "media" / "one").exists()
    await store.cancel("one")
    assert not (tmp_path / "media" / "one").exists()
    await store.close()
    (tmp_path / "media" / "orphan").write_bytes(b"left by a crash")
    await (await opened(tmp_path)).close()
    assert not (tmp_path / "media" / "orphan").exists()


async def test_a_folder_has_one_gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_store, "_LOCK_WAIT_S", 0.05)
    store = await opened(tmp_path)
    with pytest.raises(ConfigError, match="PIXANO_JOBS_URL"):
        await opened(tmp_path)
    await store.close()
    await (await opened(tmp_path)).close()


async def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="file/data cannot be used"):
        await opened(tmp_path / "file" / "data")


async def test_jobs_of_another_version_are_refused(tmp_path: Path) -> None:
    await (await opened(tmp_path)).close()
    with sqlite3.connect(tmp_path / "jobs.sqlite") as database:
        database.execute("PRAGMA user_version = 999")
    database.close()
    with pytest.raises(ConfigError, match="another version"):
        await opened(tmp_path)


async def test_missing_media_are_an_error_of_the_store(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    with pytest.raises(StoreUnavailable, match="media"):
        [chunk async for chunk in store.media("nothing")]
    await store.close()
