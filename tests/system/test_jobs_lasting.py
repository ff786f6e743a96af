"""Jobs outlive gateways, belong to who sent them, and are shared by gateways that share a Redis."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.redis_server import redis_server
from tests.servers import MODEL_SETS, Server

from .jobs_api import JOBS, areas, poll, submit, until
from .paced import Diary, tracking, wait_for

pytestmark = pytest.mark.system

CONFIG = MODEL_SETS / "paced_tracker.py"


def client(server: Server, key: str = "alpha") -> httpx.Client:
    return httpx.Client(base_url=server.url, timeout=30, headers={"X-API-Key": key})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lasting")


def with_keys(folder: Path) -> Server:
    environment = {
        "PACED_LOG": str(folder / "diary"),
        "PIXANO_DATA_DIR": str(folder / "data"),
        "PIXANO_API_KEYS": "alpha,beta",
        "PIXANO_MAX_JOBS_PER_KEY": "2",
    }
    return Server(CONFIG, folder / "log", environment=environment)


def test_jobs_of_one_sqlite_folder(folder: Path) -> None:
    with with_keys(folder) as server, client(server) as alpha, client(server, "beta") as beta:
        running, queued = submit(alpha, 100), submit(alpha, 3)
        until(alpha, running, "running")

        # a key sees its own jobs, and its quota is its own
        assert beta.get(JOBS + running["job_id"]).status_code == 404
        assert beta.delete(JOBS + running["job_id"]).status_code == 404
        refused = alpha.post(JOBS, json=tracking(1))
        assert refused.status_code == 429
        assert int(refused.headers["Retry-After"]) > 0
        assert httpx.post(server.url + JOBS, json=tracking(1)).status_code == 401
        others = submit(beta, 2)

        # the gateway is killed, and the next one goes on with what the first has left
        os.kill(server.gateway_pid(), signal.SIGKILL)
        done = until(alpha, running, "completed", "failed")
        assert done["status"] == "completed", done["detail"]
        assert done["metadata"]["attempts"] == 2
        assert areas(done["data"]) == list(range(1, 101))
        assert until(alpha, queued, "completed", "failed")["metadata"]["attempts"] == 1
        assert until(beta, others, "completed", "failed")["status"] == "completed"

        # the whole server is stopped in the middle of a job
        unfinished = submit(alpha, 60)
        until(alpha, unfinished, "running")
    with with_keys(folder) as server, client(server) as alpha:
        done = until(alpha, unfinished, "completed", "failed")
        assert done["status"] == "completed", done["detail"]
        assert done["metadata"]["attempts"] == 1, "a stop that was asked for is not the job's fault"
        assert areas(done["data"]) == list(range(1, 61))
        assert poll(alpha, running)["status"] == "completed", "finished jobs are kept, too"
        assert list((folder / "data" / "media").iterdir()) == []


@pytest.fixture(scope="module")
def gateways(folder: Path) -> Iterator[tuple[Server, Server]]:
    with ExitStack() as stack:
        redis_folder = folder / "redis"
        redis_folder.mkdir()
        url = stack.enter_context(redis_server(redis_folder))
        shared = {"PIXANO_RUNNER_SECRET": "shared", "PIXANO_JOBS_URL": url, "PACED_LOG": str(folder / "shared-diary")}
        runner = Server(CONFIG, folder / "runner", environment=shared, role=["role", "runner", "--model", "tracker"])
        stack.callback(runner.stop)
        servers = [
            Server(
                CONFIG,
                folder / f"gateway-{number}",
                environment={
                    **shared,
                    "PIXANO_RUNNERS": f"tracker={runner.url}",
                    "PIXANO_DATA_DIR": str(folder / f"spool-{number}"),
                },
                role=["role", "gateway"],
            )
            for number in range(2)
        ]
        for server in servers:
            stack.callback(server.stop)
        for server in servers:
            server.wait_until_ready()
        yield servers[0], servers[1]


def test_two_gateways_share_jobs_and_run_each_once(gateways: tuple[Server, Server], folder: Path) -> None:
    first, second = (client(server) for server in gateways)
    diary = Diary(folder / "shared-diary")
    with first, second:
        lengths = {submit(first, frames)["job_id"]: frames for frames in range(2, 12)}
        for job_id, frames in lengths.items():
            done = until(second, {"job_id": job_id}, "completed", "failed")
            assert done["status"] == "completed", done["detail"]
            assert done["metadata"]["attempts"] == 1
            assert areas(done["data"]) == list(range(1, frames + 1))
        assert sorted(event["frames"] for event in diary.events("begin")) == sorted(lengths.values())

        # either gateway cancels, whichever works on the job
        diary.start_afresh()
        for canceler in (first, second):
            job = submit(first, 500)
            until(first, job, "running")
            made = len(diary.events("frame"))
            assert canceler.delete(JOBS + job["job_id"]).json()["status"] == "canceled"
            end = wait_for(lambda: diary.events("end"), 5)[-1]
            assert end["index"] <= made + 20
            diary.start_afresh()


def test_jobs_of_gateways_that_die_are_taken_up_once_their_leases_run_out(gateways: tuple[Server, Server]) -> None:
    with client(gateways[0]) as first, client(gateways[1]) as second:
        job = submit(first, 150)
        until(first, job, "running")
        # either of them may work on it
        for server in gateways:
            os.kill(server.gateway_pid(), signal.SIGKILL)
        done = until(second, job, "completed", "failed", seconds=60)
        assert done["status"] == "completed", done["detail"]
        assert done["metadata"]["attempts"] == 2
        assert areas(done["data"]) == list(range(1, 151))


def test_a_store_that_cannot_be_used_stops_the_start(folder: Path) -> None:
    (folder / "file").write_bytes(b"")
    server = Server(CONFIG, folder / "unusable", environment={"PIXANO_DATA_DIR": str(folder / "file" / "data")})
    assert server.process.wait(timeout=60) == 1
    assert server.text().splitlines()[-1].startswith("pixano-inference: the folder of jobs ")
