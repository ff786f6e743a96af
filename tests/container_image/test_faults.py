"""Processes in containers die, hang and eat memory: the others serve on, callers are told, and all come back."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from .cluster import Cluster
from .requests import assert_refused, data_uri, disk, is_the_disk, load, odd, png, replicas, states

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("inside"), pytest.mark.timeout(1800)]

BACK_WITHIN_S = 150.0
"""Longest wait for a container that is started again, on a machine whose cores are taken."""

Say = Callable[[str], None]


@pytest.fixture
def gateway_untouched(cluster: Cluster) -> Iterator[None]:
    """Whatever happens to a runner, the gateway stays the process that it was."""
    before = cluster.gateway.state["Pid"]
    yield
    assert cluster.gateway.state["Pid"] == before


def others_answer(http: httpx.Client) -> bool:
    answer = disk(http, 7)
    return answer.status_code == 200 and is_the_disk(answer, 7)


def killed_for_memory() -> int:
    """Return how many processes the kernel has killed for want of memory, on this machine."""
    return int(re.findall(r"^oom_kill (\d+)", Path("/proc/vmstat").read_text(), re.MULTILINE)[0])


@pytest.mark.parametrize("what", ["raise", "none", "invalid", "sys.exit"])
def test_a_model_that_fails_costs_one_answer(http: httpx.Client, gateway_untouched: None, what: str) -> None:
    assert_refused(odd(http, what), 500)
    assert odd(http, "nothing").status_code == 200


@pytest.mark.parametrize("what", ["exit", "segfault"])
def test_a_model_that_ends_its_process_costs_one_answer(
    cluster: Cluster, http: httpx.Client, gateway_untouched: None, what: str, say: Say
) -> None:
    began = time.monotonic()
    answer = odd(http, what)
    answered = time.monotonic() - began
    assert_refused(answer, 503)
    assert int(answer.headers["retry-after"]) >= 1
    assert others_answer(http)
    cluster.wait_for(lambda: states(http)["odd"] != "ready", within_s=10)
    back = cluster.wait_for(lambda: odd(http, "nothing").status_code == 200, cluster.pods["odd-1"], BACK_WITHIN_S)
    say(f"a model ends its process ({what}): 503 after {answered:.2f} s, serves again after {back:.1f} s")


def test_a_model_over_the_memory_limit_is_killed_in_its_container_alone(
    cluster: Cluster, http: httpx.Client, gateway_untouched: None, say: Say
) -> None:
    before = {name: pod.state["Pid"] for name, pod in cluster.pods.items()}
    killed = killed_for_memory()
    began = time.monotonic()
    answer = odd(http, "allocate")
    answered = time.monotonic() - began
    assert_refused(answer, 503)
    assert killed_for_memory() > killed, "the limit is not enforced"
    assert others_answer(http)
    back = cluster.wait_for(lambda: odd(http, "nothing").status_code == 200, cluster.pods["odd-1"], BACK_WITHIN_S)
    after = {name: pod.state["Pid"] for name, pod in cluster.pods.items()}
    assert {name for name in before if before[name] != after[name]} == {"odd-1"}
    assert cluster.pods["odd-1"].memory() < cluster.pods["odd-1"].memory_limit
    say(f"a model over its memory limit: 503 after {answered:.2f} s, serves again after {back:.1f} s")


def test_a_model_that_hangs_times_out_and_its_container_is_started_again(
    cluster: Cluster, http: httpx.Client, gateway_untouched: None, say: Say
) -> None:
    before = cluster.pods["odd-1"].state["Pid"]
    began = time.monotonic()
    assert_refused(odd(http, "hang"), 504)
    answered = time.monotonic() - began
    assert others_answer(http)
    # a caller in the meantime waits behind it, until its own limit or until the process is ended
    cluster.wait_for(lambda: odd(http, "nothing").status_code == 200, cluster.pods["odd-1"], BACK_WITHIN_S)
    assert cluster.pods["odd-1"].state["Pid"] != before
    say(f"a model hangs: 504 after {answered:.1f} s, serves again after {time.monotonic() - began:.1f} s")


def test_sigkill_of_a_lone_runner_is_told_at_once(
    cluster: Cluster, http: httpx.Client, gateway_untouched: None, say: Say
) -> None:
    processes = cluster.pods["odd-1"].processes()
    with ThreadPoolExecutor(1) as pool:
        in_flight = pool.submit(odd, http, "polite")
        time.sleep(0.5)
        cluster.pods["odd-1"].kill(processes)
        told = cluster.wait_for(lambda: http.get("/ready").status_code == 503, within_s=20)
        assert_refused(in_flight.result(30), 503)
    assert {name for name, state in states(http).items() if state != "ready"} <= {"odd"}
    assert others_answer(http)
    back = cluster.wait_for(lambda: odd(http, "nothing").status_code == 200, cluster.pods["odd-1"], BACK_WITHIN_S)
    say(f"SIGKILL of a lone runner: /ready tells after {told:.2f} s, serves again after {back:.1f} s")


def test_sigkill_of_a_replica_under_load_costs_what_it_had_begun_at_most(
    cluster: Cluster, http: httpx.Client, gateway_untouched: None, say: Say
) -> None:
    callers = 3
    with load(cluster.url, callers) as seen:
        cluster.wait_for(lambda: seen.answered > 10)
        cluster.pods["disk-2"].kill()
        told = cluster.wait_for(lambda: replicas(http) == 1, within_s=30)
        before = seen.answered
        cluster.wait_for(lambda: seen.answered > before + 20)
        back = cluster.wait_for(lambda: replicas(http) == 2, cluster.pods["disk-2"], BACK_WITHIN_S)
    say(
        f"SIGKILL of a replica under load: {seen.answered} answered, {len(seen.refused)} refused; "
        f"out of use after {told:.2f} s, in use again after {back:.1f} s"
    )
    assert seen.broken == []
    assert seen.wrong == []
    assert len(seen.refused) <= callers
    for answer in seen.refused:
        assert_refused(answer, 503)


def test_sigterm_of_a_replica_under_load_loses_nothing(
    cluster: Cluster, http: httpx.Client, gateway_untouched: None, say: Say
) -> None:
    leaving = cluster.pods["disk-1"]
    with load(cluster.url) as seen:
        cluster.wait_for(lambda: seen.answered > 10)
        began = time.monotonic()
        status = leaving.stop()
        seconds = time.monotonic() - began
        before = seen.answered
        cluster.wait_for(lambda: seen.answered > before + 10)
    leaving.start_again()
    say(f"SIGTERM of a replica under load: {seen.answered} answered, none lost, ended after {seconds:.1f} s")
    assert status == 0, leaving.log()
    assert seen.broken == []
    assert seen.wrong == []
    assert seen.statuses() == []


def test_sigterm_of_the_gateway_answers_what_is_in_flight(cluster: Cluster, http: httpx.Client, say: Say) -> None:
    with ThreadPoolExecutor(4) as pool, httpx.Client(base_url=cluster.url, timeout=60) as caller:
        in_flight = [pool.submit(odd, caller, "slow") for _ in range(3)]
        time.sleep(0.4)
        began = time.monotonic()
        status = cluster.gateway.stop()
        seconds = time.monotonic() - began
        statuses = [future.result(60).status_code for future in in_flight]
    cluster.gateway.start_again()
    back = cluster.wait_until_ready(BACK_WITHIN_S)
    assert status == 0, cluster.gateway.log()
    assert statuses == [200, 200, 200]
    with httpx.Client(base_url=cluster.url, timeout=60) as caller:
        assert others_answer(caller)
    say(f"SIGTERM of the gateway: in-flight requests answered, ended after {seconds:.1f} s, back after {back:.1f} s")


def test_sigkill_of_the_gateway_loses_no_job(cluster: Cluster, http: httpx.Client, say: Say) -> None:
    runners = {name: pod.state["Pid"] for name, pod in cluster.pods.items() if pod is not cluster.gateway}
    frames = [data_uri(png(shade=number)) for number in range(100)]
    body = {"model": "still", "video": frames, "objects_ids": [1], "frame_indexes": [0], "points": [[[5, 5]]]}
    job = http.post("/inference/tracking/jobs/", json={**body, "labels": [[1]]}).json()["job_id"]

    def status() -> str:
        try:
            return str(http.get(f"/inference/tracking/jobs/{job}").json().get("status"))
        except httpx.TransportError:  # nobody listens
            return "out of reach"

    cluster.wait_for(lambda: status() == "running")
    began = time.monotonic()
    cluster.gateway.kill()
    cluster.wait_for(lambda: status() != "running", within_s=20)
    cluster.wait_for(lambda: status() in ("completed", "failed"), within_s=BACK_WITHIN_S)
    seconds = time.monotonic() - began
    done = http.get(f"/inference/tracking/jobs/{job}").json()
    assert done["status"] == "completed", done["detail"]
    assert done["data"]["frame_indexes"] == list(range(100))
    assert {name: cluster.pods[name].state["Pid"] for name in runners} == runners
    say(f"SIGKILL of the gateway during a job: it was completed {seconds:.1f} s later")
