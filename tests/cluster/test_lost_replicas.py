"""Replicas that die under load, and what becomes of the requests and jobs that they had."""

from __future__ import annotations

import base64
import hashlib
import time

import httpx
import pytest

from tests.system.jobs_api import areas, submit
from tests.system.jobs_api import until as until_job
from tests.system.paced import data_uri, frame

from .load import Load, click
from .pods import Cluster, Pod, replicas_up, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

RUNNER = "runner-clicks"


def test_a_killed_replica_costs_what_its_model_had_begun_and_comes_back(cluster: Cluster, gateway: Pod) -> None:
    cluster.scale(RUNNER, 3)
    until(lambda: replicas_up(gateway, "clicks") == 3)
    # an image large enough to be sent once and meant by its name afterwards, between gateway and runner too
    large = data_uri(frame(0, padding=100_000))
    digest = "sha256:" + hashlib.sha256(base64.b64decode(large.partition(",")[2])).hexdigest()
    with httpx.Client(timeout=40) as http:
        home = click(http, gateway.container.url, 0, large).replica
        assert click(http, gateway.container.url, 0, digest).replica == home
    (killed,) = [pod for pod in cluster.pods[RUNNER] if pod.address == home]
    # four for each replica: while one is in the model, three wait
    with Load(lambda: [gateway.container.url], callers=12) as load:
        until(lambda: load.by_replica()[killed.address] > 5)
        at = time.monotonic()
        cluster.kill(killed)
        noticed = until(lambda: replicas_up(gateway, "clicks") == 2)
        after = time.monotonic()
        until(lambda: len(load.since(after)) > 50)
        with httpx.Client(timeout=40) as http:
            named = click(http, gateway.container.url, 0, digest)
        again = cluster.restart(RUNNER, killed)
        cluster.wait_until_ready(again)
        ready = time.monotonic()
        back = until(lambda: load.by_replica(ready)[again.address] > 0)
    print(
        f"\nSIGKILL of 1 of 3: noticed after {noticed:.2f} s, {len(load.failed)} of {len(load.answers)} requests "
        f"failed, the replica has work {back:.1f} s after it is ready again"
    )
    assert noticed < 2
    assert named.status == 200, named.detail
    assert named.replica not in (None, home)
    assert len(load.failed) <= 1, "a batch is one request: the others had not begun"
    for answer in load.failed:
        assert answer.status == 503
        assert "ended while it worked" in answer.detail
        assert answer.at - at < 2


def test_a_name_service_that_fails_costs_nothing(cluster: Cluster, gateway: Pod) -> None:
    cluster.scale(RUNNER, 2)
    until(lambda: replicas_up(gateway, "clicks") == 2)
    with Load(lambda: [gateway.container.url], callers=1) as load:
        cluster.names.broken = True
        try:
            asked = cluster.names.questions
            until(lambda: cluster.names.questions > asked + 4)
            lost = cluster.pods[RUNNER][0]
            before = len(load.failed)
            cluster.kill(lost)
            until(lambda: replicas_up(gateway, "clicks") == 1)
            cluster.restart(RUNNER, lost)
            back = until(lambda: replicas_up(gateway, "clicks") == 2)
        finally:
            cluster.names.broken = False
    print(
        f"\nthe name service fails: {before} requests failed; a replica that died meanwhile was back after {back:.1f} s"
    )
    assert before == 0
    assert len(load.failed) <= 1


def test_jobs_of_a_killed_replica_are_run_again_by_another(cluster: Cluster, gateway: Pod) -> None:
    cluster.scale("runner-tracker", 2)
    until(lambda: replicas_up(gateway, "tracker") == 2)
    with httpx.Client(base_url=gateway.container.url, timeout=30) as http:
        jobs = [submit(http, 80) for _ in range(3)]
        first, second = cluster.pods["runner-tracker"]
        until(lambda: first.diary.events("frame") and second.diary.events("frame"))
        cluster.kill(first)
        killed = time.monotonic()
        done = [until_job(http, job, "completed", "failed") for job in jobs]
    attempts = sorted(job["metadata"]["attempts"] for job in done)
    print(f"\n1 of 2 replicas dies with a job: all done {time.monotonic() - killed:.1f} s later, attempts {attempts}")
    assert [job["detail"] for job in done if job["status"] != "completed"] == []
    assert all(areas(job["data"]) == list(range(1, 81)) for job in done)
    assert attempts == [1, 1, 2]
    assert len(second.diary.events("begin")) == 3
    cluster.scale("runner-tracker", 0)
