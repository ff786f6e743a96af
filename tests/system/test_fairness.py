"""One API key sends as much as it can: what another key notices."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import statistics
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster.load import image
from tests.servers import MODEL_SETS, Server

pytestmark = pytest.mark.system

GREEDY, MODEST = "greedy-key", "modest-key"
FLOOD = 64
TURN_S = 0.03
"""What the model takes for a click on an image that it knows."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    environment = {
        "PIXANO_API_KEYS": f"{GREEDY},{MODEST}",
        "PIXANO_ALLOWED_HOSTS": "127.0.0.1",
        "PIXANO_FETCH_TIMEOUT_S": "10",
    }
    log: Path = tmp_path_factory.mktemp("fairness") / "log"
    with Server(MODEL_SETS / "cluster.py", log, environment=environment) as server:
        yield server


def client(server: Server, key: str) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=200)
    return httpx.AsyncClient(base_url=server.url, timeout=60, headers={"X-API-Key": key}, limits=limits, verify=False)


async def click(http: httpx.AsyncClient, reference: str) -> float:
    """Click once and return the seconds that it took."""
    started = time.monotonic()
    body = {"model": "clicks", "image": reference, "points": [[[0, 0]]], "labels": [[1]]}
    response = await http.post("/inference/segmentation/", json=body)
    assert response.status_code == 200, response.text
    return time.monotonic() - started


@contextlib.asynccontextmanager
async def flood(http: httpx.AsyncClient, reference: str) -> Any:
    """Click from many callers at once, again and again; gives the seconds that the clicks took."""
    took: list[float] = []

    async def call() -> None:
        while True:
            took.append(await click(http, reference))

    callers = [asyncio.create_task(call()) for _ in range(FLOOD)]
    try:
        yield took
    finally:
        for caller in callers:
            caller.cancel()
        results = await asyncio.gather(*callers, return_exceptions=True)
    assert [r for r in results if not isinstance(r, asyncio.CancelledError)] == []


async def test_one_key_floods_a_model_and_another_waits_for_a_turn_or_two(server: Server) -> None:
    async with client(server, GREEDY) as greedy, client(server, MODEST) as modest:
        alone = statistics.median([await click(modest, image(0)) for _ in range(5)])
        async with flood(greedy, image(1)) as greedy_took:
            while len(greedy_took) < FLOOD:  # noqa: ASYNC110  # a list, seldom looked at
                await asyncio.sleep(0.05)
            took = sorted([await click(modest, image(0)) for _ in range(20)])
    greedy_median = statistics.median(greedy_took[FLOOD:])
    median, worst = statistics.median(took), took[-1]
    print(
        f"\na key with {FLOOD} callers: its own clicks take {greedy_median:.2f} s; another key's take {median:.3f} s "
        f"(at most {worst:.3f} s, alone {alone:.3f} s; the model {TURN_S} s each)"
    )
    assert median < alone + 8 * TURN_S
    assert median < greedy_median / 4


class _Images(BaseHTTPRequestHandler):
    """Sends an image at once, or below ``/slow`` not before the server is told to."""

    go_on = threading.Event()

    def do_GET(self) -> None:
        if self.path.startswith("/slow"):
            self.go_on.wait(60)
        data = base64.b64decode(image(2).partition(",")[2])
        with contextlib.suppress(OSError):
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def images() -> Iterator[str]:
    web = ThreadingHTTPServer(("127.0.0.1", 0), _Images)
    web.daemon_threads = True
    thread = threading.Thread(target=web.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{web.server_port}"
    _Images.go_on.set()
    web.shutdown()
    thread.join()
    web.server_close()


async def test_one_key_names_slow_urls_and_another_gets_its_image(server: Server, images: str) -> None:
    async with client(server, GREEDY) as greedy, client(server, MODEST) as modest:
        body = {"model": "clicks", "points": [[[0, 0]]], "labels": [[1]]}
        slow = [
            asyncio.create_task(greedy.post("/inference/segmentation/", json={**body, "image": f"{images}/slow/{n}"}))
            for n in range(150)
        ]
        await asyncio.sleep(1.0)
        took = [await click(modest, f"{images}/fast/{n}") for n in range(5)]
        assert not any(task.done() for task in slow)
        _Images.go_on.set()
        answers = await asyncio.gather(*slow)
    print(f"\na key with 150 slow URLs: another key's URLs take {max(took):.2f} s at most")
    assert max(took) < 3
    assert {answer.status_code for answer in answers} == {200}
