"""Faults, one after another, at a server that must stay up, stay honest, and keep its callers apart.

The figures in docs/reliability.md are the ones that these tests print (``pytest -s``).
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from pixano_inference.schemas import CompressedRLE
from tests.attacks import bomb
from tests.servers import MODEL_SETS, Server

pytestmark = pytest.mark.system

ALICE, BOB = {"X-API-Key": "key of alice"}, {"Authorization": "Bearer key of bob"}
BACK_WITHIN_S = 30
"""Longest wait for a replaced runner; on an idle machine it takes three or four seconds."""


def png(width: int = 32, height: int = 24, shade: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (shade % 256, 90, 90)).save(buffer, "PNG")
    return buffer.getvalue()


def data_uri(data: bytes | None = None) -> str:
    return "data:image/png;base64," + base64.b64encode(data or png()).decode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    environment = {
        "PIXANO_API_KEYS": "key of alice,key of bob",
        "PIXANO_HANG_GRACE_S": "0.5",
        "PIXANO_LOG_FORMAT": "json",
        "PIXANO_MAX_BODY_MB": "4",
    }
    log: Path = tmp_path_factory.mktemp("fragile") / "log"
    with Server(MODEL_SETS / "fragile.py", log, environment=environment) as server:
        yield server


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=20, headers=ALICE) as client:
        yield client


@pytest.fixture(autouse=True)
def whole_again(http: httpx.Client) -> None:
    """Begin each test with all models up."""
    wait_until(lambda: http.get("/ready").status_code == 200)


def wait_until(condition: Callable[[], bool], within_s: float = BACK_WITHIN_S) -> float:
    """Wait for ``condition`` and return how long it took, in seconds."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < within_s, f"not within {within_s} s"
        time.sleep(0.02)
    return time.monotonic() - began


def odd(http: httpx.Client, what: str) -> httpx.Response:
    return http.post("/inference/detection/", json={"model": "odd", "image": data_uri(), "classes": what})


def others_answer(http: httpx.Client) -> bool:
    body = {"image": data_uri(), "points": [[[5, 5]]]}
    disk = http.post("/inference/segmentation/", json={"model": "disk", **body})
    boxes = http.post("/inference/detection/", json={"model": "boxes", "image": data_uri()})
    return disk.status_code == boxes.status_code == 200


def model_states(http: httpx.Client) -> dict[str, str]:
    return {model["name"]: model["state"] for model in http.get("/ready").json()["models"]}


def test_only_callers_with_a_key_are_answered(server: Server) -> None:
    with httpx.Client(base_url=server.url, timeout=20) as anonymous:
        for path in ("/", "/health", "/ready"):
            assert anonymous.get(path).status_code == 200
        for method, path in [
            ("GET", "/app/settings/"),
            ("GET", "/app/models/"),
            ("POST", "/inference/segmentation/"),
            ("POST", "/inference/segmentation/binary"),
            ("POST", "/inference/tracking/binary"),
            ("GET", "/no/such/path"),
        ]:
            response = anonymous.request(method, path)
            assert response.status_code == 401, path
            assert response.headers["www-authenticate"] == "Bearer"
            assert "detail" in response.json()
            unknown = {b"X-API-Key": "clé".encode()}
            assert anonymous.request(method, path, headers=unknown).status_code == 401
        assert anonymous.get("/app/models/", headers=BOB).status_code == 200


def test_an_image_of_one_key_cannot_be_named_by_another(server: Server, http: httpx.Client) -> None:
    secret = png(40, 30, 77)
    body = {"model": "disk", "image": data_uri(secret), "points": [[[5, 5]]]}
    assert http.post("/inference/segmentation/", json=body).status_code == 200
    named = {**body, "image": "sha256:" + hashlib.sha256(secret).hexdigest()}
    assert http.post("/inference/segmentation/", json=named).status_code == 200
    refused = httpx.post(f"{server.url}/inference/segmentation/", json=named, headers=BOB, timeout=20)
    assert refused.status_code == 404
    assert refused.json()["code"] == "send_image"


def test_every_port_is_local(server: Server) -> None:
    processes = [psutil.Process(server.process.pid), *psutil.Process(server.process.pid).children(recursive=True)]
    listening = {
        connection.laddr.ip
        for process in processes
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


def test_an_image_bomb_costs_nothing(server: Server, http: httpx.Client) -> None:
    data = bomb()
    assert len(data) < 60_000
    before = psutil.Process(server.gateway_pid()).memory_info().rss
    as_json = http.post("/inference/segmentation/", json={"model": "disk", "image": data_uri(data)})
    upload = {"metadata": b'{"model": "disk"}', "image": data}
    as_part = http.post("/inference/segmentation/binary", files=upload)
    assert as_json.status_code == as_part.status_code == 413
    assert "20000 × 20000" in as_json.text
    assert psutil.Process(server.gateway_pid()).memory_info().rss - before < 10 * 2**20


def test_a_body_over_the_limit_is_refused_with_flat_memory(server: Server, http: httpx.Client) -> None:
    process = psutil.Process(server.gateway_pid())
    before = process.memory_info().rss
    highest = before

    def endless(megabytes: int) -> Iterator[bytes]:
        nonlocal highest
        for _ in range(megabytes):
            highest = max(highest, process.memory_info().rss)
            yield b" " * 2**20

    # chunked: no length is declared; small enough to be read to its end, which keeps the connection
    response = http.post("/inference/segmentation/", content=endless(12), headers={"Content-Type": "application/json"})
    assert response.status_code == 413
    assert "4194304 bytes" in response.text
    assert http.get("/health").status_code == 200
    # a terabyte is announced, and refused before a byte of it is sent
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(
            b"POST /inference/segmentation/ HTTP/1.1\r\nHost: x\r\nX-API-Key: key of alice\r\n"
            b"Content-Type: application/json\r\nContent-Length: 1000000000000\r\n\r\n"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")
    assert highest - before < 24 * 2**20


def test_the_server_cannot_be_sent_to_itself(server: Server, http: httpx.Client) -> None:
    for url in (
        f"{server.url}/health",
        f"http://localhost:{server.port}/health",
        "file:///etc/hostname",
        "/etc/hostname",
    ):
        response = http.post("/inference/segmentation/", json={"model": "disk", "image": url})
        assert response.status_code == 422, url
        assert response.json()["detail"][0]["loc"] == ["body", "image"]
        assert "127.0.0.1" not in response.text


@pytest.mark.parametrize("what", ["raise", "none", "wrong type", "invalid", "memory", "sys.exit", "interrupt"])
def test_a_model_that_fails_costs_one_answer(server: Server, http: httpx.Client, what: str) -> None:
    response = http.post(
        "/inference/detection/",
        json={"model": "odd", "image": data_uri(), "classes": what},
        headers={"X-Request-ID": f"fails-{what.replace(' ', '-')}"},
    )
    assert response.status_code == 500
    assert f"fails-{what.replace(' ', '-')}" in response.json()["detail"]
    for secret in ("secret", "/some/path", "Traceback", "Error", ".py"):
        assert secret not in response.text
    assert odd(http, "nothing").status_code == 200


def test_the_words_of_a_failure_are_in_the_log_under_the_id_that_the_caller_sent(
    server: Server, http: httpx.Client
) -> None:
    body = {"model": "odd", "image": data_uri(), "classes": "raise"}
    response = http.post("/inference/detection/", json=body, headers={"X-Request-ID": "looked-for"})
    assert response.headers["x-request-id"] == "looked-for"
    (line,) = [line for line in server.text().splitlines() if "looked-for" in line and '"process":"odd"' in line]
    entry = json.loads(line)
    assert entry["level"] == "ERROR"
    assert "secret words at /some/path" in entry["exception"]
    for odd_id in ("", "x" * 200, "two words", "new\tline", "é"):
        made = http.get("/health", headers={b"X-Request-ID": odd_id.encode()}).headers["x-request-id"]
        assert made != odd_id
        assert len(made) == 32


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
