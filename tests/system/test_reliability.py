"""Faults, one after another, at a server that must stay up and keep its callers apart.

The figures in docs/reliability.md are the ones that these tests print (``pytest -s``).
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import numpy.typing as npt
import psutil
import pytest
from PIL import Image

from pixano_inference.schemas import CompressedRLE
from tests.servers import ROOT, Server

from .fragile import ALICE, as_alice, data_uri, log_entries, png, serve, wait_until

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(tmp_path_factory) as server:
        yield server


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    with as_alice(server) as http:
        yield http


@pytest.fixture(autouse=True)
def whole_again(http: httpx.Client) -> None:
    """Begin each test with all models up."""
    wait_until(lambda: http.get("/ready").status_code == 200)


def encoded(pixels: npt.NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


def odd(http: httpx.Client, what: str) -> httpx.Response:
    return http.post("/inference/detection/", json={"model": "odd", "image": data_uri(), "classes": what})


def others_answer(http: httpx.Client) -> bool:
    body = {"image": data_uri(), "points": [[[5, 5]]]}
    disk = http.post("/inference/segmentation/", json={"model": "disk", **body})
    boxes = http.post("/inference/detection/", json={"model": "boxes", "image": data_uri()})
    return disk.status_code == boxes.status_code == 200


def model_states(http: httpx.Client) -> dict[str, str]:
    return {model["name"]: model["state"] for model in http.get("/ready").json()["models"]}


@pytest.mark.parametrize("what", ["raise", "none", "wrong type", "invalid", "memory", "sys.exit", "interrupt"])
def test_a_model_that_fails_costs_one_answer(server: Server, http: httpx.Client, what: str) -> None:
    response = http.post(
        "/inference/detection/",
        json={"model": "odd", "image": data_uri(), "classes": what},
        headers={"X-Request-ID": f"fails-{what.replace(' ', '-')}"},
    )
    assert response.status_code == 500
    request_id = f"fails-{what.replace(' ', '-')}"
    assert request_id in response.json()["detail"]
    for secret in ("secret", "/some/path", "Traceback", "Error", ".py"):
        assert secret not in response.text
    logged = [entry for entry in log_entries(server, request_id) if entry["process"] == "odd"]
    assert [entry["level"] for entry in logged] == ["ERROR"]
    assert odd(http, "nothing").status_code == 200


def test_the_words_of_a_failure_are_in_the_log_under_the_id_that_the_caller_sent(
    server: Server, http: httpx.Client
) -> None:
    body = {"model": "odd", "image": data_uri(), "classes": "raise"}
    response = http.post("/inference/detection/", json=body, headers={"X-Request-ID": "looked-for"})
    assert response.headers["x-request-id"] == "looked-for"
    (entry,) = [entry for entry in log_entries(server, "looked-for") if entry["process"] == "odd"]
    assert entry["level"] == "ERROR"
    assert "secret words at /some/path" in entry["exception"]
    for odd_id in ("", "x" * 200, "two words", "new\tline", "é"):
        made = http.get("/health", headers={b"X-Request-ID": odd_id.encode()}).headers["x-request-id"]
        assert made != odd_id
        assert len(made) == 32


def test_what_a_decoder_says_is_in_the_log_and_nowhere_else(server: Server, http: httpx.Client) -> None:
    body = {"model": "disk", "image": data_uri(png()[:-40]), "points": [[[5, 5]]]}
    response = http.post("/inference/segmentation/", json=body, headers={"X-Request-ID": "cut-short"})
    assert response.status_code == 422
    assert "damaged or cut short" in response.text
    (entry,) = [entry for entry in log_entries(server, "cut-short") if entry["process"] == "disk"]
    reason = entry["message"].partition("cannot be decoded: ")[2]
    assert reason
    assert reason not in response.text


@pytest.mark.parametrize("what", ["exit", "segfault"])
def test_a_model_that_ends_its_process_costs_one_answer_and_is_replaced(
    server: Server, http: httpx.Client, what: str
) -> None:
    (before,) = server.runner_pids("odd")
    began = time.monotonic()
    response = odd(http, what)
    answered = time.monotonic() - began
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) >= 1
    assert others_answer(http)
    back = wait_until(lambda: odd(http, "nothing").status_code == 200)
    assert server.runner_pids("odd") != [before]
    print(f"\nmodel ends its process ({what}): 503 after {answered:.2f} s, serves again after {back:.1f} s")


def test_a_killed_runner_is_told_at_once_and_replaced(server: Server, http: httpx.Client) -> None:
    with ThreadPoolExecutor(1) as pool:
        in_flight = pool.submit(odd, http, "slow")
        time.sleep(0.2)
        server.kill_runner("odd")
        killed = time.monotonic()
        told = wait_until(lambda: http.get("/ready").status_code == 503, 5)
        assert model_states(http)["odd"] != "ready"
        assert model_states(http)["disk"] == model_states(http)["boxes"] == "ready"
        assert "odd" in {model["name"] for model in http.get("/app/models/").json() if model["state"] != "ready"}
        response = in_flight.result(10)
        assert response.status_code == 503
        assert response.json()["code"] == "runner_lost"
        assert odd(http, "nothing").status_code in (200, 503)
        assert others_answer(http)
    wait_until(lambda: odd(http, "nothing").status_code == 200)
    print(
        f"\nSIGKILL of a runner: /ready tells after {told:.2f} s, serves again after {time.monotonic() - killed:.1f} s"
    )


def test_a_model_that_hangs_times_out_and_its_process_is_replaced(server: Server, http: httpx.Client) -> None:
    (before,) = server.runner_pids("odd")
    began = time.monotonic()
    assert odd(http, "hang").status_code == 504
    answered = time.monotonic() - began
    assert others_answer(http)
    wait_until(lambda: odd(http, "nothing").status_code == 200)
    assert server.runner_pids("odd") != [before]
    print(f"\nhang: 504 after {answered:.1f} s, serves again after {time.monotonic() - began:.1f} s")


def test_overload_is_refused_early_and_over_at_once(http: httpx.Client) -> None:
    health: list[float] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            began = time.monotonic()
            assert http.get("/health").status_code == 200
            health.append(time.monotonic() - began)
            time.sleep(0.01)

    with ThreadPoolExecutor(21) as pool:
        watching = pool.submit(watch)
        answers = list(pool.map(lambda _: odd(http, "slow"), range(20)))
        assert others_answer(http)
        done.set()
        watching.result(5)
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) <= {200, 429, 504}
    assert statuses.count(200) >= 3
    assert statuses.count(429) >= 10, statuses
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers if answer.status_code == 429)
    assert odd(http, "nothing").status_code == 200
    p99 = float(np.quantile(health, 0.99))
    print(f"\noverload: {statuses.count(429)} of 20 refused, /health p99 {p99 * 1000:.0f} ms")
    assert p99 < 1.0


def test_memory_is_bounded_under_ten_times_the_load_that_a_model_takes(server: Server, http: httpx.Client) -> None:
    """50 callers with a megabyte each, at a model that works on one request and lets four wait."""
    noise = np.random.default_rng(0).integers(0, 256, (600, 600, 3), dtype=np.uint8)
    body = json.dumps({"model": "odd", "image": data_uri(encoded(noise)), "classes": "slow"}).encode()
    processes = [psutil.Process(pid) for pid in (server.gateway_pid(), *server.runner_pids("odd"))]

    def held() -> list[float]:
        return [process.memory_info().rss / 2**20 for process in processes]

    def flood(pool: ThreadPoolExecutor) -> tuple[set[int], list[float]]:
        kind = {"Content-Type": "application/json"}
        asked = [pool.submit(http.post, "/inference/detection/", content=body, headers=kind) for _ in range(100)]
        highest = held()
        while not all(future.done() for future in asked):
            highest = [max(pair) for pair in zip(highest, held(), strict=True)]
            time.sleep(0.02)
        return {future.result().status_code for future in asked}, highest

    before = held()
    command = [sys.executable, "-m", "tests.system.health_probe", str(server.port)]
    with (
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as probe,
        ThreadPoolExecutor(50) as pool,
    ):
        (statuses, first), (_, second) = flood(pool), flood(pool)
        p99 = float(probe.communicate()[0])
    assert statuses <= {200, 429, 504}
    assert 429 in statuses
    gateway, runner = (f"{a:.0f} → {b:.0f} → {c:.0f} MiB" for a, b, c in zip(before, first, second, strict=True))
    print(f"\ntenfold load, twice: gateway {gateway}, runner {runner} at most, /health p99 {p99 * 1000:.0f} ms")
    # what the callers have sent is held once or twice while it is refused, and nothing piles up
    assert first[0] - before[0] < 50 * 3 * len(body) / 2**20
    assert second[0] - first[0] < 32
    assert second[1] - before[1] < 32
    assert p99 < 1.0
    assert odd(http, "nothing").status_code == 200


def test_callers_that_give_up_leave_their_places(http: httpx.Client) -> None:
    def give_up(_: int) -> None:
        with pytest.raises(httpx.TimeoutException):
            http.post(
                "/inference/detection/",
                json={"model": "odd", "image": data_uri(), "classes": "slow"},
                timeout=httpx.Timeout(10, read=0.1),
            )

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(give_up, range(4)))
    began = time.monotonic()
    assert odd(http, "nothing").status_code == 200
    waited = time.monotonic() - began
    print(f"\n4 callers gave up on a 500 ms model: the next waited {waited:.2f} s")
    assert waited < 1.5  # one batch that had begun, not four


def test_a_soak_of_good_and_bad_requests_leaves_nothing_behind(server: Server, http: httpx.Client) -> None:
    def click(number: int) -> None:
        choose = random.Random(number)
        width, height = choose.randint(20, 60), choose.randint(20, 60)
        x, y = choose.randrange(width), choose.randrange(height)
        image = data_uri(png(width, height, number))
        kind = number % 5
        if kind == 0:
            response = http.post("/inference/segmentation/", json={"model": "disk", "image": image, "points": "x"})
            assert response.status_code == 422
        elif kind == 1:
            response = http.post("/inference/segmentation/", json={"model": "disk", "image": data_uri(b"no image")})
            assert response.status_code == 422
        elif kind == 2:
            # raises, or is given up while the model works on it
            body = {"model": "odd", "image": image, "classes": choose.choice(["raise", "polite"])}
            with contextlib.suppress(httpx.TimeoutException):
                response = http.post("/inference/detection/", json=body, timeout=httpx.Timeout(20, read=0.1))
                assert response.status_code in (500, 429), response.text
        else:
            wanted = {"model": "disk", "image": image, "points": [[[x, y]]]}
            response = http.post("/inference/segmentation/", json=wanted)
            assert response.status_code == 200, response.text
            mask = CompressedRLE(**response.json()["data"]["masks"][0][0]).to_mask()
            rows, columns = np.ogrid[:height, :width]
            # the mask is this caller's, of this image
            np.testing.assert_array_equal(mask, (columns - x) ** 2 + (rows - y) ** 2 <= 36)

    def held() -> tuple[int, int, float]:
        gateway = psutil.Process(server.gateway_pid())
        return gateway.num_fds(), gateway.num_threads(), gateway.memory_info().rss / 2**20

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(click, range(200)))
        fds, threads, memory = held()
        began = time.monotonic()
        list(pool.map(click, range(200, 1200)))
        seconds = time.monotonic() - began
    fds_after, threads_after, memory_after = held()
    grown = f"memory {memory:.0f} → {memory_after:.0f} MiB, {fds} → {fds_after} descriptors"
    print(f"\nsoak: 1000 requests in {seconds:.1f} s, {grown}")
    assert fds_after <= fds + 8
    assert threads_after <= threads + 8
    assert memory_after < memory + 40


def test_sigterm_finishes_what_is_in_flight_and_refuses_what_is_new(server: Server) -> None:
    """Runs last: it ends the server of this module."""
    signaled = threading.Event()
    refused: list[httpx.Response] = []
    broken: list[httpx.TransportError] = []

    def keep_asking() -> int:
        answered = 0
        with httpx.Client(base_url=server.url, timeout=20, headers=ALICE) as client:
            while True:
                late = signaled.is_set()
                try:
                    response = client.post("/inference/detection/", json={"model": "boxes", "image": data_uri()})
                except httpx.TransportError as error:
                    # nobody listens any more, or the idle connection was closed: the request was not taken
                    if not late:
                        broken.append(error)
                    return answered
                if response.status_code == 200:
                    answered += 1
                else:
                    refused.append(response)

    with httpx.Client(base_url=server.url, timeout=20, headers=ALICE) as client, ThreadPoolExecutor(6) as pool:
        asking = [pool.submit(keep_asking) for _ in range(3)]
        # one in the model, two in its queue
        in_flight = [pool.submit(odd, client, "slow") for _ in range(3)]
        time.sleep(0.4)
        began = time.monotonic()
        signaled.set()
        status = server.stop()
        seconds = time.monotonic() - began
        statuses = [future.result(20).status_code for future in in_flight]
        answered = sum(future.result(20) for future in asking)
    print(f"\nSIGTERM under load: {answered} answered, {len(refused)} refused, ended after {seconds:.1f} s")
    assert statuses == [200, 200, 200]
    assert status == 0
    assert broken == []
    assert answered > 3
    assert {response.status_code for response in refused} <= {503}
    assert all(int(response.headers["retry-after"]) >= 1 for response in refused)
